"""Why a pool does not work, in the words that its owner reads."""

import json

import pytest

from tubeherd_operator.decisions.conditions import conditions
from tubeherd_operator.decisions.counts import Counts
from tubeherd_operator.decisions.findings import Finding, stamp
from tubeherd_operator.decisions.pods import last_words


def judged(seen, type_):
    return next(condition for condition in conditions(seen) if condition.type == type_)


def ready(seen):
    return judged(seen, "Ready")


CRASH = {
    "exitCode": 3,
    "message": json.dumps({"level": "info", "event": "starting"})
    + "\n"
    + json.dumps({"level": "error", "event": "no executor for the tube mail; there are: sms"})
    + "\nbye",
}
UNSCHEDULABLE = {
    "type": "PodScheduled",
    "status": "False",
    "reason": "Unschedulable",
    "message": "0/3 nodes are available",
}


@pytest.mark.parametrize(
    ("pod", "reason", "words"),
    [
        (
            {"state": {"waiting": {"reason": "ImagePullBackOff", "message": "Back-off pulling"}}},
            "ImagePull",
            "pod mail-1 cannot get its image shop/mail:7: Back-off pulling; correct the image's name",
        ),
        (
            {"state": {"waiting": {"reason": "CreateContainerConfigError", "message": 'secret "smtp" not found'}}},
            "CannotStart",
            'secret "smtp" not found; add what is missing',
        ),
        (
            {"state": {"waiting": {"reason": "CrashLoopBackOff"}}, "lastState": {"terminated": CRASH}},
            "CrashLoop",
            "the worker of pod mail-1 exited 3: no executor for the tube mail; there are: sms",
        ),
        ({"state": {"terminated": CRASH}}, "CrashLoop", "there are: sms"),
        (
            {
                "state": {"waiting": {"reason": "CrashLoopBackOff"}},
                "lastState": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}},
            },
            "CrashLoop",
            "was killed for its memory: see kubectl logs --previous mail-1",
        ),
        (
            {"status": {"conditions": [UNSCHEDULABLE]}},
            "Unschedulable",
            "pod mail-1 finds no node: 0/3 nodes are available; make room for it",
        ),
        (
            {"status": {"conditions": [UNSCHEDULABLE | {"reason": "SchedulingGated", "message": "non-empty gates"}]}},
            "Unschedulable",
            "pod mail-1 finds no node: non-empty gates",
        ),
    ],
)
def test_trouble_of_a_pod(pools, pod, reason, words):
    condition = ready(pools.seen(pods=[pools.pod(**pod)]))
    assert (condition.status, condition.reason) == ("False", reason)
    assert words in condition.message


ENDED = {"name": "proxy", "state": {"terminated": CRASH}}


@pytest.mark.parametrize("kind", ["initContainerStatuses", "containerStatuses"])
@pytest.mark.parametrize(
    ("container", "reason", "words"),
    [
        (
            ENDED,
            "CrashLoop",
            "container proxy of pod mail-1 exited 3: see kubectl logs --previous mail-1 --container proxy",
        ),
        (
            {"name": "proxy", "image": "proxy:1", "state": {"waiting": {"reason": "ErrImagePull"}}},
            "ImagePull",
            "pod mail-1 cannot get its image proxy:1",
        ),
    ],
)
def test_trouble_of_another_container(pools, kind, container, reason, words):
    worker = {"name": "worker", "state": {"waiting": {"reason": "PodInitializing"}}}
    statuses = {"containerStatuses": [worker]}
    pod = pools.pod(statuses | {kind: [container, *(statuses.get(kind, []))]})
    condition = ready(pools.seen(pods=[pod]))
    assert (condition.status, condition.reason) == ("False", reason)
    assert condition.message.startswith(words)


@pytest.mark.parametrize(
    "worker", [{"ready": False, "state": {"waiting": {"reason": "PodInitializing"}}}, {"ready": True, "state": {}}]
)
def test_pod_that_waits_for_another_container_names_it(pools, worker):
    live = pools.live(pools.pool())
    live["status"]["readyReplicas"] = 0
    pod = unready(9, worker["state"])["status"]
    others = [{"name": "done", "ready": True}, {"name": "proxy", "ready": False, "state": {"running": {}}}]
    pod |= {"initContainerStatuses": others, "containerStatuses": [{"name": "worker"} | worker]}
    condition = ready(pools.seen(deployment=live, pods=[pools.pod(pod)], now=30.0))
    assert condition.reason == "NotStarted"
    assert "pod mail-1 waits for its container proxy; see kubectl logs mail-1 --container proxy" in condition.message


