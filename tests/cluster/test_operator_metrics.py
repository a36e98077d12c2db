"""/metrics of the operator, read by the chart's Service: pools with buried jobs, a kick, and which operator acts."""

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.support.chart import render
from tests.support.kubernetes import OPERATOR_NAMESPACE


@pytest.fixture
def figures(kubectl, release):
    """Return what a pod shows, or the Service: each value by the metric's name and the values of its labels, sorted."""
    values = {"serviceMonitor": {"enabled": True}, "readers": [OPERATOR_NAMESPACE]}
    rendered = render({"metrics": values}, release.name, OPERATOR_NAMESPACE)
    (service,) = [thing for (kind, name), thing in rendered.items() if kind == "Service" and "metrics" in name]
    kubectl("apply", "-f", "-", stdin=service)
    path = f"/api/v1/namespaces/{OPERATOR_NAMESPACE}"

    def read(pod=None):
        name = f"pods/{pod}:8080" if pod else f"services/{service['metadata']['name']}:metrics"
        text = kubectl("get", "--raw", f"{path}/{name}/proxy/metrics").stdout
        samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
        return {" ".join([sample.name, *sorted(sample.labels.values())]): sample.value for sample in samples}

    yield read
    kubectl("delete", "--namespace", OPERATOR_NAMESPACE, "service", service["metadata"]["name"])


def test_pools_and_their_burials_are_shown_and_a_kick_is_counted(namespace, queue, eventually, figures):
    ours = f"mail {namespace.name}"

    def has(expected):
        found = figures()
        return {name: found.get(name) for name in expected} == expected

    namespace.make_pool("mail", ["fail", "ok"], replicas=1, retry={"delays": []})
    namespace.wait_ready("mail")
    queue.put("fail", 3)
    expected = {
        f"beanstalkd_up {queue.server}": 1,
        " ".join(["beanstalkd_tube_current_jobs_buried_count", *sorted([queue.server, "fail"])]): 3,
        f"tubeherd_pool_jobs buried {ours}": 3,
        f"tubeherd_pool_buried_jobs RuntimeError exception {ours}": 3,
        f"tubeherd_pool_replicas_wanted {ours}": 1,
        f"tubeherd_pool_replicas_ready {ours}": 1,
        f"tubeherd_pool_condition Ready {ours}": 1,
        "tubeherd_operator_leader": 1,
    }
    eventually(lambda: has(expected), f"{expected} are shown")
    before = figures()
    assert before["tubeherd_operator_pass_seconds_count"] > 0
    assert before["tubeherd_operator_api_requests_total 200 list workerpools"] > 0
    assert before["tubeherd_operator_api_requests_total 200 patch workerpools/status"] > 0
    namespace.kubectl("annotate", "wp", "mail", "kick=2")
    kicks = {
        "tubeherd_operator_kicks_total": before["tubeherd_operator_kicks_total"] + 1,
        "tubeherd_operator_kicked_jobs_total": before["tubeherd_operator_kicked_jobs_total"] + 2,
    }
    eventually(lambda: has(kicks), "the kick is counted")


def test_only_the_operator_that_acts_shows_pools(namespace, operator, eventually, figures):
    namespace.make_pool("mail", ["ok"], replicas=0)
    operator.start(replicas=2)
    try:

        def acting():
            shown = [figures(pod.removeprefix("pod/")) for pod in operator.pods()]
            return sorted(
                (each["tubeherd_operator_leader"], f"tubeherd_pool_suspended mail {namespace.name}" in each)
                for each in shown
            )

        eventually(lambda: acting() == [(0, False), (1, True)], "one of two acts")
    finally:
        operator.start(replicas=1)
