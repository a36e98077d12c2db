"""What a pass finds out about a pool: its conditions, still without their times, and the Events that report changes."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Literal

from tubeherd_operator.decisions.status import Condition, ConditionStatus

EventType = Literal["Normal", "Warning"]

_MESSAGE_MAX: Final = 1000


class Reason(StrEnum):
    """What an Event about what the operator makes reports: one word, which programs may compare."""

    CREATED = "Created"
    UPDATED = "Updated"
    REPAIRED = "Repaired"
    ADOPTED = "Adopted"
    BUDGET_REMOVED = "BudgetRemoved"
    SCALED = "Scaled"


@dataclass(frozen=True, slots=True)
class Finding:
    """A condition as a pass finds it. `stamp` adds the time since which it holds."""

    type: str
    status: ConditionStatus
    reason: StrEnum
    """One word, which programs may compare."""
    message: str
    event: EventType | None = None
    """The Event that reports its beginning: a warning, or good news, which is reported only after a status False."""


@dataclass(frozen=True, slots=True)
class PoolEvent:
    """An Event that reports to the pool's users what happened."""

    type: EventType
    reason: StrEnum
    message: str
    in_log: str | None = None
    """What the operator's log says instead, which those of other namespaces may read; None: the message."""


def stamp(finding: Finding, before: Condition | None, generation: int, now: str) -> Condition:
    """Return the condition for a finding; its time is that of the condition before, if the status is the same."""
    return Condition(
        type=finding.type,
        status=finding.status,
        reason=finding.reason,
        message=finding.message[:_MESSAGE_MAX],
        last_transition_time=before.last_transition_time if before and before.status == finding.status else now,
        observed_generation=generation,
    )