@pytest.mark.parametrize(
    "pod",
    [
        {"state": {"running": {}}, "lastState": {"terminated": CRASH}},
        {"state": {"waiting": {"reason": "ContainerCreating"}}},
        {"state": {"terminated": {"exitCode": 0}}},
    ],
    ids=["running again", "being created", "ended well"],
)
def test_no_trouble(pools, pod):
    assert ready(pools.seen(pods=[pools.pod(**pod)])).status == "True"


def killed(pools, name, time):
    """Return a pod that runs again after its container was killed for its memory."""
    ended = {"exitCode": 137, "reason": "OOMKilled", "finishedAt": time}
    pod = pools.pod(state={"running": {}}, lastState={"terminated": ended})
    worker = {"name": "worker", "resources": {"limits": {"memory": "128Mi"}}}
    return pod | {"metadata": pod["metadata"] | {"name": name}, "spec": {"containers": [worker]}}


def test_container_that_was_killed_for_its_memory_is_said_while_it_runs_again(pools):
    pods = [
        killed(pools, "mail-1", "2026-11-29T12:00:00Z"),
        pools.pod(),
        killed(pools, "mail-2", "2026-11-29T13:00:00Z"),
    ]
    seen = pools.seen(pods=pods)
    condition = judged(seen, "OutOfMemory")
    assert (condition.status, condition.reason, condition.event) == ("True", "ContainerKilled", "Warning")
    assert condition.message.startswith(
        "container worker of pod mail-2 was killed for its memory at 2026-11-29T13:00:00Z, as was 1 other container: "
        "raise spec.memoryLimit above 128Mi or lower spec.concurrency; "
    )
    assert ready(seen).status == "True"
    assert "OutOfMemory" not in {condition.type for condition in conditions(pools.seen(pods=[pools.pod()]))}


@pytest.mark.parametrize(
    "change",
    [
        {"metadata": {"deletionTimestamp": "now"}},
        {"status": {"phase": "Failed", "reason": "Evicted"}},
        {"status": {"phase": "Succeeded"}},
        {"metadata": {"ownerReferences": []}},
        {"metadata": {"ownerReferences": [{"uid": "rs-1", "controller": True}]}},
        {"metadata": {"ownerReferences": [{"uid": "rs-3", "controller": True}]}},
        {"metadata": {"ownerReferences": [{"uid": "rs-2"}]}},
    ],
    ids=["deleted", "evicted", "ended", "a copy", "of an earlier spec", "of another Deployment", "not controlled"],
)
def test_only_live_pods_of_the_present_replica_set_speak_for_a_pool(pools, change):
    replica_sets = [pools.replica_set(2), pools.replica_set(1), pools.replica_set(3, owner="another")]
    pod = pools.pod(owner="rs-2", state={"terminated": CRASH})
    assert ready(pools.seen(pods=[pod], replica_sets=replica_sets)).reason == "CrashLoop"
    pod = {key: value | change.get(key, {}) for key, value in pod.items()}
    assert ready(pools.seen(pods=[pod], replica_sets=replica_sets)).status == "True"
    assert ready(pools.seen(pods=[pod], replica_sets=[])).status == "True"


def test_no_pod_speaks_for_a_pool_before_kubernetes_has_seen_its_change(pools):
    live = pools.live(pools.pool())
    live["metadata"]["generation"] += 1
    pod = pools.pod(state={"terminated": CRASH})
    assert ready(pools.seen(deployment=live, pods=[pod])).reason == "Starting"


def test_quota(pools):
    live = pools.live(pools.pool())
    live["status"]["conditions"] = [{"type": "ReplicaFailure", "status": "True", "message": "exceeded quota: none"}]
    condition = ready(pools.seen(deployment=live))
    assert (condition.status, condition.reason) == ("False", "PodsRefused")
    assert condition.message == (
        "pods cannot be created: exceeded quota: none; remove what forbids them, or correct the spec"
    )


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


def test_suspended_and_missing_executors(pools):
    assert ready(pools.seen(pools.pool({"tubes": ["mail"], "suspend": True}))).reason == "Suspended"
    full = pools.pool(pools.full)
    missing = ready(pools.seen(full, deployment=pools.live(full), executors_digest=None))
    assert (missing.reason, "mail-executors" in missing.message) == ("ExecutorsMissing", True)


