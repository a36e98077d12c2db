"""Conflict: whether a Deployment of the pool's name is somebody else's."""

from enum import StrEnum
from typing import Final

from tubeherd_operator.decisions.findings import Finding
from tubeherd_operator.decisions.observation import Observation

TYPE: Final = "Conflict"


class Reason(StrEnum):
    """Which object is somebody else's."""

    FOREIGN_DEPLOYMENT = "ForeignDeployment"


def judge(seen: Observation) -> Finding | None:
    """Return the condition; None if there is no such Deployment."""
    if not seen.deployment_is_foreign:
        return None
    return Finding(TYPE, "True", Reason.FOREIGN_DEPLOYMENT, in_words(seen), event="Warning")


def in_words(seen: Observation) -> str:
    """Return what is the matter and what to do."""
    name = seen.pool.key.name
    advice = "delete it or rename the pool"
    if not seen.deployment_is_controlled:
        advice += "; if it were as this pool's spec says, the pool would adopt it"
    return f"a Deployment {name} exists that is not this pool's: it is left alone; {advice}"
