"""The conditions of a pool but that of a kick: whether the pool works, and if not, why and what to do."""

from collections.abc import Callable

from tubeherd_operator.decisions.findings import ConditionType, Finding, Reason
from tubeherd_operator.decisions.observation import Observation
from tubeherd_operator.decisions.pods import trouble_of
from tubeherd_operator.decisions.retries import judge_retries, served_by
from tubeherd_operator.decisions.status import ConditionStatus
from tubeherd_operator.objects import Object


def conditions(seen: Observation, refusal: Exception | None = None) -> list[Finding]:
    """Return the conditions of a pool; `refusal` is why the API server refused its Deployment."""
    found = [_refused(refusal) if refusal else _ready(seen), _server(seen)]
    if seen.deployment_is_foreign:
        found.append(Finding(ConditionType.CONFLICT, "True", Reason.FOREIGN_DEPLOYMENT, _conflict(seen)))
    if differing := judge_retries(served_by(seen.pool.spec), seen.others):
        found.append(differing)
    return found


def _refused(refusal: Exception) -> Finding:
    message = f"the API server refuses the pool's Deployment: {refusal}; correct the pool's spec"
    return _not_ready(Reason.DEPLOYMENT_REFUSED, message)


def _ready(seen: Observation) -> Finding:
    checks: tuple[Callable[[Observation], Finding | None], ...] = (
        _cannot_start,
        _suspended,
        _pods_refused,
        _pod_trouble,
        _server_away,
    )
    for check in checks:
        if trouble := check(seen):
            return trouble
    return _rollout(seen)


def _cannot_start(seen: Observation) -> Finding | None:
    if seen.deployment_is_foreign:
        return _not_ready(Reason.CONFLICT, _conflict(seen))
    if seen.pool.server is None:
        message = "no beanstalkd is named: set spec.server, or the value `server` of the Helm chart"
        return _not_ready(Reason.NO_SERVER, message)
    if seen.executors_missing and seen.pool.spec.executors:
        message = f"ConfigMap {seen.pool.spec.executors.config_map} with the executors does not exist: create it"
        return _not_ready(Reason.EXECUTORS_MISSING, message)
    return None


def _suspended(seen: Observation) -> Finding | None:
    if seen.pool.spec.suspend:
        return _not_ready(Reason.SUSPENDED, "no pods run while spec.suspend is true; jobs stay in their tubes")
    return None


def _pods_refused(seen: Observation) -> Finding | None:
    for condition in _status(seen.deployment).get("conditions", []):
        if condition["type"] == "ReplicaFailure" and condition["status"] == "True":
            return _not_ready(Reason.PODS_REFUSED, f"pods cannot be created: {condition.get('message', '')}")
    return None


def _pod_trouble(seen: Observation) -> Finding | None:
    trouble = trouble_of(seen.pods)
    return _not_ready(*trouble) if trouble else None


def _server_away(seen: Observation) -> Finding | None:
    if seen.counts and seen.counts.error:
        message = f"beanstalkd is out of reach: {seen.counts.error}; the workers wait and reconnect by themselves"
        return _not_ready(Reason.SERVER_UNREACHABLE, message)
    return None


def _rollout(seen: Observation) -> Finding:
    status = _status(seen.deployment)
    wanted = seen.deployment["spec"].get("replicas", 1) if seen.deployment else 1
    ready, updated = status.get("readyReplicas", 0), status.get("updatedReplicas", 0)
    current = seen.deployment and status.get("observedGeneration", 0) >= seen.deployment["metadata"]["generation"]
    if current and ready >= wanted and updated >= wanted and status.get("replicas", 0) == wanted:
        return Finding(ConditionType.READY, "True", Reason.RUNNING, f"{ready} of {wanted} pods are connected and work")
    message = f"{ready} of {wanted} pods are connected, {updated} run the present spec"
    return _not_ready(Reason.STARTING, message)


def _server(seen: Observation) -> Finding:
    def reachable(status: ConditionStatus, reason: Reason, message: str) -> Finding:
        return Finding(ConditionType.SERVER_REACHABLE, status, reason, message)

    if seen.pool.server is None:
        return reachable("Unknown", Reason.NO_SERVER, "no beanstalkd is named: set spec.server")
    if seen.counts is None:
        return reachable("Unknown", Reason.NOT_ASKED_YET, f"{seen.pool.server} has not been asked yet")
    if seen.counts.error:
        message = f"{seen.counts.error}; the counts in the status are the last known"
        return reachable("False", Reason.UNREACHABLE, message)
    return reachable("True", Reason.COUNTED, f"{seen.pool.server} answers")


def _conflict(seen: Observation) -> str:
    name = seen.pool.key.name
    return f"a Deployment {name} exists that is not this pool's: it is left alone; delete it or rename the pool"


def _not_ready(reason: Reason, message: str) -> Finding:
    return Finding(ConditionType.READY, "False", reason, message)


def _status(item: Object | None) -> Object:
    found: Object = (item or {}).get("status", {})
    return found
