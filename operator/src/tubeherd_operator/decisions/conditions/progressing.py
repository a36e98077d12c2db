"""Progressing: whether a rollout is under way."""

from enum import StrEnum
from typing import Final

from tubeherd_operator.decisions.conditions.ready import trouble_of
from tubeherd_operator.decisions.conditions.rollout import rollout_of
from tubeherd_operator.decisions.findings import Finding
from tubeherd_operator.decisions.observation import Observation

TYPE: Final = "Progressing"


class Reason(StrEnum):
    """Where a rollout stands."""

    ROLLING_OUT = "RollingOut"
    ROLLED_OUT = "RolledOut"
    STALLED = "Stalled"


def judge(seen: Observation) -> Finding:
    """Return the condition."""
    rollout = rollout_of(seen)
    if rollout.done:
        return Finding(TYPE, "False", Reason.ROLLED_OUT, "all pods run the present spec")
    message = f"{rollout.updated} of {rollout.wanted} pods run the present spec"
    if trouble_of(seen) and not seen.pool.spec.suspend:
        return Finding(TYPE, "False", Reason.STALLED, f"{message}: the condition Ready says why")
    return Finding(TYPE, "True", Reason.ROLLING_OUT, message)
