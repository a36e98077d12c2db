"""Says in conditions whether a pool works, and if not, why and what to do."""

import json
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from tubeherd_operator.decisions.deployment import CONTAINER
from tubeherd_operator.decisions.observation import Observation
from tubeherd_operator.objects import Object

READY: Final = "Ready"
SERVER_REACHABLE: Final = "ServerReachable"
KICK_ACCEPTED: Final = "KickAccepted"
CONFLICT: Final = "Conflict"
WAITING: Final = "Waiting"
"""The reason of a kick that is not carried out yet."""
_MESSAGE_MAX: Final = 1000
_USAGE: Final = 2
"""The worker's exit code for a wrong setting."""


class Condition(NamedTuple):
    """A condition before it has a time."""

    type: str
    status: str
    reason: str
    message: str


def is_ours(seen: Observation) -> bool:
    """Tell whether the Deployment of the pool's name, if there is one, belongs to this very pool."""
    if seen.deployment is None:
        return True
    owners = seen.deployment["metadata"].get("ownerReferences", [])
    return any(owner.get("controller") and owner["uid"] == seen.pool["metadata"]["uid"] for owner in owners)


def conditions(seen: Observation) -> list[Condition]:
    """Return the conditions that follow from what is seen."""
    found = [_ready(seen), _server(seen)]
    if not is_ours(seen):
        found.append(Condition(CONFLICT, "True", "ForeignDeployment", _conflict(seen)))
    return found


def stamp(condition: Condition, before: list[Object], generation: int, now: str) -> Object:
    """Return a condition as it stands in the status; its time changes only when its status does."""
    old = next((entry for entry in before if entry["type"] == condition.type), None)
    since = old["lastTransitionTime"] if old and old["status"] == condition.status else now
    return {
        "type": condition.type,
        "status": condition.status,
        "reason": condition.reason,
        "message": condition.message[:_MESSAGE_MAX],
        "lastTransitionTime": since,
        "observedGeneration": generation,
    }


def _ready(seen: Observation) -> Condition:
    checks: tuple[Callable[[Observation], Condition | None], ...] = (
        _cannot_start,
        _suspended,
        _pods_refused,
        _pod_trouble,
        _server_away,
    )
    for check in checks:
        if condition := check(seen):
            return condition
    return _progress(seen)


def _cannot_start(seen: Observation) -> Condition | None:
    if not is_ours(seen):
        return Condition(READY, "False", "Conflict", _conflict(seen))
    if seen.server is None:
        message = "no beanstalkd is named: set spec.server, or the chart's value server"
        return Condition(READY, "False", "NoServer", message)
    if seen.executors_missing and seen.spec.executors:
        message = f"ConfigMap {seen.spec.executors.config_map} with the executors does not exist: create it"
        return Condition(READY, "False", "ExecutorsMissing", message)
    return None


def _suspended(seen: Observation) -> Condition | None:
    if seen.spec.suspend:
        return Condition(
            READY, "False", "Suspended", "no pods run while spec.suspend is true; jobs stay in their tubes"
        )
    return None


def _pods_refused(seen: Observation) -> Condition | None:
    for condition in _status(seen.deployment).get("conditions", []):
        if condition["type"] == "ReplicaFailure" and condition["status"] == "True":
            return Condition(READY, "False", "PodsRefused", f"pods cannot be created: {condition.get('message', '')}")
    return None


def _pod_trouble(seen: Observation) -> Condition | None:
    for pod in seen.pods:
        if "deletionTimestamp" in pod["metadata"]:
            continue  # how a pod ends that is to end is no trouble
        name = pod["metadata"]["name"]
        for condition in _status(pod).get("conditions", []):
            if condition["type"] == "PodScheduled" and condition.get("reason") == "Unschedulable":
                message = f"pod {name} finds no node: {condition.get('message', '')}"
                return Condition(READY, "False", "Unschedulable", message)
        for container in _status(pod).get("containerStatuses", []):
            if container["name"] == CONTAINER and (trouble := _container_trouble(name, container)):
                return trouble
    return None


