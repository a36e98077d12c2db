"""What is reported of a kick or a discard: its condition, an Event, `status.lastKick` and `status.lastDiscard`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from tubeherd.formats.columns import counted
from tubeherd_operator.decisions.findings import Finding, PoolEvent
from tubeherd_operator.decisions.request_value import Deed, in_words
from tubeherd_operator.decisions.status import (
    TUBES_SHOWN,
    Condition,
    ConditionStatus,
    Intent,
    LastDiscard,
    LastKick,
    Share,
)

Reported = tuple[Finding, PoolEvent]
_NAMED: Final = 20
"""So many tubes a message names."""


class Reason(StrEnum):
    """Why the condition of a request is as it is, or what an Event of a request alone reports."""

    KICKING = "Kicking"
    KICKED = "Kicked"
    BAD_KICK = "BadKick"
    DISCARDING = "Discarding"
    DISCARDED = "Discarded"
    BAD_DISCARD = "BadDiscard"
    WAITING = "Waiting"
    ANNOTATION_STAYS = "AnnotationStays"
    # Events alone
    ANNOTATION_REMOVED = "AnnotationRemoved"


@dataclass(frozen=True, slots=True)
class _Words:
    """How a deed is reported."""

    condition: str
    running: Reason
    done: Reason
    refused: Reason
    past: str
    """What was done with jobs, in the words of a message."""
    counted: str
    """The same in one word, which is the field of the outcome."""
    outcome: type[LastKick | LastDiscard]


_WORDS: Final[Mapping[Deed, _Words]] = {
    "kick": _Words(
        condition="KickAccepted",
        running=Reason.KICKING,
        done=Reason.KICKED,
        refused=Reason.BAD_KICK,
        past="put back",
        counted="kicked",
        outcome=LastKick,
    ),
    "discard": _Words(
        condition="DiscardAccepted",
        running=Reason.DISCARDING,
        done=Reason.DISCARDED,
        refused=Reason.BAD_DISCARD,
        past="deleted",
        counted="deleted",
        outcome=LastDiscard,
    ),
}
CONDITIONS: Final[Mapping[Deed, str]] = {deed: words.condition for deed, words in _WORDS.items()}
"""The conditions of requests."""


def refused(deed: Deed, why: str) -> Reported:
    """Return what is reported of a request that is not carried out."""
    return _reported(deed, "False", _WORDS[deed].refused, f"{why}; nothing was {_WORDS[deed].counted}")


def waiting(deed: Deed, value: str, why: str) -> Reported:
    """Return what is reported of a request that waits for beanstalkd."""
    message = f"{in_words(deed, value)} waits: {why}; it goes on as soon as beanstalkd answers"
    return _reported(deed, "False", Reason.WAITING, message)


def waiting_for(deed: Deed, value: str, first: str) -> Finding:
    """Return the condition of a request that waits for another of the same pool."""
    message = f"{in_words(deed, value)} waits until {first} is over and that annotation is gone"
    return _reported(deed, "False", Reason.WAITING, message)[0]


def running(intent: Intent) -> Finding:
    """Return the condition of a request that is under way."""
    words, of = _WORDS[intent.deed], sum(share.allotted - _skipped(share) for share in intent.tubes)
    message = f"{intent}: {_total(intent)} of {of} buried jobs {words.past} so far"
    return _reported(intent.deed, "True", words.running, message)[0]


def result(intent: Intent) -> Reported:
    """Return what is reported of a request that is done or was refused."""
    if _is_refused(intent):
        return refused(intent.deed, intent.ended)
    unsure = any(share.unsure for share in intent.tubes)
    message = _result(intent, unsure=unsure)
    return _reported(intent.deed, "True", _WORDS[intent.deed].done, message, is_good=not unsure)


def annotation_stays(intent: Intent, why: str) -> Reported:
    """Return what is reported if the API server refuses to remove the annotation of a request that is done."""
    before, past = result(intent)[0], _WORDS[intent.deed].past
    message = f"{before.message}; nothing more is {past}, though the annotation is still there: {why}; remove it"
    return _reported(intent.deed, before.status, Reason.ANNOTATION_STAYS, message)


def annotation_removed(intent: Intent) -> PoolEvent | None:
    """Return what is reported when the annotation of a request that was done before is removed; None if refused."""
    if _is_refused(intent):
        return None
    past = _WORDS[intent.deed].past
    message = f"{intent} was done already: its annotation is removed, and nothing more was {past}"
    again = f"set it again if another {intent.deed} is wanted"
    return PoolEvent("Normal", Reason.ANNOTATION_REMOVED, f"{message}; {again}")


def outcome(intent: Intent) -> LastKick | LastDiscard:
    """Return what the status shows of a request that is done."""
    words = _WORDS[intent.deed]

    def counts(shares: Sequence[Share]) -> dict[str, int]:
        done, skipped = sum(map(_count, shares)), sum(map(_skipped, shares))
        return {words.counted: done, "unsure": sum(share.unsure for share in shares), "skipped": skipped}

    tubes = [{"name": share.name, **counts([share])} for share in _most(intent, TUBES_SHOWN)]
    return words.outcome.model_validate(
        {"value": intent.value.strip(), "time": intent.since, **counts(intent.tubes), "tubes": tubes}
    )


def is_settled_request(shown: Condition) -> bool:
    """Return whether a condition shows a request that has ended. It then stays when the annotation is removed."""
    under_way = (Reason.WAITING, *(words.running for words in _WORDS.values()))
    return shown.type in CONDITIONS.values() and shown.reason not in under_way


def _is_refused(intent: Intent) -> bool:
    return not intent.tubes and bool(intent.ended)


def _count(share: Share) -> int:
    return share.done + share.unsure


def _total(intent: Intent) -> int:
    return sum(map(_count, intent.tubes))


def _most(intent: Intent, most: int) -> Sequence[Share]:
    """Return the tubes in their order if there are no more than `most`, otherwise those with the most jobs done."""
    if len(intent.tubes) <= most:
        return intent.tubes
    return sorted(intent.tubes, key=lambda share: (-_count(share), share.name))[:most]


def _skipped(share: Share) -> int:
    """Return how many jobs were left alone. Jobs of `all` whose command was not answered may have been asked twice."""
    return max(0, min(share.skipped, share.allotted - _count(share)))


def _result(intent: Intent, *, unsure: bool) -> str:
    past, skipped = _WORDS[intent.deed].past, sum(map(_skipped, intent.tubes))
    message = f"{intent}: {'at most ' if unsure else ''}{counted(_total(intent), 'buried job')} {past}"
    if not intent.tubes:
        return f"{message}, as none was buried"
    named = _most(intent, _NAMED)
    by_tube = [f"{share.name} {'at most ' if share.unsure else ''}{_count(share)}" for share in named]
    if len(named) < len(intent.tubes):
        by_tube.append(f"and {len(intent.tubes) - len(named)} more tubes")
    message = f"{message} ({', '.join(by_tube)})"
    if skipped:
        message += f", {skipped} left alone, as they were not buried any more"
    if unsure:
        message += f", the last answer was lost: see status.buried before you {intent.deed} again"
    return f"{message}; the rest was left, because {intent.ended}" if intent.ended else message


def _reported(deed: Deed, status: ConditionStatus, reason: Reason, message: str, *, is_good: bool = False) -> Reported:
    finding = Finding(_WORDS[deed].condition, status, reason, message)
    return finding, PoolEvent("Normal" if is_good else "Warning", reason, message)
