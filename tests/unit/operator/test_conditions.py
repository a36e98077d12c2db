"""Why a pool does not work, in the words that its owner reads."""

import json

import pytest

from tubeherd_operator.decisions.conditions import conditions
from tubeherd_operator.decisions.counts import Counts
from tubeherd_operator.decisions.findings import Finding, stamp
from tubeherd_operator.decisions.pods import last_words


def ready(seen):
    return next(condition for condition in conditions(seen) if condition.type == "Ready")


def pod(status=None, **container):
    statuses = [{"name": "worker", "image": "shop/mail:7", **container}] if container else []
    return {"metadata": {"name": "mail-1"}, "status": {"containerStatuses": statuses, **(status or {})}}


CRASH = {
    "exitCode": 3,
    "message": json.dumps({"level": "info", "event": "starting"})
    + "\n"
    + json.dumps({"level": "error", "event": "no executor for the tube mail; there are: sms"})
    + "\nbye",
}


@pytest.mark.parametrize(
    ("pod", "reason", "words"),
    [
        (
            pod(state={"waiting": {"reason": "ImagePullBackOff", "message": "Back-off pulling"}}),
            "ImagePull",
            "pod mail-1 cannot get its image shop/mail:7: Back-off pulling",
        ),
        (
            pod(state={"waiting": {"reason": "CreateContainerConfigError", "message": 'secret "smtp" not found'}}),
            "CannotStart",
            'secret "smtp" not found',
        ),
        (
            pod(state={"waiting": {"reason": "CrashLoopBackOff"}}, lastState={"terminated": CRASH}),
            "CrashLoop",
            "the worker of pod mail-1 exited 3: no executor for the tube mail; there are: sms",
        ),
        (pod(state={"terminated": CRASH}), "CrashLoop", "there are: sms"),
        (
            pod(
                state={"waiting": {"reason": "CrashLoopBackOff"}},
                lastState={"terminated": {"exitCode": 137, "reason": "OOMKilled"}},
            ),
            "CrashLoop",
            "was killed for its memory: see kubectl logs --previous",
        ),
        (
            pod(
                {
                    "conditions": [
                        {
                            "type": "PodScheduled",
                            "status": "False",
                            "reason": "Unschedulable",
                            "message": "0/3 nodes are available",
                        }
                    ]
                }
            ),
            "Unschedulable",
            "pod mail-1 finds no node: 0/3 nodes are available",
        ),
    ],
)
def test_trouble_of_a_pod(pools, pod, reason, words):
    condition = ready(pools.seen(pods=[pod]))
    assert (condition.status, condition.reason) == ("False", reason)
    assert words in condition.message


@pytest.mark.parametrize(
    "pod",
    [
        pod(state={"running": {}}, lastState={"terminated": CRASH}),
        pod(state={"waiting": {"reason": "ContainerCreating"}}),
        pod(state={"terminated": {"exitCode": 0}}),
        pod(state={"terminated": CRASH}) | {"metadata": {"name": "mail-0", "deletionTimestamp": "now"}},
    ],
    ids=["running again", "being created", "ended well", "to be deleted"],
)
def test_no_trouble(pools, pod):
    assert ready(pools.seen(pods=[pod])).status == "True"


def test_quota(pools):
    live = pools.live(pools.pool())
    live["status"]["conditions"] = [{"type": "ReplicaFailure", "status": "True", "message": "exceeded quota: none"}]
    condition = ready(pools.seen(deployment=live))
    assert condition == Finding("Ready", "False", "PodsRefused", "pods cannot be created: exceeded quota: none")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"readyReplicas": 0}, "Starting"),
        ({"updatedReplicas": 0}, "Starting"),
        ({"replicas": 2}, "Starting"),
        ({"observedGeneration": 3}, "Starting"),
        ({}, "Running"),
    ],
)
def test_rollout(pools, change, reason):
    live = pools.live(pools.pool())
    live["status"] |= change
    assert ready(pools.seen(deployment=live)).reason == reason


def test_suspended_and_missing_executors_and_server_away(pools):
    assert ready(pools.seen(pools.pool({"tubes": ["mail"], "suspend": True}))).reason == "Suspended"
    full = pools.pool(pools.full)
    missing = ready(pools.seen(full, deployment=pools.live(full), executors_digest=None))
    assert (missing.reason, "mail-executors" in missing.message) == ("ExecutorsMissing", True)
    assert ready(pools.seen(counts=Counts(error="refused"))).reason == "ServerUnreachable"


@pytest.mark.parametrize(
    ("text", "code", "words"),
    [
        ("--max-time (TUBEHERD_MAX_TIME): no\n\n", 2, "--max-time (TUBEHERD_MAX_TIME): no"),
        ('{"level": "error", "event": "a"}\n{"level": "info", "event": "b"}', 3, "a"),
        ('{"level": "error", "event": "a"}\n{"level": "error", "event": "buried", "job": 7}', 3, "a"),
        ('{"level": "error", "event": "buried", "job": 7}', 137, "see kubectl logs --previous"),
        ("an executor printed a secret", 1, "see kubectl logs --previous"),
        ('{"level": "error"}\n[1]\n"x"', 1, "see kubectl logs --previous"),
        ("", 2, "see kubectl logs --previous"),
    ],
)
def test_last_words(text, code, words):
    assert last_words({"message": text, "exitCode": code}) == words


def test_time_of_a_condition_changes_with_its_status_only():
    first = stamp(Finding("Ready", "False", "Starting", "a"), None, 1, "t1")
    again = stamp(Finding("Ready", "False", "CrashLoop", "b"), first, 2, "t2")
    assert (again.last_transition_time, again.reason, again.observed_generation) == ("t1", "CrashLoop", 2)
    assert stamp(Finding("Ready", "True", "Running", "c"), again, 2, "t3").last_transition_time == "t3"
    assert len(stamp(Finding("Ready", "True", "Running", "x" * 9999), None, 2, "t3").message) == 1000
