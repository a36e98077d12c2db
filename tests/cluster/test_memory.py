"""Memory limits of the kubelet's: one allocation that the kernel sees first, and a container killed as a whole."""

import json
import os
import signal
from contextlib import suppress
from pathlib import Path

import pytest

pytestmark = pytest.mark.home_node(
    "it reads this kernel's control groups and kills a container's processes from outside"
)

# The kernel kills one process with version 1, and with version 2, as the kubelet sets it up, all of the container's.
KILLS_CONTAINERS = Path("/sys/fs/cgroup/cgroup.controllers").exists()

EXECUTORS = """
import time
from tubeherd import executor

@executor("gulp")
def gulp(payload):
    return len(bytearray(b"x") * (1 << 30))

@executor("ok")
def ok(payload):
    return payload

@executor("wait")
def wait(payload):
    time.sleep(1000)
"""


def buried_job(queue, tube):
    """Return the counters of the tube's buried job."""
    client = queue.client()
    client.use(tube)
    stats = client.stats_job(client.peek_buried().id)
    client.close()
    return stats


def container(namespace):
    """Return the status of the pool's one container."""
    (pod,) = namespace.find("pods", "tubeherd.io/pool=mail")
    (status,) = pod["status"]["containerStatuses"]
    return status


def has_restarted(namespace, times):
    status = container(namespace)
    return status["restartCount"] == times and "running" in status["state"]


def reasons(namespace):
    """Return the reasons of the worker's verdicts, from its log."""
    (pod,) = namespace.find("pods", "tubeherd.io/pool=mail")
    text = namespace.kubectl("logs", pod["metadata"]["name"]).stdout
    # While the container's log file is changed, the kubelet answers with a sentence instead of the log.
    lines = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    return [line["reason"] for line in lines if "reason" in line]


def kinds(namespace):
    """Return how many jobs are buried, by kind, as the pool's status says."""
    return {group["kind"]: group["count"] for group in namespace.status("mail").get("burials", [])}


def kill_all_processes(container_id):
    """Kill every process of a container at once, as the kernel does if the container is one group to it."""
    for cgroup in Path("/proc").glob("[0-9]*/cgroup"):
        with suppress(OSError):
            if container_id in cgroup.read_text():
                os.kill(int(cgroup.parent.name), signal.SIGKILL)


def test_one_allocation_far_past_the_limit_spends_an_attempt_and_the_container_lives(namespace, queue, eventually):
    namespace.executors(EXECUTORS)
    namespace.make_pool("mail", ["gulp", "ok"], replicas=1, memoryLimit="128Mi", retry={"delays": ["1s"]})
    namespace.wait_ready("mail")
    started = container(namespace)["containerID"]
    queue.put("gulp")
    eventually(lambda: queue.count("gulp") == (0, 0, 0, 1), "the job is buried", 60)
    if not KILLS_CONTAINERS:
        stats = buried_job(queue, "gulp")
        assert (stats["reserves"], stats["releases"], stats["buries"], stats["timeouts"]) == (2, 1, 1, 0)
        assert container(namespace)["containerID"] == started
        assert container(namespace)["restartCount"] == 0
        said = eventually(lambda: len(found := reasons(namespace)) == 2 and found, "the log has both reasons", 10)
        # The supervisor looks ten times a second: now and then it is the faster one.
        assert all(
            reason.startswith("the slot died: signal 9 (SIGKILL), killed by the kernel")
            or "memory limit passed" in reason
            for reason in said
        )
        eventually(lambda: kinds(namespace) == {"memory": 1}, "the status says so")
        # The kubelet calls the end of a container so if the kernel has ever killed a process in it.
        killed = any("killed by the kernel" in reason for reason in said)
        kill_all_processes(started.removeprefix("containerd://"))
    else:
        killed = container(namespace)["restartCount"] > 0
    if killed:
        said = eventually(lambda: namespace.condition("mail", "OutOfMemory")["message"], "a condition says so")
        assert "raise spec.memoryLimit above 128Mi" in said
    queue.put("ok")
    eventually(lambda: queue.count("ok") == (0, 0, 0, 0), "the next job is done", 60)


def test_job_whose_container_is_killed_as_a_whole_comes_back_and_is_buried_as_poison(namespace, queue, eventually):
    namespace.executors(EXECUTORS)
    namespace.make_pool("mail", ["wait"], replicas=1, maxLostDeliveries=2, jobTimeout="1h")
    namespace.wait_ready("mail")
    queue.put("wait")
    for lost in range(2):
        eventually(lambda: queue.count("wait") == (0, 1, 0, 0), f"the job runs, lost {lost} times", 60)
        eventually(lambda times=lost: has_restarted(namespace, times), f"the status has {lost} restarts", 20)
        kill_all_processes(container(namespace)["containerID"].removeprefix("containerd://"))
        eventually(lambda: queue.count("wait")[1] == 0, "its lease ended with its container", 10)
    eventually(lambda: queue.count("wait") == (0, 0, 0, 1), "the job is buried", 60)
    stats = buried_job(queue, "wait")
    assert (stats["reserves"], stats["releases"], stats["buries"]) == (3, 0, 1)
    (reason,) = eventually(lambda: reasons(namespace), "the log says why", 10)
    assert reason == "lost 2 times: its worker or its connection died, or its TTR of 60 s passed"