def test_pool_whose_workers_are_connected_is_ready_though_the_operator_does_not_reach_beanstalkd(pools):
    away = Counts(error="refused")
    connected = pools.seen(counts=away)
    assert (ready(connected).status, ready(connected).reason) == ("True", "Running")
    found = {finding.type: finding for finding in conditions(connected)}
    assert (found["ServerReachable"].status, found["ServerReachable"].reason) == ("False", "Unreachable")
    assert "check that it runs, that the value `server` of the Helm chart names it" in found["ServerReachable"].message
    own = judged(pools.seen(pools.pool({"tubes": ["mail"], "server": "q:11300"}), counts=away), "ServerReachable")
    assert "that spec.server names it, and that no NetworkPolicy keeps the operator from it" in own.message
    starting = pools.live(pools.pool())
    starting["status"]["readyReplicas"] = 0
    waiting = ready(pools.seen(counts=away, deployment=starting))
    assert waiting.reason == "ServerUnreachable"
    assert waiting.message.endswith("; the condition ServerReachable says what to check")
    none = pools.pool({"tubes": ["mail"], "replicas": 0})
    assert ready(pools.seen(none, counts=away)).reason == "ServerUnreachable", "no worker shows the opposite"


def outdated(pools, spec=None, **live):
    """Return the condition of a pool whose pods have such defaults."""
    pool = pools.pool(spec)
    found = conditions(pools.seen(pool, deployment=pools.live(pool, **live)))
    return {finding.type: finding for finding in found}.get("Outdated")


def test_pool_whose_pods_have_older_defaults_says_so_and_how_to_take_the_new_ones(pools):
    assert outdated(pools) is None
    assert outdated(pools, {"tubes": ["mail"], "image": "shop/mail:7"}, image="another") is None, "it names its image"
    image = outdated(pools, image="tubeherd-worker:0")
    assert (image.status, image.reason, image.event) == ("True", "OldImage", None)
    assert image.message == (
        "the pods run image tubeherd-worker:0, and the installation's is tubeherd-worker:1 by now; they take the new "
        "ones when the pool's spec next changes in anything but the number of pods, or at once: kubectl annotate "
        "deployment mail tubeherd.io/defaults=newest --overwrite"
    )
    defaults = outdated(pools, version=1)
    assert defaults.reason == "OldDefaults"
    assert defaults.message.startswith("the pods lack what the operator adds by now: requests for CPU and memory,")
    assert outdated(pools, version=1, image="tubeherd-worker:0").reason == "OldImage"


def unready(since, worker, **more):
    """Return a pod that has not been ready since that second."""
    condition = {"type": "Ready", "status": "False", "lastTransitionTime": f"1970-01-01T00:00:{since:02}Z"}
    return {"status": {"conditions": [condition | more]}, "state": worker}


GATED = {"reason": "ReadinessGatesNotReady", "message": 'the status of pod readiness gate "a" is not "True"'}
RUNS, WAITS = {"running": {}}, {"waiting": {"reason": "ContainerCreating"}}


@pytest.mark.parametrize(
    ("pod", "server", "reason", "words"),
    [
        (unready(9, RUNS), "queue", "NotConnected", "a name without a dot is looked up in the pool's namespace"),
        (unready(9, RUNS), "queue:11300", "NotConnected", "beanstalkd at queue:11300; a name without a dot"),
        (unready(9, RUNS), "q.shop.svc:11300", "NotConnected", "at q.shop.svc:11300; check that it runs"),
        (
            unready(9, RUNS),
            "[::1]:11300",
            "NotConnected",
            "NetworkPolicy keeps the pod from it; see kubectl logs mail-1",
        ),
        (unready(9, WAITS), "queue", "NotStarted", "ContainerCreating; see kubectl describe pod mail-1"),
        (unready(9, RUNS, **GATED), "queue", "NotStarted", 'pod mail-1 waits: the status of pod readiness gate "a"'),
        (unready(11, RUNS, **GATED), "queue", "Starting", ""),
        (unready(11, RUNS), "queue", "Starting", ""),
        (unready(11, WAITS), "queue", "Starting", ""),
    ],
)
def test_pod_that_is_not_ready_for_long_says_what_it_waits_for(pools, pod, server, reason, words):
    pool = pools.pool({"tubes": ["mail"], "server": server})
    live = pools.live(pool)
    live["status"]["readyReplicas"] = 0
    seen = pools.seen(pool, deployment=live, pods=[pools.pod(**pod)], now=30.0)
    assert ready(seen).reason == reason
    assert words in ready(seen).message
    again_after = pools.report(seen).again_after
    assert again_after == (1 if reason == "Starting" else None), "a pod that is still given time is looked at again"


