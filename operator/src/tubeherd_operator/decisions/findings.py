"""What a pass finds out about a pool: its conditions, still without their times, and the Events that report changes."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Literal

from tubeherd_operator.decisions.status import Condition, ConditionStatus

_MESSAGE_MAX: Final = 1000


class ConditionType(StrEnum):
    """The aspects of a pool's state that have a condition."""

    READY = "Ready"
    SERVER_REACHABLE = "ServerReachable"
    CONFLICT = "Conflict"
    KICK_ACCEPTED = "KickAccepted"
    RETRIES_DIFFER = "RetriesDiffer"


class Reason(StrEnum):
    """Why a condition is as it is, or what an Event reports: one word, which programs may compare."""

    # Ready
    RUNNING = "Running"
    STARTING = "Starting"
    SUSPENDED = "Suspended"
    NO_SERVER = "NoServer"
    SERVER_UNREACHABLE = "ServerUnreachable"
    EXECUTORS_MISSING = "ExecutorsMissing"
    DEPLOYMENT_REFUSED = "DeploymentRefused"
    CONFLICT = "Conflict"
    PODS_REFUSED = "PodsRefused"
    UNSCHEDULABLE = "Unschedulable"
    IMAGE_PULL = "ImagePull"
    CANNOT_START = "CannotStart"
    CRASH_LOOP = "CrashLoop"
    # ServerReachable, which also has NoServer
    COUNTED = "Counted"
    NOT_ASKED_YET = "NotAskedYet"
    UNREACHABLE = "Unreachable"
    # Conflict
    FOREIGN_DEPLOYMENT = "ForeignDeployment"
    # KickAccepted
    KICKED = "Kicked"
    WAITING = "Waiting"
    BAD_KICK = "BadKick"
    # RetriesDiffer
    RETRIES_DIFFER = "RetriesDiffer"
    # Events alone
    CREATED = "Created"
    UPDATED = "Updated"
    REPAIRED = "Repaired"
    SERVER_REACHABLE = "ServerReachable"


@dataclass(frozen=True, slots=True)
class Finding:
    """A condition as a pass finds it. `stamp` adds the time since which it holds."""

    type: ConditionType
    status: ConditionStatus
    reason: Reason
    message: str


@dataclass(frozen=True, slots=True)
class PoolEvent:
    """An Event that reports to the pool's users what happened."""

    type: Literal["Normal", "Warning"]
    reason: Reason
    message: str


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
