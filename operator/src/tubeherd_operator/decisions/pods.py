"""Why pods do not work, from what Kubernetes reports of them and from the last lines of a worker's log."""

import json
from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, NamedTuple

from tubeherd.exits import Exit
from tubeherd.pod_template.containers import WORKER
from tubeherd_operator.objects import Object, controller_of

_REVISION: Final = "deployment.kubernetes.io/revision"
"""The annotation of a ReplicaSet that counts up: the present one of a Deployment has the highest number."""

_OUT_OF_MEMORY: Final = "OOMKilled"
"""How the kubelet calls the end of a container that the kernel killed for its memory."""
_PATIENCE: Final = 20.0
"""For how many seconds a pod may be created, or its worker be without a connection, before that is a trouble."""

_NO_NODE: Final = ("Unschedulable", "SchedulingGated")


class PodReason(StrEnum):
    """Why a pool is not ready, if one of its pods is the cause."""

    UNSCHEDULABLE = "Unschedulable"
    IMAGE_PULL = "ImagePull"
    CANNOT_START = "CannotStart"
    CRASH_LOOP = "CrashLoop"
    NOT_STARTED = "NotStarted"
    NOT_CONNECTED = "NotConnected"


class MemoryKill(NamedTuple):
    """A container that was killed for its memory."""

    pod: str
    container: str
    time: str
    """In RFC 3339."""
    limit: str | None
    """The memory that it may have, such as 128Mi; None if it may have all of the node's."""


class Trouble(NamedTuple):
    """Why a pod does not work."""

    reason: PodReason
    message: str


def present_pods(deployment: Object | None, replica_sets: Iterable[Object], pods: Iterable[Object]) -> list[Object]:
    """Return the pods that speak for a pool: those of its Deployment's present ReplicaSet that live.

    Not the others: a pod that failed or was evicted is kept for a while after it was replaced, a pod of an earlier
    ReplicaSet shows the trouble of an earlier spec, and a copy for debugging may bear the same labels.
    """
    if deployment is None or not is_observed(deployment):
        return []
    owned = [item for item in replica_sets if controller_of(item) == deployment["metadata"].get("uid")]
    if not owned:
        return []
    present = max(owned, key=_revision)["metadata"]["uid"]
    return [pod for pod in pods if controller_of(pod) == present and _lives(pod)]


def is_observed(deployment: Object) -> bool:
    """Return whether the status of a Deployment is about its present spec."""
    seen = int(deployment.get("status", {}).get("observedGeneration", 0))
    return seen >= int(deployment["metadata"]["generation"])


def _revision(replica_set: Object) -> int:
    return int(replica_set["metadata"].get("annotations", {}).get(_REVISION, 0))


def _lives(pod: Object) -> bool:
    ended = pod.get("status", {}).get("phase") in ("Failed", "Succeeded")
    return not ended and "deletionTimestamp" not in pod["metadata"]


def trouble_of_pods(pods: Iterable[Object]) -> Trouble | None:
    """Return why the first pod in trouble does not work; None if there is none."""
    for pod in pods:
        name = pod["metadata"]["name"]
        for condition in pod.get("status", {}).get("conditions", []):
            if condition["type"] == "PodScheduled" and condition.get("reason") in _NO_NODE:
                why = condition.get("message", "")
                message = f"pod {name} finds no node: {why}; make room for it, or have the spec ask less of a node"
                return Trouble(PodReason.UNSCHEDULABLE, message)
        for container in _containers(pod):
            if trouble := _container_trouble(name, container):
                return trouble
    return None


def trouble_of_slow_pods(pods: Iterable[Object], server: str, now: float) -> Trouble | None:
    """Return what the first pod waits for that has not been ready for a while; None if there is none.

    `server` is the pool's, and `now` the time in seconds since 1970.
    """
    for pod in pods:
        worker, since = _worker(pod), _unready_since(pod)
        if worker is None or since is None or now - since < _PATIENCE:
            continue
        name = pod["metadata"]["name"]
        if gates := _closed_gates(pod):
            return Trouble(PodReason.NOT_STARTED, f"pod {name} waits: {gates}; see kubectl describe pod {name}")
        other = next((one["name"] for one in _containers(pod) if one is not worker and one.get("ready") is False), None)
        waiting = worker.get("state", {}).get("waiting")
        if other and (waiting or worker.get("ready")):
            message = f"pod {name} waits for its container {other}; see kubectl logs {name} --container {other}"
            return Trouble(PodReason.NOT_STARTED, message)
        if waiting:
            reason = waiting.get("reason", "no reason is known")
            return Trouble(PodReason.NOT_STARTED, f"pod {name} waits: {reason}; see kubectl describe pod {name}")
        return Trouble(PodReason.NOT_CONNECTED, _not_connected(name, server))
    return None


