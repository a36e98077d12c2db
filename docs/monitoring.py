"""Writes the tables of docs/monitoring.md, and the dashboard, from what code and chart declare: `make monitoring`.

In the page, a table stands between `<!-- NAME -->` and `<!-- end -->`.
"""

import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).parent.parent))

from docs import dashboard
from docs.chart import read_values

import tubeherd.metric_table as of_worker
from tubeherd.policy import BurialKind
from tubeherd.shared_memory.tally import VerdictLabel
from tubeherd_operator import metric_table as of_operator

PAGE: Final = Path(__file__).with_suffix(".md")
_VERDICTS: Final = {
    VerdictLabel.DELETED: "The executor returned.",
    VerdictLabel.RETRIED: "The job has failed, and is tried again later.",
    VerdictLabel.RELEASED: "The job was rescheduled, aborted or interrupted, and has not failed.",
    VerdictLabel.BURIED: "The job has failed for good.",
    VerdictLabel.LEASE_GONE: "beanstalkd had taken the job from its worker before the verdict, so that it may run "
    "twice; or somebody had deleted it.",
}
_KINDS: Final = {
    BurialKind.EXCEPTION: "The executor or a listener raised an exception.",
    BurialKind.INVALID: "The payload does not fit the executor.",
    BurialKind.DEADLINE: "The job or a listener ran longer than its limit.",
    BurialKind.MEMORY: "The slot used more memory than its share, or the kernel killed it for its memory.",
    BurialKind.KILLED: "The slot died for another reason.",
    BurialKind.POISON: "The job was lost so often, each time with its whole worker, that it was not even begun.",
    BurialKind.REJECTED: "The executor raised Reject, because no further attempt would help.",
}
_TABLE: Final = re.compile(r"(<!-- (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def render(page: str) -> str:
    """Return the page with all tables made anew."""
    tables = {
        "alerts": alerts(),
        "operator": metrics(of_operator.METRICS),
        "worker": metrics(of_worker.METRICS),
        "values": values(),
        "panels": panels(),
    }
    return _TABLE.sub(lambda found: f"{found[1]}{tables[found[2]]}{found[3]}", page)


def alerts() -> str:
    """Return the table of the alerts, with the chart's words and defaults."""
    values = [value for value in read_values() if value.path.startswith("metrics.alerts.")]
    return _table(
        ("alert", "threshold", "for", "severity", "is sent if this lasts"),
        (
            (
                f"[{(name := value.path.rpartition('.')[2])}](#{name.lower()})",
                str(value.default.get("threshold", "")),
                value.default["for"],
                value.default["severity"],
                value.meaning,
            )
            for value in values
        ),
    )


def metrics(declared: Iterable[of_worker.Metric]) -> str:
    """Return a table of metrics."""
    return _table(
        ("metric", "type", "labels", "meaning"),
        (
            (f"`{metric.name}`", metric.kind, ", ".join(f"`{label}`" for label in metric.labels), metric.help)
            for metric in declared
        ),
    )


def values() -> str:
    """Return the table of the values of the labels that say what became of a job and why it failed."""
    verdicts = ((of_worker.JOB_SECONDS, "verdict", value, _VERDICTS[value]) for value in VerdictLabel)
    kinds = ((of_worker.JOB_FAILURES, "kind", value, _KINDS[value]) for value in BurialKind)
    return _table(
        ("metric", "label", "value", "means"),
        (
            (f"`{metric.name}`", f"`{label}`", f"`{value}`", meaning)
            for metric, label, value, meaning in (*verdicts, *kinds)
        ),
    )


def panels() -> str:
    """Return the table of the dashboard's panels."""
    return _table(
        ("row", "panel", "shows"),
        ((row, panel.title, panel.meaning) for row, panels in dashboard.read_rows().items() for panel in panels),
    )


def _table(columns: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = (columns, ("---",) * len(columns), *rows)
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


if __name__ == "__main__":
    PAGE.write_text(render(PAGE.read_text()))
    dashboard.FILE.write_text(dashboard.render())