def test_rollout_that_does_not_go_on_says_so(pools):
    live = pools.live(pools.pool())
    live["status"]["readyReplicas"] = 0
    deadline = {"type": "Progressing", "status": "False", "message": 'ReplicaSet "mail-1" has timed out progressing.'}
    live["status"]["conditions"] = [deadline]
    condition = ready(pools.seen(deployment=live))
    assert (condition.reason, condition.event) == ("Stuck", "Warning")
    assert "has timed out progressing; see kubectl describe deployment mail" in condition.message


def test_paused_deployment_says_so_until_it_is_as_the_spec_says(pools):
    live = pools.live(pools.pool())
    live["spec"]["paused"] = True
    assert ready(pools.seen(deployment=live)).status == "True"
    live["metadata"]["generation"] += 1
    condition = ready(pools.seen(deployment=live))
    assert condition.reason == "Paused"
    assert "kubectl rollout resume deployment mail" in condition.message


def test_replicas_forced_on_the_deployment_are_not_those_that_the_pool_wants(pools):
    pool = pools.pool({"tubes": ["mail"], "replicas": 2})
    live = pools.live(pool)
    live["spec"]["replicas"] = 0
    live["status"] |= {"replicas": 0, "readyReplicas": 0, "updatedReplicas": 0}
    assert ready(pools.seen(pool, deployment=live)).status == "False"


@pytest.mark.parametrize(
    ("spec", "status", "pods", "available", "progressing"),
    [
        ({}, {}, [], ("True", "PodsReady"), ("False", "RolledOut")),
        ({}, {"updatedReplicas": 1}, [], ("True", "PodsReady"), ("True", "RollingOut")),
        ({}, {"updatedReplicas": 1}, ["ErrImagePull"], ("True", "PodsReady"), ("False", "Stalled")),
        ({}, {"readyReplicas": 0}, [], ("False", "NoPodReady"), ("True", "RollingOut")),
        ({"suspend": True}, {}, [], ("False", "Suspended"), ("False", "RolledOut")),
        ({"suspend": True}, {"replicas": 1}, [], ("False", "Suspended"), ("True", "RollingOut")),
        ({"replicas": 0}, {}, [], ("False", "NoPodWanted"), ("False", "RolledOut")),
    ],
    ids=["well", "new pods start", "a bad update", "no pod yet", "suspended", "being suspended", "scaled to 0"],
)
def test_available_and_progressing_beside_ready(pools, spec, status, pods, available, progressing):
    pool = pools.pool({"tubes": ["mail"], "replicas": 3, **spec})
    live = pools.live(pool)
    live["status"] |= status
    seen = pools.seen(pool, deployment=live, pods=[pools.pod(state={"waiting": {"reason": reason}}) for reason in pods])
    for type_, wanted in (("Available", available), ("Progressing", progressing)):
        condition = judged(seen, type_)
        assert (condition.status, condition.reason) == wanted


def test_nothing_is_available_of_a_deployment_that_is_not_the_pools(pools):
    live = pools.live(pools.pool())
    live["metadata"]["ownerReferences"] = []
    assert judged(pools.seen(deployment=live), "Available").status == "False"


@pytest.mark.parametrize(
    ("text", "code", "words"),
    [
        ("--max-time (TUBEHERD_MAX_TIME): no\n\n", 2, "--max-time (TUBEHERD_MAX_TIME): no"),
        ('{"level": "error", "event": "a"}\n{"level": "info", "event": "b"}', 3, "a"),
        ('{"level": "error", "event": "a"}\n{"level": "error", "event": "buried", "job": 7}', 3, "a"),
        ('{"level": "error", "event": "buried", "job": 7}', 137, None),
        ("an executor printed a secret", 1, None),
        ('{"level": "error"}\n[1]\n"x"', 1, None),
        ("", 2, None),
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
