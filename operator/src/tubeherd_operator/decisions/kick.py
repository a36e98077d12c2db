"""A kick, from the annotation `kick` to what is done and what is reported.

A pass judges the annotation by `decide`. Only a kick that is `Due` goes to beanstalkd, whose answer makes it `Done` or
`BrokenOff`. `report_kick` gives the condition, the Event and `status.lastKick`, and whether the annotation is
to be removed.

The operator keeps the outcome in its memory until the annotation is removed, so that no later pass repeats a part of
the kick. If it crashes after the kick and before the annotation is removed, the kick is repeated after its restart. In
the other order, a crash after the annotation was removed would lose the kick.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from tubeherd_operator.decisions.counts import Counts, Kicked
from tubeherd_operator.decisions.findings import Finding, PoolEvent, Reason
from tubeherd_operator.decisions.status import Condition, ConditionStatus, LastKick, TubeKick

ANNOTATION: Final = "kick"
KICK_ACCEPTED: Final = "KickAccepted"
"""The condition of a kick."""
RETRY_SECONDS: Final = 2.0
"""After how many seconds a kick that broke off goes on, or the removal of an annotation is tried again."""
_COUNT: Final = re.compile(r"all|[1-9][0-9]{0,17}")


class BadKick(ValueError):
    """The annotation's value is not understood, or names a wrong tube; the message says what to write instead."""


@dataclass(frozen=True, slots=True)
class Kick:
    """Which buried jobs to put back."""

    tubes: tuple[str, ...]
    """Their tubes, in the order in which they are kicked."""
    most: int | None
    """How many to put back at most in all tubes together; None: every one."""


def parse_kick(value: str, tubes: Sequence[str]) -> Kick:
    """Return what `all`, `25`, `mail:all` or `mail:25` asks of a pool with these tubes; raises BadKick."""
    tube, colon, count = value.strip().rpartition(":")
    if not _COUNT.fullmatch(count):
        raise BadKick(f"kick={value[:80]!r} is not understood: write kick=all, kick=25, kick=TUBE:all or kick=TUBE:25")
    if colon and tube not in tubes:
        raise BadKick(f"kick={value[:80]!r} names a tube that is not the pool's: it has {', '.join(tubes)}")
    return Kick((tube,) if colon else tuple(tubes), None if count == "all" else int(count))


@dataclass(frozen=True, slots=True)
class Request:
    """A value of the annotation on one pool. The same value on a later pool of the same name is another request."""

    pool: str
    """The pool's uid."""
    value: str


@dataclass(frozen=True, slots=True)
class Refused:
    """The value is not understood, or names a tube that is not the pool's."""

    request: Request
    why: str


@dataclass(frozen=True, slots=True)
class Waiting:
    """No job was put back yet, because beanstalkd cannot be asked."""

    request: Request
    why: str


@dataclass(frozen=True, slots=True)
class BrokenOff:
    """beanstalkd was lost while jobs were put back; the rest follows."""

    request: Request
    kicked: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Done:
    """All that was asked for was put back."""

    request: Request
    kicked: Mapping[str, int]
    time: str


Outcome = Refused | Waiting | BrokenOff | Done
"""What came of a kick in a pass."""


@dataclass(frozen=True, slots=True)
class Due:
    """A kick that the pass is to carry out."""

    request: Request
    kick: Kick
    """What is left to do."""
    kicked: Mapping[str, int] = field(default_factory=dict)
    """How many jobs of each tube earlier passes put back."""

    def after(self, answer: Kicked, now: str) -> BrokenOff | Done:
        """Return what beanstalkd's answer makes of the kick; `now` is the time in RFC 3339."""
        more = {tube: self.kicked.get(tube, 0) + count for tube, count in answer.tubes.items()}
        kicked = {**self.kicked, **more}
        return Done(self.request, kicked, now) if answer.error is None else BrokenOff(self.request, kicked)


