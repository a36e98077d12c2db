"""Carries out a kick step by step, so that whatever fails in between, no more jobs are put back than it asks for.

A kick is an intent in the pool's status, `status.kick`. It is written before the first command to beanstalkd, and
removed after the annotation is gone. A step is written into it before beanstalkd is asked to put back the jobs of the
step. Each change is written only if the pool is still as it was read, so of several operators only one begins a step,
and that one asks beanstalkd once. If the answer was lost, all jobs of the step count as put back. Only a kick without a
bound, such as `all`, asks for them again.

One pass makes one change: it begins a kick, takes the answer to a step and begins the next, ends the kick, removes the
annotation, or forgets the kick.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from tubeherd_operator.decisions.counts import Counts
from tubeherd_operator.decisions.errands import Errand, Find, Found, Kicked, PutBack, Request
from tubeherd_operator.decisions.findings import Finding, PoolEvent
from tubeherd_operator.decisions.kick_report import (
    annotation_removed,
    annotation_stays,
    last_kick,
    refused,
    result,
    running,
    waiting,
)
from tubeherd_operator.decisions.kick_value import BadKick, has_bound, parse_kick
from tubeherd_operator.decisions.status import Condition, KickIntent, KickShare, LastKick

ANNOTATION: Final = "kick"
STEP_MOST: Final = 1000
"""So many jobs are put back in one step at most."""
_SLOW_STEP_MOST: Final = 200
"""The same if there is a rate: these jobs are put back one after the other."""


@dataclass(frozen=True, slots=True)
class Known:
    """What this process knows of a pool's kick beside the status, and what it may use for the next step."""

    errand: Errand | None = None
    """What beanstalkd's side was asked to do last, with its answer."""
    opened: str | None = None
    """The id of a step that this process has written, or tried to write, and not passed on to beanstalkd's side."""
    removed: str | None = None
    """The id of the kick whose annotation this process has removed."""
    stays_because: str | None = None
    """Why the API server refused to remove the annotation of a kick that is done."""
    rest: float = 0.0
    """In how many seconds the next step may begin."""
    new_id: str = ""
    """An id that nothing has yet."""
    now: str = ""
    """The time in RFC 3339."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What the pool asks for, and where."""

    request: Request | None
    tubes: Sequence[str]
    server: str | None
    counts: Counts | None
    """The last counts of the tubes; None if beanstalkd was not asked yet."""
    why_no_server: str = "no beanstalkd is named"


@dataclass(frozen=True, slots=True)
class KickPlan:
    """What a pass does for a kick, in the order of the fields."""

    intent: KickIntent | None = None
    """What `status.kick` is to be. If that is a change, all that follows is done only after it was stored."""
    last_kick: LastKick | None = None
    condition: Finding | None = None
    event: PoolEvent | None = None
    errand: Errand | None = None
    """What beanstalkd's side is to do."""
    removes_annotation: bool = False
    event_after_removal: PoolEvent | None = None
    again_after: float | None = None
    """After how many seconds another pass is to follow; None if an answer or a change starts it."""
    rests: float = 0.0
    """How many seconds after this step the next one may begin."""


def plan_kick(asked: Asked, intent: KickIntent | None, shown: Condition | None, known: Known) -> KickPlan:
    """Return what this pass does; `intent` is the `status.kick`, `shown` the condition KickAccepted."""
    if intent is None or _is_over(intent, asked.request, known):
        return _begin(asked, intent, shown, known)
    if intent.state == "done":
        return _finish(intent, shown, known)
    return _go_on(asked, intent, shown, known)


def _is_over(intent: KickIntent, request: Request | None, known: Known) -> bool:
    """Return whether a kick is done and its annotation is gone. The same value may have been set anew since then."""
    return intent.state == "done" and (request is None or request.value != intent.value or known.removed == intent.id)


