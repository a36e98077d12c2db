"""The alerts as promtool sees them: which situation has which of them sent, with which words."""

import json
import re
from pathlib import Path

import pytest
import yaml
from docs.chart import CHART

from tests.support.monitoring import alerts
from tests.support.prometheus import promtool
from tubeherd.policy import BurialKind

CASES = Path(__file__).with_name("alerts.test.yaml")
ALERTS = alerts("queue")
SCHEMA = json.loads((CHART / "values.schema.json").read_text())


@pytest.fixture
def rules(tmp_path):
    path = tmp_path / "rules.yaml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "tubeherd", "rules": ALERTS}]}))
    return path


def test_prometheus_takes_the_alerts(rules):
    assert f"{len(ALERTS)} rules found" in promtool("check", "rules", rules)


def test_each_alert_is_sent_when_it_must_be_and_not_otherwise(rules):
    (cases := rules.with_name("cases.yaml")).write_text(CASES.read_text())
    promtool("test", "rules", cases)


def test_each_alert_has_a_case_in_which_it_is_sent_and_one_in_which_it_is_not():
    tests = [case for test in yaml.safe_load(CASES.read_text())["tests"] for case in test["alert_rule_test"]]
    for sent in (True, False):
        assert {case["alertname"] for case in tests if bool(case["exp_alerts"]) == sent} == {
            alert["alert"] for alert in ALERTS
        }


def test_reasons_of_burials_in_the_cases_are_ones_that_the_operator_shows():
    shown = re.findall(r'tubeherd_pool_buried_jobs\{.*?kind="(\w+)", error="(\w+)"', CASES.read_text())
    assert {kind for kind, _ in shown} == {BurialKind.EXCEPTION, BurialKind.INVALID, "other"}
    assert [(kind, error) for kind, error in shown if kind != BurialKind.EXCEPTION and error != kind] == []


def resolved(schema):
    """Return a part of the schema, where it refers to a definition that definition."""
    reference = schema.get("$ref", "")
    return SCHEMA["definitions"][reference.removeprefix("#/definitions/")] if reference else schema


def chart_takes(value, schema):
    """Return whether the chart's schema takes a text."""
    return len(value) >= schema.get("minLength", 0) and re.search(schema.get("pattern", ""), value) is not None


@pytest.fixture
def prometheus_takes(tmp_path):
    """Return a function that tells whether Prometheus takes an alert to which something is added."""

    def takes(**added):
        (path := tmp_path / "rules.yaml").write_text(
            yaml.safe_dump({"groups": [{"name": "tubeherd", "rules": [ALERTS[0] | added]}]})
        )
        try:
            promtool("check", "rules", path)
        except AssertionError:
            return False
        return True

    return takes


@pytest.mark.parametrize(
    "duration",
    ["1m1h", "1h1h", "5m 3s", "1.5h", "-5m", "5", "m", "", "5m", "0s", "500ms", "1h30m", "1y2w3d4h5m6s7ms", "90s500ms"],
)
def test_duration_is_refused_by_the_chart_if_prometheus_refuses_it(duration, prometheus_takes):
    assert chart_takes(duration, SCHEMA["definitions"]["duration"]) == prometheus_takes(**{"for": duration})


@pytest.mark.parametrize(
    "text", ["https://docs.example.com/{{page}}", "{{ $labels.pool", "page", "docs/a b.md?c=d&e#f"]
)
def test_severity_or_address_is_refused_by_the_chart_if_prometheus_refuses_it(text, prometheus_takes):
    severity = SCHEMA["definitions"]["alert"]["properties"]["severity"]
    runbooks = SCHEMA["properties"]["metrics"]["properties"]["prometheusRule"]["properties"]["runbooks"]
    annotations = ALERTS[0]["annotations"] | {"runbook_url": text}
    assert chart_takes(text, resolved(severity)) == prometheus_takes(labels={"severity": text})
    assert chart_takes(text, resolved(runbooks)) == prometheus_takes(annotations=annotations)