def _container_trouble(pod: str, container: Object) -> Condition | None:
    state = container.get("state", {})
    waiting = state.get("waiting", {})
    reason = waiting.get("reason", "")
    if reason in ("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"):
        message = f"pod {pod} cannot get its image {container['image']}: {waiting.get('message', reason)}"
        return Condition(READY, "False", "ImagePull", message)
    if reason in ("CreateContainerConfigError", "CreateContainerError", "RunContainerError"):
        return Condition(READY, "False", "CannotStart", f"pod {pod} cannot start: {waiting.get('message', reason)}")
    ended = state.get("terminated") or (container.get("lastState", {}).get("terminated") if waiting else None)
    if ended and (ended.get("exitCode", 0) != 0 or reason == "CrashLoopBackOff"):
        how = "was killed for its memory" if ended.get("reason") == "OOMKilled" else f"exited {ended.get('exitCode')}"
        return Condition(READY, "False", "CrashLoop", f"the worker of pod {pod} {how}: {last_words(ended)}")
    return None


def last_words(ended: Object) -> str:
    """Return why a worker ended, from the end of its log: its last error that is not of a job.

    Before its log is set up it says in plain text which setting is wrong. What else stands there may be an executor's
    own output, which has no place in a status.
    """
    lines = [line for line in ended.get("message", "").splitlines() if line.strip()]
    for line in reversed(lines):
        entry = _log_entry(line)
        if entry.get("level") in ("error", "critical") and "event" in entry and "job" not in entry:
            return str(entry["event"])
    if lines and ended.get("exitCode") == _USAGE:
        return str(lines[-1])
    return "see kubectl logs --previous"


def _log_entry(line: str) -> dict[str, Any]:
    try:
        entry = json.loads(line)
    except ValueError:
        return {}
    return entry if isinstance(entry, dict) else {}


def _server_away(seen: Observation) -> Condition | None:
    if seen.counts and seen.counts.error:
        message = f"beanstalkd is out of reach: {seen.counts.error}; the workers wait and reconnect by themselves"
        return Condition(READY, "False", "ServerUnreachable", message)
    return None


def _progress(seen: Observation) -> Condition:
    status = _status(seen.deployment)
    wanted = seen.deployment["spec"].get("replicas", 1) if seen.deployment else 1
    ready, updated = status.get("readyReplicas", 0), status.get("updatedReplicas", 0)
    current = seen.deployment and status.get("observedGeneration", 0) >= seen.deployment["metadata"]["generation"]
    if current and ready >= wanted and updated >= wanted and status.get("replicas", 0) == wanted:
        return Condition(READY, "True", "Running", f"{ready} of {wanted} pods are connected and work")
    message = f"{ready} of {wanted} pods are connected, {updated} run the present spec"
    return Condition(READY, "False", "Starting", message)


def _server(seen: Observation) -> Condition:
    if seen.server is None:
        return Condition(SERVER_REACHABLE, "Unknown", "NoServer", "no beanstalkd is named: set spec.server")
    if seen.counts is None:
        return Condition(SERVER_REACHABLE, "Unknown", "NotAskedYet", f"{seen.server} has not been asked yet")
    if seen.counts.error:
        message = f"{seen.counts.error}; the counts in the status are the last known"
        return Condition(SERVER_REACHABLE, "False", "Unreachable", message)
    return Condition(SERVER_REACHABLE, "True", "Counted", f"{seen.server} answers")


def _conflict(seen: Observation) -> str:
    name = seen.pool["metadata"]["name"]
    return f"a Deployment {name} exists that is not this pool's: it is left alone; delete it or rename the pool"


def _status(item: Object | None) -> Object:
    found: Object = (item or {}).get("status", {})
    return found
