"""The operator chooses the number of a pool's pods by the jobs in its tubes."""

import json
import re
import time
from contextlib import closing

import pytest
import yaml

from tests.support.kubernetes import POOLS
from tests.support.project import ROOT

EXECUTORS = """
import os
import greenstalk
from tubeherd import executor

@executor("hold")
def hold(payload):
    host, _, port = os.environ["TUBEHERD_SERVER"].rpartition(":")
    with greenstalk.Client((host, int(port)), watch=payload["until"]) as client:
        client.delete(client.reserve())
"""
"""Of `hold`: runs until a job is put into the tube that the payload names."""
NOWHERE = {"server": "beanstalkd.nowhere:11300", "image": "localhost/no-such-image:1"}


@pytest.fixture
def hold(queue):
    """Put jobs that run until a job is put into this tube."""

    def put(until, count=1):
        with closing(queue.client()) as client:
            for _ in range(count):
                client.put_in("hold", json.dumps({"until": until}).encode())

    return put


def replicas(namespace):
    return namespace.get("deployment", "mail")["spec"]["replicas"]


def pods(namespace):
    """Return the names of the pods that are not about to go."""
    found = namespace.find("pods", "tubeherd.io/pool=mail")
    return {pod["metadata"]["name"] for pod in found if "deletionTimestamp" not in pod["metadata"]}


def scaled(namespace):
    """Return the numbers from and to which the pool was scaled, by its Events."""
    words = [message.partition(":")[0].split() for message in namespace.events("Scaled")]
    return {(int(start), int(end)) for *_, start, _, end in words}


def test_number_of_pods_rises_with_the_jobs_and_falls_to_zero_after_the_delay(
    namespace, queue, operator, hold, eventually
):
    namespace.executors(EXECUTORS)
    autoscale = {"maxReplicas": 2, "jobsPerReplica": 2, "scaleDownDelay": "20s"}
    namespace.make_pool("mail", ["hold"], autoscale=autoscale, jobTimeout="5m")
    eventually(lambda: replicas(namespace) == 0, "there are no pods at first")
    message = eventually(lambda: namespace.condition("mail", "Autoscaled")["message"], "the condition is there")
    assert message == "0 replicas: 0 jobs wait and 0 run, 2 per replica"
    namespace.wait_ready("mail")

    hold("end", 5)
    eventually(lambda: replicas(namespace) == 2, "the number rises")
    eventually(lambda: queue.count("hold")[:2] == (3, 2), "two pods execute a job each", 120)
    eventually(lambda: namespace.condition("mail", "Autoscaled")["reason"] == "AtMaxReplicas", "the bound is named")
    assert "that would be 3, but maxReplicas is 2" in namespace.condition("mail", "Autoscaled")["message"]

    operator.stop()
    queue.put("end", 5)
    eventually(lambda: queue.count("hold") == (0, 0, 0, 0), "the jobs are done")
    begun = time.monotonic()
    operator.start()
    eventually(lambda: namespace.condition("mail", "Autoscaled")["reason"] == "FallsLater", "the fall is announced")
    assert "2 replicas, falls to 0 at" in namespace.condition("mail", "Autoscaled")["message"]
    eventually(lambda: replicas(namespace) == 0, "the number falls", 60)
    assert time.monotonic() - begun > 20, "a restart of the operator lets nothing fall before the delay"
    eventually(lambda: not pods(namespace), "the pods go")
    status = eventually(lambda: namespace.status("mail")["autoscale"], "the status has it")
    assert status["desiredReplicas"] == 0
    eventually(lambda: {start for start, end in scaled(namespace) if end == 0} != set(), "an Event reports it")
    assert {end for _, end in scaled(namespace)} <= {0, 1, 2}
    assert not {start for start, end in scaled(namespace) if start < end} - {0, 1}

    namespace.kubectl("scale", "deployment", "mail", "--replicas=1")
    eventually(lambda: namespace.events("Repaired"), "the number that somebody else has set is repaired", 20)
    eventually(lambda: replicas(namespace) == 0, "there are no pods again")


def test_pod_that_executes_a_job_stays_and_an_idle_one_goes(namespace, queue, hold, eventually, operator):
    namespace.executors(EXECUTORS)
    autoscale = {"minReplicas": 1, "maxReplicas": 2, "jobsPerReplica": 1, "scaleDownDelay": "5s"}
    namespace.make_pool("mail", ["hold"], autoscale=autoscale, jobTimeout="5m")
    namespace.wait_ready("mail")
    older = pods(namespace)
    hold("end-of-first")
    eventually(lambda: queue.count("hold")[1] == 1, "the only pod executes the first job")
    hold("end-of-second")
    eventually(lambda: queue.count("hold")[1] == 2, "another pod executes the second job", 120)
    newer = pods(namespace) - older
    assert len(newer) == 1
    eventually(lambda: namespace.status("mail")["pods"] == "2/2", "both are ready")

    queue.put("end-of-first")
    eventually(lambda: replicas(namespace) == 1, "the number falls", 40)
    eventually(lambda: len(pods(namespace)) == 1, "a pod goes")
    # Of two pods Kubernetes by itself would end the newer one.
    assert pods(namespace) == newer, [line for line in operator.log().splitlines() if namespace.name in line]
    assert queue.count("hold")[1] == 1
    queue.put("end-of-second")
    eventually(lambda: queue.count("hold") == (0, 0, 0, 0), "the second job is done")


def other_autoscaler():
    """Return the HorizontalPodAutoscaler of the page, which needs no metrics to bring a pool to its least."""
    page = (ROOT / "docs" / "autoscaling.md").read_text()
    manifest = yaml.safe_load(re.search(r"^ {4}apiVersion: autoscaling/v2(?:\n {4}.*)*", page, re.MULTILINE)[0])
    manifest["spec"]["minReplicas"] = 4
    return manifest


def test_replicas_are_set_through_the_scale_subresource_unless_the_pool_is_autoscaled(namespace, eventually):
    namespace.make_pool("mail", ["ok"], **NOWHERE, replicas=0)
    eventually(lambda: replicas(namespace) == 0, "there are no pods at first")
    namespace.kubectl("scale", POOLS, "mail", "--replicas=3")
    eventually(lambda: replicas(namespace) == 3, "there are as many as the WorkerPool was scaled to")
    namespace.apply(other_autoscaler())
    eventually(lambda: replicas(namespace) == 4, "there are as many as another autoscaler wants")
    namespace.kubectl("delete", "hpa", "mail")

    namespace.make_pool("mail", ["ok"], **NOWHERE, autoscale={"minReplicas": 2, "maxReplicas": 2, "jobsPerReplica": 1})
    eventually(lambda: replicas(namespace) == 2, "the number is within its bounds at once")
    refused = namespace.kubectl("scale", POOLS, "mail", "--replicas=3", check=False)
    assert refused.returncode != 0
    assert "replicas cannot be set while autoscale chooses the number of pods" in refused.stderr

    namespace.make_pool("mail", ["ok"], **NOWHERE, concurrency=2)
    eventually(lambda: "autoscale" not in namespace.status("mail"), "it is autoscaled no longer")
    eventually(
        lambda: "TUBEHERD_CONCURRENCY" in str(namespace.get("deployment", "mail")["spec"]), "the spec is applied"
    )
    assert replicas(namespace) == 2