def decide(
    request: Request | None, tubes: Sequence[str], server: str | None, counts: Counts | None, before: Outcome | None
) -> Due | Outcome | None:
    """Return whether a kick is due, or what came of it; None without a kick, or if there are no counts yet.

    `tubes`, `server` and `counts` are the pool's; `before` is the outcome of the pass before.
    """
    if request is None:
        return None
    if before is not None and before.request != request:
        before = None  # the pool's owner took that kick back, or wants another
    if isinstance(before, Done):
        return before
    kicked = before.kicked if isinstance(before, BrokenOff) else {}
    try:
        kick = parse_kick(request.value, tubes)
    except BadKick as error:
        return Refused(request, f"{error}; nothing{' more' if kicked else ''} was kicked")
    if counts is not None and counts.error is None:
        left = None if kick.most is None else kick.most - sum(kicked.values())
        return Due(request, replace(kick, most=left), kicked)
    if isinstance(before, BrokenOff):
        return before
    if server is None:
        return Waiting(request, "no beanstalkd is named")
    return Waiting(request, f"{server} is out of reach") if counts else None


@dataclass(frozen=True, slots=True)
class KickReport:
    """What is reported of a kick, and what becomes of its annotation; all None if there is no kick."""

    condition: Finding | None = None
    event: PoolEvent | None = None
    last_kick: LastKick | None = None
    finished: str | None = None
    """The value of the annotation, if it is to be removed."""
    again_after: float | None = None
    """After how many seconds the pool is to be looked at again."""


def report_kick(outcome: Outcome | None, before: Outcome | None, shown: Condition | None) -> KickReport:
    """Return what is reported of a kick. The same outcome is reported by one Event only.

    `before` is the outcome of the pass before, which a restart of the operator forgets. `shown` is the condition
    KickAccepted of the status: if it shows that a kick waits, no Event reports that anew.
    """
    if outcome is None:
        return KickReport()
    report = _report(outcome)
    is_shown = isinstance(outcome, Waiting) and shown is not None and shown.reason == Reason.WAITING
    return replace(report, event=None) if outcome == before or is_shown else report


def is_settled_kick(shown: Condition) -> bool:
    """Return whether a condition shows a kick that has ended. Such a condition stays when the annotation is removed."""
    return shown.type == KICK_ACCEPTED and shown.reason != Reason.WAITING


def _report(outcome: Outcome) -> KickReport:
    value = outcome.request.value
    match outcome:
        case Refused():
            event = PoolEvent("Warning", Reason.BAD_KICK, outcome.why)
            return KickReport(_accepted("False", Reason.BAD_KICK, outcome.why), event, finished=value)
        case Waiting():
            message = f"kick={value} waits: {outcome.why}; it is done as soon as beanstalkd answers"
            event = PoolEvent("Warning", Reason.WAITING, message)
            return KickReport(_accepted("False", Reason.WAITING, message), event)
        case BrokenOff():
            message = f"kick={value} waits: beanstalkd is out of reach; it goes on as soon as beanstalkd answers"
            return KickReport(_accepted("False", Reason.WAITING, message), again_after=RETRY_SECONDS)
        case Done():
            by_tube = ", ".join(f"{tube} {count}" for tube, count in outcome.kicked.items())
            message = f"kick={value}: {sum(outcome.kicked.values())} buried jobs put back ({by_tube})"
            event = PoolEvent("Normal", Reason.KICKED, message)
            return KickReport(_accepted("True", Reason.KICKED, message), event, _last_kick(outcome), value)


def _accepted(status: ConditionStatus, reason: Reason, message: str) -> Finding:
    return Finding(KICK_ACCEPTED, status, reason, message)


def _last_kick(done: Done) -> LastKick:
    tubes = [TubeKick(name=name, kicked=count) for name, count in done.kicked.items()]
    return LastKick(value=done.request.value, time=done.time, kicked=sum(done.kicked.values()), tubes=tubes)
