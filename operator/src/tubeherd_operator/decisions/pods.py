"""Why pods do not work, from what Kubernetes reports of them and from the last lines of a worker's log."""

import json
from collections.abc import Iterable
from enum import StrEnum
from typing import Any, Final, NamedTuple

from tubeherd.exits import Exit
from tubeherd_operator.decisions.deployment import CONTAINER
from tubeherd_operator.objects import Object, controller_of

_REVISION: Final = "deployment.kubernetes.io/revision"
"""The annotation of a ReplicaSet that counts up: the present one of a Deployment has the highest number."""


class PodReason(StrEnum):
    """Why a pool is not ready, if one of its pods is the cause."""

    UNSCHEDULABLE = "Unschedulable"
    IMAGE_PULL = "ImagePull"
    CANNOT_START = "CannotStart"
    CRASH_LOOP = "CrashLoop"


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
            if condition["type"] == "PodScheduled" and condition.get("reason") == "Unschedulable":
                message = f"pod {name} finds no node: {condition.get('message', '')}"
                return Trouble(PodReason.UNSCHEDULABLE, message)
        for container in pod.get("status", {}).get("containerStatuses", []):
            if container["name"] == CONTAINER and (trouble := _container_trouble(name, container)):
                return trouble
    return None


def _container_trouble(pod: str, container: Object) -> Trouble | None:
    state = container.get("state", {})
    waiting = state.get("waiting", {})
    reason = waiting.get("reason", "")
    if reason in ("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"):
        message = f"pod {pod} cannot get its image {container['image']}: {waiting.get('message', reason)}"
        return Trouble(PodReason.IMAGE_PULL, message)
    if reason in ("CreateContainerConfigError", "CreateContainerError", "RunContainerError"):
        return Trouble(PodReason.CANNOT_START, f"pod {pod} cannot start: {waiting.get('message', reason)}")
    ended = state.get("terminated") or (container.get("lastState", {}).get("terminated") if waiting else None)
    if ended and (ended.get("exitCode", 0) != 0 or reason == "CrashLoopBackOff"):
        how = "was killed for its memory" if ended.get("reason") == "OOMKilled" else f"exited {ended.get('exitCode')}"
        return Trouble(PodReason.CRASH_LOOP, f"the worker of pod {pod} {how}: {last_words(ended)}")
    return None


def last_words(ended: Object) -> str:
    """Return why a worker ended, from the end of its log: the last error that is not of a job.

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
    return "see kubectl logs --previous"


def _log_entry(line: str) -> dict[str, Any]:
    try:
        entry = json.loads(line)
    except ValueError:
        return {}
    return entry if isinstance(entry, dict) else {}
