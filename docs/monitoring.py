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
from tubeherd_operator import metric_table as of_operator

PAGE: Final = Path(__file__).with_suffix(".md")
_TABLE: Final = re.compile(r"(<!-- (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def render(page: str) -> str:
    """Return the page with all tables made anew."""
    tables = {
        "alerts": alerts(),
        "operator": metrics(of_operator.METRICS),
        "worker": metrics(of_worker.METRICS),
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
