"""The alerts as promtool sees them: which situation has which of them sent, with which words."""

from pathlib import Path

import pytest
import yaml

from tests.support.monitoring import alerts
from tests.support.prometheus import promtool

CASES = Path(__file__).with_name("alerts.test.yaml")
ALERTS = alerts("queue")


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
