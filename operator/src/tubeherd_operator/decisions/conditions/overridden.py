"""Overridden: whether others set fields of what the operator made again and again to what the spec does not say."""

from enum import StrEnum
from typing import Final

from tubeherd_operator.decisions.budget import KIND as BUDGET
from tubeherd_operator.decisions.findings import Finding
from tubeherd_operator.decisions.observation import Observation

TYPE: Final = "Overridden"
_NAMED: Final = 5
"""How many of the fields a message names, so that it fits into a condition."""


class Reason(StrEnum):
    """Why they are not repaired."""

    REPAIR_IS_NO_USE = "RepairIsNoUse"


def judge(seen: Observation) -> Finding | None:
    """Return the condition; None if there are no such fields."""
    if not seen.overridden:
        return None
    more = len(seen.overridden) - _NAMED
    named = ", ".join(seen.overridden[:_NAMED]) + (f" and {more} more" if more > 0 else "")
    made = BUDGET if all(name.startswith(BUDGET) for name in seen.overridden) else "Deployment"
    message = (
        f"{made} {seen.pool.key.name} is not as the pool's spec says, and repairs did not last: {named}; something "
        f"else, such as an admission webhook, sets this: exclude the {made} from it, or have the spec say the same; "
        "the next repair is in an hour, or when the spec changes"
    )
    return Finding(TYPE, "True", Reason.REPAIR_IS_NO_USE, message, event="Warning")
