"""Writes the dashboard for Grafana, in the files of the chart, from docs/dashboard.yaml: `make monitoring`."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, Literal

import yaml
from pydantic import BaseModel, ConfigDict, TypeAdapter

FILE: Final = Path(__file__).parents[1] / "charts" / "tubeherd" / "files" / "dashboard.json"
_PANEL: Final = {"w": 8, "h": 8}
_COLUMNS: Final = 3
_NAMED: Final = ".+"
"""Leaves out series without the label, as another exporter has them of beanstalkd."""
_SOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}


class Panel(BaseModel):
    """A panel, as docs/dashboard.yaml has it."""

    model_config = ConfigDict(extra="forbid")

    title: str
    meaning: str
    queries: dict[str, str]
    unit: str = "short"
    kind: Literal["timeseries", "table"] = "timeseries"


def read_rows() -> dict[str, list[Panel]]:
    """Return the panels of each row."""
    rows = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text())
    return TypeAdapter(dict[str, list[Panel]]).validate_python(rows)


def render() -> str:
    """Return the dashboard as the JSON that Grafana reads."""
    dashboard = {
        "uid": "tubeherd",
        "title": "Tubeherd",
        "tags": ["tubeherd", "beanstalkd"],
        "schemaVersion": 39,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "templating": {"list": _variables()},
        "panels": [{"id": number, **panel} for number, panel in enumerate(_panels(), 1)],
    }
    return json.dumps(dashboard, indent=1) + "\n"


def _variables() -> list[dict[str, Any]]:
    """Return what can be chosen above the dashboard."""
    source = {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus"}
    return [
        source,
        _variable("namespace", "label_values(tubeherd_pool_info, namespace)"),
        _variable("pool", 'label_values(tubeherd_pool_info{namespace=~"$namespace"}, pool)'),
        _variable("server", 'label_values(tubeherd_pool_info{namespace=~"$namespace", pool=~"$pool"}, server)', _NAMED),
    ]


def _variable(name: str, query: str, every: str = ".*") -> dict[str, Any]:
    everything = {"includeAll": True, "allValue": every, "current": {"text": "All", "value": "$__all"}}
    asked = {"query": {"query": query, "refId": name}, "datasource": _SOURCE}
    return {"name": name, "type": "query", "multi": True, "refresh": 2, "sort": 1, **everything, **asked}


def _panels() -> Iterator[dict[str, Any]]:
    """Yield the rows and their panels, each in its place."""
    top = 0
    for title, panels in read_rows().items():
        place = {"x": 0, "y": top, "w": _COLUMNS * _PANEL["w"], "h": 1}
        yield {"type": "row", "title": title, "collapsed": False, "panels": [], "gridPos": place}
        top += 1
        for number, panel in enumerate(panels):
            row, column = divmod(number, _COLUMNS)
            place = {"x": column * _PANEL["w"], "y": top + row * _PANEL["h"], **_PANEL}
            yield _panel(panel) | {"gridPos": place}
        top += (row + 1) * _PANEL["h"]


def _panel(panel: Panel) -> dict[str, Any]:
    is_table = panel.kind == "table"
    how = {"format": "table", "instant": True} if is_table else {}
    targets = [
        {"refId": letter, "expr": query, "legendFormat": name, "datasource": _SOURCE, **how}
        for letter, (name, query) in zip("ABCD", panel.queries.items(), strict=False)
    ]
    without_time = {"id": "organize", "options": {"excludeByName": {"Time": True}}}
    return {
        "type": panel.kind,
        "title": panel.title,
        "description": panel.meaning,
        "datasource": _SOURCE,
        "fieldConfig": {"defaults": {"unit": panel.unit, **({} if is_table else {"min": 0})}, "overrides": []},
        "transformations": [without_time] if is_table else [],
        "targets": targets,
    }


if __name__ == "__main__":
    FILE.write_text(render())