def _begin(asked: Asked, before: KickIntent | None, shown: Condition | None, known: Known) -> KickPlan:
    """Begin the kick that is asked for, in place of one that is over."""
    request, counts = asked.request, asked.counts
    if request is None:
        return KickPlan(condition=result(before) if before else None)
    try:
        kick = parse_kick(request.value, asked.tubes)
    except BadKick as error:
        return _refuse(asked, request, f"{error}; nothing was kicked", known)
    if asked.server is None:
        return _wait(request.value, asked.why_no_server, shown)
    if counts is None:
        return KickPlan()
    if counts.error is not None:
        return _wait(request.value, f"{asked.server} is out of reach", shown)
    errand = known.errand
    if errand is None or errand.work != Find(request, kick) or _has_failed(errand):
        return KickPlan(errand=Errand(known.new_id, Find(request, kick)))
    if not isinstance(errand.answer, Found):
        return KickPlan()
    if errand.answer.refused is not None:
        why = f"kick={request.value[:80]!r}: {errand.answer.refused}; nothing was kicked"
        return _refuse(asked, request, why, known)
    shares = _allot(errand.answer, kick.most)
    intent = KickIntent(
        id=known.new_id, value=request.value, server=asked.server, state="accepted", since=known.now, tubes=shares
    )
    return KickPlan(intent, again_after=0.0) if shares else _end(intent, asked, known)


def _allot(found: Found, most: int | None) -> list[KickShare]:
    """Divide the bound among the tubes, in their order."""
    shares, left = [], most
    for tube, buried in found.tubes.items():
        allotted = buried if left is None else min(buried, left)
        left = None if left is None else left - allotted
        if allotted:
            shares.append(KickShare(name=tube, allotted=allotted))
    return shares


def _has_failed(errand: Errand) -> bool:
    return errand.answer is not None and errand.answer.error is not None


def _refuse(asked: Asked, request: Request, why: str, known: Known) -> KickPlan:
    intent = KickIntent(
        id=known.new_id,
        value=request.value,
        server=asked.server or "",
        state="done",
        since=known.now,
        tubes=[],
        ended=why,
    )
    return KickPlan(intent, None, *refused(why), removes_annotation=True, again_after=0.0)


def _wait(value: str, why: str, shown: Condition | None, intent: KickIntent | None = None) -> KickPlan:
    """Wait until beanstalkd can be asked. The same wait is reported by one Event only."""
    condition, event = waiting(value, why)
    is_shown = shown is not None and (shown.reason, shown.message) == (condition.reason, condition.message)
    return KickPlan(intent, condition=condition, event=None if is_shown else event)


def _go_on(asked: Asked, intent: KickIntent, shown: Condition | None, known: Known) -> KickPlan:
    """Take the answer to the present step, and begin the next one; end the kick if there is no next step."""
    ended, stopped = _why_to_end(asked, intent), ""
    if intent.step:
        if known.opened == intent.step and not ended:
            return KickPlan(intent, errand=_put_back(intent))
        errand = known.errand
        is_asked = errand is not None and errand.id == intent.step
        if is_asked and errand and errand.answer is None:
            return KickPlan(intent, condition=running(intent))
        answer = _answer(intent, known)
        intent, stopped = _settle(intent, answer), answer.stopped or ""
    left = {share.name: _left(share, intent) for share in intent.tubes}
    next_ = {tube: count for tube, count in left.items() if count and tube in asked.tubes}
    ended = ended or stopped
    if ended or not next_:
        gone = [tube for tube, count in left.items() if count]
        return _end(intent, asked, known, ended or (f"tube {gone[0]} is not the pool's any more" if gone else ""))
    if asked.counts is None:
        return KickPlan(intent, condition=running(intent))
    if asked.counts.error is not None:
        return _wait(intent.value, f"{intent.server} is out of reach", shown, intent)
    if known.rest > 0:
        return KickPlan(intent, condition=running(intent), again_after=known.rest)
    rate = parse_kick(intent.value, asked.tubes).rate
    intent = _open_step(intent, next_, _step_most(rate), known)
    rests = sum(share.asked for share in intent.tubes) / rate if rate else 0.0
    return KickPlan(intent, condition=running(intent), errand=_put_back(intent), rests=rests)


