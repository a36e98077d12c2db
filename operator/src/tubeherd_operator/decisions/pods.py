"""Why pods do not work, from what Kubernetes reports of them and from the last lines of a worker's log."""

import json
from collections.abc import Iterable
from typing import Any, NamedTuple

from tubeherd.exits import Exit
from tubeherd_operator.decisions.deployment import CONTAINER
from tubeherd_operator.decisions.findings import Reason
from tubeherd_operator.objects import Object


class Trouble(NamedTuple):
    """Why a pod does not work."""

    reason: Reason
    message: str


def trouble_of(pods: Iterable[Object]) -> Trouble | None:
    """Return why the first pod in trouble does not work; None if there is none."""
    for pod in pods:
        if "deletionTimestamp" in pod["metadata"]:
            continue  # the pod is being deleted, so it does not matter how it ends
        name = pod["metadata"]["name"]
        for condition in pod.get("status", {}).get("conditions", []):
            if condition["type"] == "PodScheduled" and condition.get("reason") == "Unschedulable":
                message = f"pod {name} finds no node: {condition.get('message', '')}"
                return Trouble(Reason.UNSCHEDULABLE, message)
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
        return Trouble(Reason.IMAGE_PULL, message)
    if reason in ("CreateContainerConfigError", "CreateContainerError", "RunContainerError"):
        return Trouble(Reason.CANNOT_START, f"pod {pod} cannot start: {waiting.get('message', reason)}")
    ended = state.get("terminated") or (container.get("lastState", {}).get("terminated") if waiting else None)
    if ended and (ended.get("exitCode", 0) != 0 or reason == "CrashLoopBackOff"):
        how = "was killed for its memory" if ended.get("reason") == "OOMKilled" else f"exited {ended.get('exitCode')}"
        return Trouble(Reason.CRASH_LOOP, f"the worker of pod {pod} {how}: {last_words(ended)}")
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
