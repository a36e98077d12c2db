"""A real Prometheus finds the real operator and workers, and answers the queries of the dashboard and of the alerts."""

import json
import re
import urllib.request

import pytest
import yaml

from tests.support.kubernetes import OPERATOR_NAMESPACE
from tests.support.monitoring import alerts, panels
from tests.support.project import ROOT
from tests.support.prometheus import Prometheus, promtool

pytestmark = pytest.mark.home_node("Prometheus runs on this machine, and must reach the pods")

EMPTY = {
    "Pools that are not ready": [False],
    "Binlog": [False],  # the server of the tests has none
    "Memory of the largest slot": [True, False],  # there is no limit
}
"""Which queries of a panel have an answer, if not all of them have."""


def discovered(kubectl, namespaces):
    """Yield what Prometheus' discovery of pods makes of those that run there, with the labels that matter here.

    Debian's Prometheus is built without it.
    """
    for pod in json.loads(kubectl("get", "pods", "--all-namespaces", "-o", "json").stdout)["items"]:
        metadata = pod["metadata"]
        if metadata["namespace"] not in namespaces or "deletionTimestamp" in metadata:
            continue
        labels = {"namespace": metadata["namespace"], "pod_name": metadata["name"]}
        for name, value in metadata["labels"].items():
            name_there = re.sub(r"\W", "_", name)
            labels |= {f"pod_label_{name_there}": value, f"pod_labelpresent_{name_there}": "true"}
        for port in (port for container in pod["spec"]["containers"] for port in container.get("ports", ())):
            labels["pod_container_port_name"] = port["name"]
            address = f"{pod['status']['podIP']}:{port['containerPort']}"
            yield {
                "targets": [address],
                "labels": {f"__meta_kubernetes_{name}": value for name, value in labels.items()},
            }


@pytest.fixture
def prometheus(kubectl, namespace, tmp_path):
    """A Prometheus with the configuration of the example, and with the alerts, each of which is sent and ends at once.

    The file `targets.json` has what its discovery has found.
    """
    configs = yaml.safe_load((ROOT / "examples" / "monitoring" / "prometheus.yaml").read_text())["scrape_configs"]
    for config in configs:
        assert config.pop("kubernetes_sd_configs") == [{"role": "pod"}]
        config["file_sd_configs"] = [{"files": [str(tmp_path / "targets.json")]}]
    at_once = [alert | {"for": "0s", "keep_firing_for": "0s"} for alert in alerts(OPERATOR_NAMESPACE)]
    running = Prometheus(tmp_path / "prometheus", configs, {"groups": [{"name": "tubeherd", "rules": at_once}]})
    yield running
    running.close()


def expositions(prometheus):
    """Return what each target serves, without the metrics whose names are those of the beanstalkd exporter."""
    for target in (each for each in prometheus.targets() if each["health"] == "up"):
        with urllib.request.urlopen(target["scrapeUrl"], timeout=30) as answer:
            yield "".join(line for line in answer.read().decode().splitlines(True) if "beanstalkd_" not in line)


def test_every_query_is_answered_and_every_alert_that_must_be_is_sent(
    prometheus, operator, namespace, queue, kubectl, eventually, tmp_path
):
    def sent(name, **labels):
        """Return the text of an alert, or None if it is not sent."""
        for alert in prometheus.alerts():
            if alert["labels"].items() >= {"alertname": name, **labels}.items():
                return alert["annotations"]["description"]
        return None

    ours = {"namespace": namespace.name, "pool": "mail"}
    namespace.make_pool("mail", ["ok", "fail"], replicas=1, retry={"delays": []})
    namespace.make_pool("idle", ["other"], replicas=0)
    namespace.wait_ready("mail")
    targets = list(discovered(kubectl, (OPERATOR_NAMESPACE, namespace.name)))
    (tmp_path / "targets.json").write_text(json.dumps(targets))
    queue.put("ok", 3)
    queue.put("fail", 2)
    queue.put("other")
    buried = eventually(lambda: sent("TubeherdJobsBuried", **ours), "the alert of buried jobs is sent")
    assert f"kubectl --namespace {namespace.name} annotate workerpool mail kick=all" in buried
    eventually(lambda: "exception RuntimeError" in sent("TubeherdJobsBuried", **ours), "the alert has the reason")
    jobs = f'rate(tubeherd_job_seconds_count{{verdict="deleted", namespace="{namespace.name}", pool="mail"}}[1m])'
    eventually(lambda: prometheus.query(jobs), "two scrapes have the worker's jobs")

    for title, queries in panels("Queues", "Pools", "Workers", "Operator", namespace=namespace.name).items():
        answers = EMPTY.get(title, [True] * len(queries))
        for query, answer in zip(queries, answers, strict=True):
            eventually(lambda q=query, a=answer: bool(prometheus.query(q)) == a, f"{title}: {query}")
    assert {rule["health"] for rule in prometheus.rules()} == {"ok"}
    for text in expositions(prometheus):
        promtool("check", "metrics", stdin=text)

    nobody = eventually(lambda: sent("TubeherdNoWorker", tube="other"), "the alert of the tube without worker is sent")
    assert f"kubectl --namespace {namespace.name} describe workerpool idle" in nobody
    assert sent("TubeherdNoWorker", tube="ok") is None
    queue.stop()
    eventually(lambda: sent("TubeherdServerUnreachable", server=queue.server), "the alert of the server is sent")
    eventually(lambda: sent("TubeherdPoolNotReady", **ours), "the alert of the pool is sent")
    queue.start()
    eventually(lambda: not sent("TubeherdServerUnreachable", server=queue.server), "the server answers again")
    assert sent("TubeherdOperatorDown") is None
    operator.stop()
    try:
        down = eventually(lambda: sent("TubeherdOperatorDown"), "the alert of the operator is sent")
    finally:
        operator.start()
    assert f"kubectl --namespace {OPERATOR_NAMESPACE} get pods" in down