def _why_to_end(asked: Asked, intent: KickIntent) -> str:
    """Return why a kick that runs is to be ended; empty if it is not."""
    if asked.request is None:
        return "its annotation was removed"
    if asked.request.value != intent.value:
        return "the annotation has another value now"
    if asked.server != intent.server:
        return "the pool has another beanstalkd now"
    return ""


def _answer(intent: KickIntent, known: Known) -> Kicked:
    """Return what came of the present step, which may have been that of another process."""
    if known.opened == intent.step:
        return Kicked({}, error="it was not sent")
    if known.errand is not None and known.errand.id == intent.step and isinstance(known.errand.answer, Kicked):
        return known.errand.answer
    return Kicked({}, lost="*", error="the answer was lost")


def _settle(intent: KickIntent, answer: Kicked) -> KickIntent:
    """Return the intent after a step: what was kicked, and what may have been, is counted."""
    kick = parse_kick(intent.value, [share.name for share in intent.tubes])
    by_id = kick.job is not None or kick.error is not None
    shares = [_settle_share(share, answer, by_id) for share in intent.tubes]
    return intent.model_copy(update={"step": "", "tubes": shares})


def _settle_share(share: KickShare, answer: Kicked, by_id: bool) -> KickShare:
    kicked = answer.tubes.get(share.name)
    unsure = share.asked if answer.lost in ("*", share.name) else 0
    settled = KickShare(
        name=share.name,
        allotted=share.allotted,
        kicked=share.kicked + (kicked or 0),
        unsure=share.unsure + unsure,
    )
    if share.asked and kicked == 0 and not by_id:  # no job of the tube is buried any more
        settled.allotted = settled.kicked + settled.unsure
    elif kicked is not None:  # somebody else has kicked or deleted the others
        settled.allotted -= share.asked - kicked
    return settled


def _left(share: KickShare, intent: KickIntent) -> int:
    """Return how many jobs of a tube beanstalkd may still be asked to put back."""
    return max(0, share.allotted - share.kicked - (share.unsure if has_bound(intent.value) else 0))


def _step_most(rate: float | None) -> int:
    """Return how many jobs are put back in one step: if there is a rate, those of a second."""
    return STEP_MOST if rate is None else min(_SLOW_STEP_MOST, max(1, int(rate)))


def _open_step(intent: KickIntent, next_: dict[str, int], room: int, known: Known) -> KickIntent:
    shares = []
    for share in intent.tubes:
        asked = min(room, next_.get(share.name, 0))
        room -= asked
        shares.append(share.model_copy(update={"asked": asked}))
    since = intent.since if intent.state == "running" else known.now
    return intent.model_copy(update={"state": "running", "since": since, "step": known.new_id, "tubes": shares})


def _put_back(intent: KickIntent) -> Errand:
    kick = parse_kick(intent.value, [share.name for share in intent.tubes])
    most = {share.name: share.asked for share in intent.tubes if share.asked}
    return Errand(intent.step, PutBack(most, kick.job, kick.error, slowly=kick.rate is not None))


def _end(intent: KickIntent, asked: Asked, known: Known, ended: str = "") -> KickPlan:
    """End a kick: it is done, or the rest is not to be done any more."""
    done = intent.model_copy(update={"state": "done", "since": known.now, "ended": ended})
    condition = result(done)
    event = PoolEvent("Warning" if last_kick(done).unsure else "Normal", condition.reason, condition.message)
    is_set = asked.request is not None and asked.request.value == intent.value
    return KickPlan(done, last_kick(done), condition, event, removes_annotation=is_set, again_after=0.0)


def _finish(intent: KickIntent, shown: Condition | None, known: Known) -> KickPlan:
    """Remove the annotation of a kick that is done."""
    condition = event = None
    if known.stays_because is not None:
        condition, warning = annotation_stays(intent, known.stays_because)
        event = None if shown and shown.reason == condition.reason else warning
    return KickPlan(
        intent,
        condition=condition,
        event=event,
        removes_annotation=True,
        event_after_removal=annotation_removed(intent),
        again_after=0.0,
    )
