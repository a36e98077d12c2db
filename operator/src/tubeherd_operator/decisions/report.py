"""Builds the status of a pool."""

from typing import Any, Final

from tubeherd_operator.decisions.conditions import KICK_ACCEPTED, WAITING, Condition, conditions, is_ours, stamp
from tubeherd_operator.decisions.observation import Observation
from tubeherd_operator.objects import POOL_LABEL, Object

_STATES: Final = ("ready", "reserved", "delayed", "buried")


def build_status(seen: Observation, kick: Condition | None, now: str) -> Object:
    """Return the status that a pool should have; `kick` is what became of a kick in this pass."""
    before: Object = seen.pool.get("status", {})
    if seen.server and seen.counts is None and not kick and "conditions" in before:
        # Just asked, beanstalkd brings the next pass: what was known before a restart of the operator stands till then.
        return dict(before)
    generation = seen.pool["metadata"]["generation"]
    present = conditions(seen) + ([kick] if kick else [])
    stamped = [stamp(condition, before.get("conditions", []), generation, now) for condition in present]
    if not kick:
        stamped += [entry for entry in before.get("conditions", []) if _is_settled_kick(entry)]
    deployment = (seen.deployment or {}) if is_ours(seen) else {}
    status = {
        "observedGeneration": generation,
        "server": seen.server,
        "replicas": deployment.get("status", {}).get("replicas", 0),
        "readyReplicas": deployment.get("status", {}).get("readyReplicas", 0),
        "selector": f"{POOL_LABEL}={seen.pool['metadata']['name']}",
        **_counts(seen, before),
        "conditions": stamped,
    }
    return {key: value for key, value in status.items() if value is not None}


def changes(status: Object, before: Object) -> Object:
    """Return the merge patch that makes a status of the one before: only what differs, None for what goes."""
    patch: dict[str, Any] = {key: value for key, value in status.items() if before.get(key) != value}
    return patch | {key: None for key in before if key not in status and key != "lastKick"}


def _counts(seen: Observation, before: Object) -> Object:
    kept: Object = {key: before[key] for key in (*_STATES, "tubes") if key in before}
    if seen.counts is None or seen.counts.error is not None:
        return kept
    tubes = [
        {"name": name, **{state: getattr(stats, state) for state in _STATES}}
        for name, stats in seen.counts.tubes.items()
    ]
    totals: Object = {state: sum(tube[state] for tube in tubes) for state in _STATES}
    return totals | {"tubes": tubes}


def _is_settled_kick(entry: Object) -> bool:
    return bool(entry["type"] == KICK_ACCEPTED and entry["reason"] != WAITING)
