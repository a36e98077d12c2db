"""Available: whether any worker takes jobs, also while a rollout is under way or stuck."""

from enum import StrEnum
from typing import Final

from tubeherd_operator.decisions.conditions.rollout import rollout_of
from tubeherd_operator.decisions.findings import Finding
from tubeherd_operator.decisions.observation import Observation

TYPE: Final = "Available"


class Reason(StrEnum):
    """Why workers take jobs, or why not."""

    PODS_READY = "PodsReady"
    NO_POD_READY = "NoPodReady"
    NO_POD_WANTED = "NoPodWanted"
    SUSPENDED = "Suspended"


def judge(seen: Observation) -> Finding:
    """Return the condition."""
    rollout = rollout_of(seen)
    if rollout.ready:
        message = f"{rollout.ready} of {rollout.wanted} pods are connected and take jobs"
        return Finding(TYPE, "True", Reason.PODS_READY, message)
    if seen.pool.spec.suspend:
        return Finding(TYPE, "False", Reason.SUSPENDED, "no pods run while spec.suspend is true")
    if rollout.wanted == 0:
        return Finding(TYPE, "False", Reason.NO_POD_WANTED, "no pods run because 0 replicas are wanted")
    return Finding(TYPE, "False", Reason.NO_POD_READY, "no pod takes jobs: the condition Ready says why")
