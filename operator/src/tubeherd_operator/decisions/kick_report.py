"""What is reported of a kick: the condition KickAccepted, an Event, and `status.lastKick`."""

from enum import StrEnum
from typing import Final

from tubeherd_operator.decisions.findings import Finding, PoolEvent
from tubeherd_operator.decisions.status import Condition, ConditionStatus, KickIntent, KickShare, LastKick, TubeKick

KICK_ACCEPTED: Final = "KickAccepted"
"""The condition of a kick."""
Reported = tuple[Finding, PoolEvent]


class Reason(StrEnum):
    """Why the condition KickAccepted is as it is, or what an Event of a kick alone reports."""

    KICKING = "Kicking"
    KICKED = "Kicked"
    WAITING = "Waiting"
    BAD_KICK = "BadKick"
    ANNOTATION_STAYS = "AnnotationStays"
    # Events alone
    ANNOTATION_REMOVED = "AnnotationRemoved"


def refused(why: str) -> Reported:
    """Return what is reported of a value that is not understood."""
    return _accepted("False", Reason.BAD_KICK, why), PoolEvent("Warning", Reason.BAD_KICK, why)


def waiting(value: str, why: str) -> Reported:
    """Return what is reported of a kick that waits for beanstalkd."""
    message = f"kick={value} waits: {why}; it goes on as soon as beanstalkd answers"
    return _accepted("False", Reason.WAITING, message), PoolEvent("Warning", Reason.WAITING, message)


def running(intent: KickIntent) -> Finding:
    """Return the condition of a kick that is under way."""
    done, of = sum(map(_count, intent.tubes)), sum(share.allotted for share in intent.tubes)
    return _accepted("True", Reason.KICKING, f"kick={intent.value}: {done} of {of} buried jobs put back so far")


def result(intent: KickIntent) -> Finding:
    """Return the condition of a kick that is done or was refused."""
    if _is_refused(intent):
        return refused(intent.ended)[0]
    return _accepted("True", Reason.KICKED, _result(intent))


def annotation_stays(intent: KickIntent, why: str) -> Reported:
    """Return what is reported if the API server refuses to remove the annotation of a kick that is done."""
    before = result(intent)
    message = f"{before.message}; nothing more is put back, though the annotation is still there: {why}; remove it"
    return (
        _accepted(before.status, Reason.ANNOTATION_STAYS, message),
        PoolEvent("Warning", Reason.ANNOTATION_STAYS, message),
    )


def annotation_removed(intent: KickIntent) -> PoolEvent | None:
    """Return what is reported when the annotation of a kick that was done before is removed; None if it was refused."""
    if _is_refused(intent):
        return None
    message = f"kick={intent.value} was done already: its annotation is removed, and nothing more was put back"
    return PoolEvent("Normal", Reason.ANNOTATION_REMOVED, f"{message}; set it again if another kick is wanted")


def last_kick(intent: KickIntent) -> LastKick:
    """Return what the status shows of a kick that is done."""
    tubes = [TubeKick(name=share.name, kicked=_count(share), unsure=share.unsure) for share in intent.tubes]
    return LastKick(
        value=intent.value,
        time=intent.since,
        kicked=sum(tube.kicked for tube in tubes),
        unsure=sum(tube.unsure for tube in tubes),
        tubes=tubes,
    )


def is_settled_kick(shown: Condition) -> bool:
    """Return whether a condition shows a kick that has ended. Such a condition stays when the annotation is removed."""
    return shown.type == KICK_ACCEPTED and shown.reason not in (Reason.WAITING, Reason.KICKING)


def _is_refused(intent: KickIntent) -> bool:
    return not intent.tubes and bool(intent.ended)


def _count(share: KickShare) -> int:
    return share.kicked + share.unsure


def _result(intent: KickIntent) -> str:
    done, unsure = sum(map(_count, intent.tubes)), any(share.unsure for share in intent.tubes)
    message = f"kick={intent.value}: {'at most ' if unsure else ''}{done} buried jobs put back"
    if not intent.tubes:
        return f"{message}, as none was buried"
    by_tube = [f"{share.name} {'at most ' if share.unsure else ''}{_count(share)}" for share in intent.tubes]
    message = f"{message} ({', '.join(by_tube)})"
    if unsure:
        message += ", the last answer was lost: see status.buried before you kick again"
    return f"{message}; the rest was left, because {intent.ended}" if intent.ended else message


def _accepted(status: ConditionStatus, reason: Reason, message: str) -> Finding:
    return Finding(KICK_ACCEPTED, status, reason, message)
