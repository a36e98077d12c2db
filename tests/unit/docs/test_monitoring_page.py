"""The page on monitoring, the alerts and the dashboard are about metrics and labels that the code has."""

import json
import re

import pytest
from docs.dashboard import read_rows
from docs.monitoring import PAGE, render

from tests.support.monitoring import alerts
from tubeherd import metric_table as of_worker
from tubeherd_operator import metric_table as of_operator

ADDED_TO_WORKERS = {"namespace", "pool"}
"""Labels that the PodMonitor gives the metrics of workers."""
ADDED_TO_ALL = {"instance", "pod"}
"""Labels that Prometheus gives all metrics."""
OF_PYTHON = {"process_cpu_seconds_total": set(), "process_resident_memory_bytes": set()}
"""Metrics of prometheus_client."""


def labels_of_metrics():
    """Return the labels of each series by its name; a histogram has three names."""
    known = dict(OF_PYTHON)
    for declared, added in ((of_worker.METRICS, ADDED_TO_WORKERS), (of_operator.METRICS, set())):
        for metric in declared:
            is_of_release = metric.name.startswith(("tubeherd_operator_", "beanstalkd_"))
            labels = {*metric.labels, *added, *({"namespace"} if is_of_release else ())}
            if metric.kind == "histogram":
                known |= {f"{metric.name}_{part}": labels for part in ("sum", "count")}
                known[f"{metric.name}_bucket"] = {*labels, "le"}
            else:
                known[metric.name] = labels
    return {name: labels | ADDED_TO_ALL for name, labels in known.items()}


KNOWN = labels_of_metrics()


def queries():
    """Return what is asked by panels, by alerts and by the texts of alerts, and where."""
    for row in read_rows().values():
        for panel in row:
            yield from (pytest.param(query, id=f"{panel.title} {name}") for name, query in panel.queries.items())
    for alert in alerts("queue"):
        yield pytest.param(alert["expr"], id=alert["alert"])
        asked = re.findall(r'printf "(.*?)" \$labels', json.loads(json.dumps(alert["annotations"]["description"])))
        yield from (pytest.param(query, id=f"{alert['alert']}, text") for query in asked)


@pytest.mark.parametrize("query", list(queries()))
def test_query_is_about_metrics_and_labels_that_there_are(query):
    series = re.findall(r"\b((?:tubeherd|beanstalkd|process)_\w+)(?:\{(.*?)\})?", query)
    assert series
    assert {name for name, _ in series} <= set(KNOWN)
    for name, selector in series:
        assert set(re.findall(r"(\w+)=", selector)) <= KNOWN[name], name
    grouped = re.findall(r"\b(?:by|on|group_left) \((.*?)\)", query)
    used = {label for labels in grouped for label in labels.replace(" ", "").split(",") if label}
    assert used <= set().union(*(KNOWN[name] for name, _ in series))


def test_page_is_up_to_date():
    assert PAGE.read_text() == render(PAGE.read_text()), "stale: run `make monitoring`"


def test_every_alert_has_a_runbook_where_its_address_points():
    headings = re.findall(r"^### (\w+)$", PAGE.read_text(), re.MULTILINE)
    assert headings == [alert["alert"] for alert in alerts("queue")]
    for alert in alerts("queue"):
        assert alert["annotations"]["runbook_url"] == f"docs/monitoring.md#{alert['alert'].lower()}"


def test_metrics_that_the_page_names_are_ones_that_there_are():
    named = re.findall(r"\b((?:tubeherd|beanstalkd)_\w*[a-z])\b(?!\])", PAGE.read_text())
    histograms = {metric.name for metric in (*of_worker.METRICS, *of_operator.METRICS) if metric.kind == "histogram"}
    assert set(named) - set(KNOWN) - histograms <= {"beanstalkd_exporter", "tubeherd_io"}
