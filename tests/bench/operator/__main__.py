"""Measure the operator on the home-built node: `python -m tests.bench.operator`."""

from tests.bench import report
from tests.bench.operator import responsiveness
from tests.bench.operator.installation import installation

_WITH_ONE: tuple = (
    responsiveness.create_to_deployment,
    responsiveness.burial_to_status,
    responsiveness.annotation_to_ready,
)
"""What is measured of a single operator."""


def main() -> None:
    """Measure all, and print the table."""
    lines = []
    for replicas, measures in ((1, _WITH_ONE), (2, (responsiveness.takeover,))):
        with installation(replicas) as installed:
            for measure in measures:
                print(f"{measure.__module__}, {measure.__name__}", flush=True)
                lines += measure(installed)
    print(report.figures(lines))


if __name__ == "__main__":
    main()
