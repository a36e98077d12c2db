"""Autoscaled: how many replicas the operator has chosen, why, and when their number falls."""

from datetime import UTC, datetime
from enum import StrEnum
from typing import Final

from tubeherd_operator.decisions.autoscale import rule_of
from tubeherd_operator.decisions.autoscale_report import replicas_in_words, why
from tubeherd_operator.decisions.findings import Finding
from tubeherd_operator.decisions.observation import Observation

TYPE: Final = "Autoscaled"


class Reason(StrEnum):
    """What the number of replicas follows."""

    AS_WANTED = "AsWanted"
    AT_MAX_REPLICAS = "AtMaxReplicas"
    AT_MIN_REPLICAS = "AtMinReplicas"
    FALLS_LATER = "FallsLater"
    JOBS_UNKNOWN = "JobsUnknown"
    SUSPENDED = "Suspended"


def judge(seen: Observation) -> Finding | None:
    """Return the condition; None if the pool is not autoscaled."""
    rule, scale = rule_of(seen.pool.spec), seen.scale
    if rule is None or scale is None:
        return None
    if seen.pool.spec.suspend:
        return Finding(TYPE, "False", Reason.SUSPENDED, "no pods run while spec.suspend is true")
    number, cause = replicas_in_words(scale.replicas), why(rule, scale)
    if scale.demand is None:
        return Finding(TYPE, "Unknown", Reason.JOBS_UNKNOWN, f"{number}, as before: {cause}")
    if scale.falls_at is not None:
        at = f"{datetime.fromtimestamp(scale.falls_at, UTC):%H:%M:%S} UTC"
        message = f"{number}, falls to {scale.falls_to} at {at} if no more are wanted until then: {cause}"
        return Finding(TYPE, "True", Reason.FALLS_LATER, message)
    reason = Reason.AS_WANTED
    if scale.demand.replicas > rule.most:
        reason = Reason.AT_MAX_REPLICAS
    elif scale.demand.replicas < rule.least:
        reason = Reason.AT_MIN_REPLICAS
    return Finding(TYPE, "True", reason, f"{number}: {cause}")