def memory_kills(pods: Iterable[Object]) -> list[MemoryKill]:
    """Return the containers that were killed for their memory the last time they ended, the last one first."""
    kills = []
    for pod in pods:
        for container in _containers(pod):
            ended = container.get("lastState", {}).get("terminated", {})
            if ended.get("reason") == _OUT_OF_MEMORY:
                name, time = container["name"], ended.get("finishedAt") or ""
                kills.append(MemoryKill(pod["metadata"]["name"], name, time, _memory_limit(pod, name)))
    return sorted(kills, key=lambda kill: kill.time, reverse=True)


def next_look_at_pods(pods: Iterable[Object], now: float) -> float | None:
    """Return after how many seconds a pod that is not ready yet becomes a trouble; None if there is none."""
    since = [time for pod in pods if _worker(pod) and (time := _unready_since(pod)) is not None]
    return min((time + _PATIENCE - now for time in since if now - time < _PATIENCE), default=None)


def _not_connected(pod: str, server: str) -> str:
    is_short_name = "." not in server and "[" not in server
    advice = "; a name without a dot is looked up in the pool's namespace" if is_short_name else ""
    return (
        f"the worker of pod {pod} does not connect to beanstalkd at {server}{advice}; check that it runs and that no "
        f"NetworkPolicy keeps the pod from it; see kubectl logs {pod}"
    )


def _worker(pod: Object) -> Object | None:
    return next((container for container in _containers(pod) if container["name"] == WORKER), None)


def _containers(pod: Object) -> list[Object]:
    """Return the statuses of a pod's containers, in the order in which they start."""
    status = pod.get("status", {})
    return [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]


def _memory_limit(pod: Object, name: str) -> str | None:
    spec = pod.get("spec", {})
    for container in (*spec.get("initContainers", []), *spec.get("containers", [])):
        if container["name"] == name:
            limit: str | None = container.get("resources", {}).get("limits", {}).get("memory")
            return limit
    return None


def _unready_since(pod: Object) -> float | None:
    """Return when a pod was last ready, or else when it was started, in seconds since 1970; None if it is ready."""
    condition = _unready(pod)
    return datetime.fromisoformat(condition["lastTransitionTime"]).timestamp() if condition else None


def _closed_gates(pod: Object) -> str:
    """Return what Kubernetes says of the readiness gates for which a pod waits whose containers are ready."""
    condition = _unready(pod) or {}
    return str(condition.get("message", "")) if condition.get("reason") == "ReadinessGatesNotReady" else ""


def _unready(pod: Object) -> Object | None:
    conditions = pod.get("status", {}).get("conditions", [])
    return next((one for one in conditions if one["type"] == "Ready" and one["status"] != "True"), None)


def _container_trouble(pod: str, container: Object) -> Trouble | None:
    state = container.get("state", {})
    waiting = state.get("waiting", {})
    reason = waiting.get("reason", "")
    if reason in ("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"):
        why = waiting.get("message", reason)
        message = (
            f"pod {pod} cannot get its image {container['image']}: {why}; correct the image's name, or its pull secret"
        )
        return Trouble(PodReason.IMAGE_PULL, message)
    if reason in ("CreateContainerConfigError", "CreateContainerError", "RunContainerError"):
        why = waiting.get("message", reason)
        return Trouble(
            PodReason.CANNOT_START, f"pod {pod} cannot start: {why}; add what is missing, or correct the spec"
        )
    ended = state.get("terminated") or (container.get("lastState", {}).get("terminated") if waiting else None)
    if ended and (ended.get("exitCode", 0) != 0 or reason == "CrashLoopBackOff"):
        is_for_memory = ended.get("reason") == _OUT_OF_MEMORY
        how = "was killed for its memory" if is_for_memory else f"exited {ended.get('exitCode')}"
        logs = f"kubectl logs --previous {pod}"
        if container["name"] == WORKER:
            return Trouble(PodReason.CRASH_LOOP, f"the worker of pod {pod} {how}: {last_words(ended) or f'see {logs}'}")
        name = container["name"]
        message = f"container {name} of pod {pod} {how}: see {logs} --container {name}"
        return Trouble(PodReason.CRASH_LOOP, message)
    return None


def last_words(ended: Object) -> str | None:
    """Return why a worker ended, from the end of its log: the last error that is not of a job; None if there is none.

    Such an error is a line of JSON as `tubeherd.logs` writes it, with "level" and "event" and without "job". A worker
    that finds a wrong setting names it in plain text, because its log is not set up yet. Anything else may be the
    output of an executor, which has no place in a status.
    """
    lines = [line for line in ended.get("message", "").splitlines() if line.strip()]
    for line in reversed(lines):
        entry = _log_entry(line)
        if entry.get("level") == "error" and "event" in entry and "job" not in entry:
            return str(entry["event"])
    if lines and ended.get("exitCode") == Exit.USAGE:
        return str(lines[-1])
    return None


def _log_entry(line: str) -> dict[str, Any]:
    try:
        entry = json.loads(line)
    except ValueError:
        return {}
    return entry if isinstance(entry, dict) else {}
