"""What a real Prometheus makes of the metrics of a real worker."""

import urllib.request

import pytest

from tests.support.executors import CODE
from tests.support.monitoring import alerts, panels
from tests.support.prometheus import Prometheus, promtool

EMPTY = {"Memory of the largest slot": [True, False]}
"""Which queries of a panel have an answer, if not all of them have: there is no limit of memory."""
VERDICTS = "sum by (verdict) (tubeherd_job_seconds_count)"


@pytest.fixture
def scraped(beanstalkd, run_worker, address, tmp_path):
    """A Prometheus that scrapes a worker, with the labels that the PodMonitor adds."""
    worker = run_worker(beanstalkd.server, CODE, "--health", address, "--retry-delays", "none")
    beanstalkd.put_code("pass")
    beanstalkd.put_code("raise KeyError(7)")
    worker.wait_for_line("deleted")
    worker.wait_for_line("buried")
    config = {
        "job_name": "tubeherd-workers",
        "static_configs": [{"targets": [address], "labels": {"namespace": "shop", "pool": "mail"}}],
    }
    rules = {"groups": [{"name": "tubeherd", "rules": alerts("queue")}]}
    prometheus = Prometheus(tmp_path / "prometheus", [config], rules)
    yield worker, prometheus
    prometheus.close()


@pytest.mark.slow
def test_metrics_of_a_worker_answer_the_queries_of_the_dashboard_and_of_the_alerts(scraped, address):
    worker, prometheus = scraped
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=30) as metrics:
        promtool("check", "metrics", stdin=metrics.read().decode())
    jobs = 'rate(tubeherd_job_seconds_count{verdict="deleted"}[1m])'
    worker.wait_for(lambda: prometheus.query(jobs), "two scrapes have the job")
    counted = {series["metric"]["verdict"]: series["value"][1] for series in prometheus.query(VERDICTS)}
    assert counted == {"deleted": "1", "buried": "1"}
    for title, queries in panels("Workers").items():
        answered = [bool(prometheus.query(query)) for query in queries]
        assert answered == EMPTY.get(title, [True] * len(queries)), title
    worker.wait_for(lambda: all(rule["health"] != "unknown" for rule in prometheus.rules()), "all rules are evaluated")
    assert {rule["health"] for rule in prometheus.rules()} == {"ok"}
    assert {alert["labels"]["alertname"] for alert in prometheus.alerts()} == {"TubeherdOperatorDown"}
