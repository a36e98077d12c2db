"""Ready: whether all pods that the pool wants run its present spec and are connected; if not, why and what to do."""

from collections.abc import Callable
from enum import StrEnum
from typing import Final

from tubeherd_operator.decisions.conditions import conflict
from tubeherd_operator.decisions.conditions.rollout import rollout_of
from tubeherd_operator.decisions.findings import Finding
from tubeherd_operator.decisions.observation import Observation
from tubeherd_operator.decisions.pods import PodReason, trouble_of_pods, trouble_of_slow_pods
from tubeherd_operator.objects import Object

TYPE: Final = "Ready"


class Reason(StrEnum):
    """Why a pool is ready or not; for one of its pods, see PodReason."""

    RUNNING = "Running"
    STARTING = "Starting"
    SUSPENDED = "Suspended"
    INVALID_SPEC = "InvalidSpec"
    NO_SERVER = "NoServer"
    SERVER_NOT_ALLOWED = "ServerNotAllowed"
    SERVER_UNREACHABLE = "ServerUnreachable"
    EXECUTORS_MISSING = "ExecutorsMissing"
    DEPLOYMENT_REFUSED = "DeploymentRefused"
    CONFLICT = "Conflict"
    PAUSED = "Paused"
    STUCK = "Stuck"
    OVERRIDDEN = "Overridden"
    PODS_REFUSED = "PodsRefused"


def judge(seen: Observation) -> Finding:
    """Return the condition."""
    if trouble := trouble_of(seen):
        return trouble
    rollout = rollout_of(seen)
    if rollout.done:
        return Finding(TYPE, "True", Reason.RUNNING, f"{rollout.ready} of {rollout.wanted} pods are connected and work")
    message = f"{rollout.ready} of {rollout.wanted} pods are connected, {rollout.updated} run the present spec"
    return _not_ready(Reason.STARTING, message)


def trouble_of(seen: Observation) -> Finding | None:
    """Return why a pool does not become ready by itself; None if it is ready or will be."""
    return next((trouble for check in _CHECKS if (trouble := check(seen))), None)


def _refused(seen: Observation) -> Finding | None:
    if seen.refusal:
        message = f"the API server refuses the pool's Deployment: {seen.refusal}; correct the pool's spec"
        return _not_ready(Reason.DEPLOYMENT_REFUSED, message, warn=True)
    return None


def _wrong_template(seen: Observation) -> Finding | None:
    if seen.wrong_template:
        until = "the Deployment stays as it is" if seen.deployment else "there are no pods"
        message = f"{seen.wrong_template}; until it is corrected, {until}"
        return _not_ready(Reason.INVALID_SPEC, message, warn=True)
    return None


def _conflict(seen: Observation) -> Finding | None:
    return _not_ready(Reason.CONFLICT, conflict.in_words(seen)) if seen.deployment_is_foreign else None


def _no_server(seen: Observation) -> Finding | None:
    if seen.pool.forbidden_server:
        advice = "name another, or have it added to the value `allowedServers` of the Helm chart"
        message = f"{seen.pool.why_no_server}: {advice}"
        return _not_ready(Reason.SERVER_NOT_ALLOWED, message, warn=True)
    if seen.pool.server is None:
        message = "no beanstalkd is named: set spec.server, or the value `server` of the Helm chart"
        return _not_ready(Reason.NO_SERVER, message, warn=True)
    return None


def _executors_missing(seen: Observation) -> Finding | None:
    if seen.executors_missing and seen.pool.spec.executors:
        message = f"ConfigMap {seen.pool.spec.executors.config_map} with the executors does not exist: create it"
        if seen.deployment:
            message += "; until then pods that run keep the executors that they have, and no other pod can start"
        return _not_ready(Reason.EXECUTORS_MISSING, message, warn=True)
    return None


def _suspended(seen: Observation) -> Finding | None:
    if seen.pool.spec.suspend:
        return _not_ready(Reason.SUSPENDED, "no pods run while spec.suspend is true; jobs stay in their tubes")
    return None


def _overridden(seen: Observation) -> Finding | None:
    if "spec.replicas" in seen.overridden and not rollout_of(seen).done:
        message = "the number of pods is not what the pool's spec says: the condition Overridden says more"
        return _not_ready(Reason.OVERRIDDEN, message)
    return None


def _pods_refused(seen: Observation) -> Finding | None:
    if failure := _of_deployment(seen, "ReplicaFailure", "True"):
        message = f"pods cannot be created: {failure.get('message', '')}; remove what forbids them, or correct the spec"
        return _not_ready(Reason.PODS_REFUSED, message, warn=True)
    return None


def _pod_trouble(seen: Observation) -> Finding | None:
    trouble = trouble_of_pods(seen.present_pods)
    return _not_ready(*trouble, warn=True) if trouble else None


def _server_away(seen: Observation) -> Finding | None:
    rollout = rollout_of(seen)
    are_connected = rollout.done and rollout.ready > 0  # the workers: the operator's own trouble is ServerReachable
    if seen.counts and seen.counts.error and not are_connected:
        message = (
            f"beanstalkd is out of reach: {seen.counts.error}; the workers wait and reconnect by themselves; the "
            "condition ServerReachable says what to check"
        )
        return _not_ready(Reason.SERVER_UNREACHABLE, message)
    return None


def _paused(seen: Observation) -> Finding | None:
    if seen.deployment and seen.deployment["spec"].get("paused") and not rollout_of(seen).done:
        name = seen.pool.key.name
        message = f"Deployment {name} is paused, so its pods stay as they are: kubectl rollout resume deployment {name}"
        return _not_ready(Reason.PAUSED, message, warn=True)
    return None


def _slow_pods(seen: Observation) -> Finding | None:
    trouble = trouble_of_slow_pods(seen.present_pods, str(seen.pool.server), seen.now)
    return _not_ready(*trouble, warn=True) if trouble else None


def _stuck(seen: Observation) -> Finding | None:
    if stuck := _of_deployment(seen, "Progressing", "False"):
        why, name = stuck.get("message", "").rstrip("."), seen.pool.key.name
        message = f"the rollout does not go on: {why}; see kubectl describe deployment {name}"
        return _not_ready(Reason.STUCK, message, warn=True)
    return None


def _of_deployment(seen: Observation, type_: str, status: str) -> Object | None:
    conditions = (seen.deployment or {}).get("status", {}).get("conditions", [])
    return next((one for one in conditions if (one["type"], one["status"]) == (type_, status)), None)


_CHECKS: Final[tuple[Callable[[Observation], Finding | None], ...]] = (
    _refused,
    _wrong_template,
    _conflict,
    _no_server,
    _executors_missing,
    _suspended,
    _overridden,
    _pods_refused,
    _pod_trouble,
    _server_away,
    _paused,
    _slow_pods,
    _stuck,
)
"""In the order in which they are reported: the first that finds something."""


def _not_ready(reason: Reason | PodReason, message: str, *, warn: bool = False) -> Finding:
    return Finding(TYPE, "False", reason, message, event="Warning" if warn else None)
