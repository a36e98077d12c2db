"""What the chart gives Prometheus and Grafana: the alerts as helm renders them, and the queries of the dashboard."""

import json
from typing import Any, Final

import yaml
from docs.dashboard import read_rows

from tests.support.project import ROOT

_CHART: Final = ROOT / "charts" / "tubeherd"


def alerts(namespace: str) -> list[dict[str, Any]]:
    """Return the alerts of a release in this namespace that has the chart's default values."""
    metrics = yaml.safe_load((_CHART / "values.yaml").read_text())["metrics"]
    return [
        _rendered(alert, metrics["alerts"][alert["alert"]], metrics["prometheusRule"]["runbooks"], namespace)
        for alert in yaml.safe_load((_CHART / "files" / "alerts.yaml").read_text())
    ]


def panels(*rows: str, namespace: str = ".*") -> dict[str, list[str]]:
    """Return the queries of the dashboard's panels in these rows, by title, as Grafana asks them.

    All pools of the namespace are chosen, or of all namespaces, and all servers.
    """
    return {
        panel.title: [_chosen(query.replace("$namespace", namespace)) for query in panel.queries.values()]
        for row, in_row in read_rows().items()
        if row in rows
        for panel in in_row
    }


def _rendered(alert: dict[str, Any], given: dict[str, Any], runbooks: str, namespace: str) -> dict[str, Any]:
    runbook = {"runbook_url": f"{runbooks}#{alert['alert'].lower()}"}
    whole = alert | {
        "annotations": alert["annotations"] | runbook,
        "for": given["for"],
        "labels": {"severity": given["severity"]},
    }
    text = json.dumps(whole).replace("<operator's namespace>", namespace)
    found: dict[str, Any] = json.loads(text.replace("<threshold>", str(given.get("threshold"))))
    return found


def _chosen(query: str) -> str:
    """Return a query with what Grafana writes for its other variables."""
    return query.replace("$__rate_interval", "1m").replace("$pool", ".*").replace("$server", ".+")
