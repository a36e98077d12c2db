"""Measure the operator on the home-built node: `python -m tests.bench.operator` measures all; see --help for parts."""

import argparse
from collections.abc import Callable
from typing import Final

from tests.bench import report
from tests.bench.operator import responsiveness
from tests.bench.operator.installation import Installation, installation

Measure = Callable[[Installation], list[list[str]]]
_ALONE: Final[tuple[Measure, ...]] = (
    responsiveness.create_to_deployment,
    responsiveness.burial_to_status,
    responsiveness.annotation_to_ready,
)
"""What is measured of a single operator."""
_PARTS: Final[dict[str, tuple[int, tuple[Measure, ...]]]] = {
    "responsiveness": (1, _ALONE),
    "takeover": (2, (responsiveness.takeover,)),
}
"""By part, how many operators are installed and what is measured of them."""


def main() -> None:
    """Run the parts that the arguments name, or all, and print the table."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.operator", description="Measure the operator.")
    parser.add_argument("parts", nargs="*", choices=[*_PARTS, []], help="what to measure; all if none is named")
    lines = []
    for part in parser.parse_args().parts or _PARTS:
        replicas, measures = _PARTS[part]
        with installation(replicas) as installed:
            for measure in measures:
                print(f"{measure.__module__}, {measure.__name__}", flush=True)
                lines += measure(installed)
    print(report.figures(lines))


if __name__ == "__main__":
    main()
