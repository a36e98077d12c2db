"""Carries out a request step by step, so that whatever fails in between, no more jobs are changed than it asks for.

A request is a kick, which puts buried jobs back, or a discard, which deletes them. A pool has one at a time: it is an
intent in the pool's status, `status.request`. It is written before the first command to beanstalkd, and removed after
the annotation is gone. A step is written into it before beanstalkd is asked to kick or delete the jobs of the step.
Each change is written only if the pool is still as it was read, so of several operators only one begins a step, and
that one asks beanstalkd once. If the answer was lost, all jobs of the step count as done. Only a request without a
bound, such as `all`, asks for them again.

One pass makes one change: it begins a request, takes the answer to a step and begins the next, ends the request,
removes the annotation, or forgets the request.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from tubeherd_operator.decisions.counts import Counts
from tubeherd_operator.decisions.errands import Done, Errand, Find, Found, Request, Step
from tubeherd_operator.decisions.findings import Finding, PoolEvent
from tubeherd_operator.decisions.request_report import (
    annotation_removed,
    annotation_stays,
    outcome,
    refused,
    result,
    running,
    waiting,
    waiting_for,
)
from tubeherd_operator.decisions.request_value import (
    DEEDS,
    BadRequest,
    Deed,
    Wanted,
    has_bound,
    names_jobs,
    parse_value,
)
from tubeherd_operator.decisions.status import Condition, Intent, LastDiscard, LastKick, Share
from tubeherd_operator.decisions.tubes import PoolTubes

STEP_MOST: Final = 1000
"""So many jobs are kicked or deleted in one step at most."""
_SLOW_STEP_MOST: Final = 200
"""The same if there is a rate: these jobs are kicked one after the other."""


@dataclass(frozen=True, slots=True)
class Known:
    """What this process knows of a pool's request beside the status, and what it may use for the next step."""

    errand: Errand | None = None
    """What beanstalkd's side was asked to do last, with its answer."""
    opened: str | None = None
    """The id of a step that this process has written, or tried to write, and not passed on to beanstalkd's side."""
    removed: str | None = None
    """The id of the request whose annotation this process has removed."""
    stays_because: str | None = None
    """Why the API server refused to remove the annotation of a request that is done."""
    rest: float = 0.0
    """In how many seconds the next step may begin."""
    new_id: str = ""
    """An id that nothing has yet."""
    now: str = ""
    """The time in RFC 3339."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What the pool asks for, and where."""

    requests: Mapping[Deed, Request]
    """What the annotations ask for, by their names."""
    tubes: PoolTubes
    server: str | None
    counts: Counts | None
    """The last counts of the tubes; None if beanstalkd was not asked yet."""
    why_no_server: str = "no beanstalkd is named"


@dataclass(frozen=True, slots=True)
class RequestPlan:
    """What a pass does for a request, in the order of the fields."""

    intent: Intent | None = None
    """What `status.request` is to be. If that is a change, all that follows is done only after it was stored."""
    outcome: LastKick | LastDiscard | None = None
    conditions: tuple[Finding, ...] = ()
    """Of two of the same type, the latter holds."""
    event: PoolEvent | None = None
    errand: Errand | None = None
    """What beanstalkd's side is to do."""
    removes: Deed | None = None
    """The annotation that is to be removed."""
    event_after_removal: PoolEvent | None = None
    again_after: float | None = None
    """After how many seconds another pass is to follow; None if an answer or a change starts it."""
    rests: float = 0.0
    """How many seconds after this step the next one may begin."""


def plan_request(asked: Asked, intent: Intent | None, shown: Mapping[str, Condition], known: Known) -> RequestPlan:
    """Return what this pass does; `intent` is the `status.request`, `shown` are the conditions of the status."""
    if intent is None or _is_over(intent, asked, known):
        return _begin_next(asked, intent, shown, known)
    plan = _finish(intent, shown, known) if intent.state == "done" else _go_on(asked, intent, shown, known)
    return _with_others(plan, asked, intent.deed, str(intent))


def _is_over(intent: Intent, asked: Asked, known: Known) -> bool:
    """Return whether a request is done and its annotation is gone. The same value may have been set anew since then."""
    request = asked.requests.get(intent.deed)
    return intent.state == "done" and (request is None or request.value != intent.value or known.removed == intent.id)


def _begin_next(asked: Asked, before: Intent | None, shown: Mapping[str, Condition], known: Known) -> RequestPlan:
    """Begin the first request that is asked for, in place of one that is over."""
    over = (result(before)[0],) if before else ()
    request = next((asked.requests[deed] for deed in DEEDS if deed in asked.requests), None)
    if request is None:
        return RequestPlan(conditions=over)
    plan = _with_others(_begin(asked, request, shown, known), asked, request.deed, str(request))
    return replace(plan, conditions=(*over, *plan.conditions))


def _with_others(plan: RequestPlan, asked: Asked, deed: Deed, first: str) -> RequestPlan:
    """Return the plan with the conditions of the requests that wait for this one."""
    others = [waiting_for(other, request.value, first) for other, request in asked.requests.items() if other != deed]
    return replace(plan, conditions=(*plan.conditions, *others))


def _begin(asked: Asked, request: Request, shown: Mapping[str, Condition], known: Known) -> RequestPlan:
    """Begin a request."""
    try:
        wanted = parse_value(request.deed, request.value, asked.tubes)
    except BadRequest as error:
        return _refuse(asked, request, str(error), known)
    if asked.server is None:
        return _wait(request, asked.why_no_server, shown)
    if asked.counts is None:
        return RequestPlan()
    if asked.counts.error is not None:
        return _wait(request, f"{asked.server} is out of reach", shown)
    errand = known.errand
    if errand is None or errand.work != Find(request, wanted) or _has_failed(errand):
        return RequestPlan(errand=Errand(known.new_id, Find(request, wanted)))
    if not isinstance(errand.answer, Found):
        return RequestPlan()
    if errand.answer.refused is not None:
        return _refuse(asked, request, f"{request.deed}={request.value[:80]!r}: {errand.answer.refused}", known)
    shares = _allot(errand.answer, wanted.most)
    intent = _new_intent(asked, request, known, shares)
    return RequestPlan(intent, again_after=0.0) if shares else _end(intent, asked, known)


def _new_intent(asked: Asked, request: Request, known: Known, shares: list[Share]) -> Intent:
    return Intent(
        id=known.new_id,
        deed=request.deed,
        value=request.value,
        server=asked.server or "",
        state="accepted",
        since=known.now,
        tubes=shares,
    )


def _allot(found: Found, most: int | None) -> list[Share]:
    """Divide the bound among the tubes, in their order."""
    shares, left = [], most
    for tube, buried in found.tubes.items():
        allotted = buried if left is None else min(buried, left)
        left = None if left is None else left - allotted
        if allotted:
            shares.append(Share(name=tube, allotted=allotted))
    return shares


def _has_failed(errand: Errand) -> bool:
    return errand.answer is not None and errand.answer.error is not None


def _refuse(asked: Asked, request: Request, why: str, known: Known) -> RequestPlan:
    intent = _new_intent(asked, request, known, []).model_copy(update={"state": "done", "ended": why})
    condition, event = refused(request.deed, why)
    return RequestPlan(intent, None, (condition,), event, removes=request.deed, again_after=0.0)


def _wait(
    request: Request | Intent, why: str, shown: Mapping[str, Condition], intent: Intent | None = None
) -> RequestPlan:
    """Wait until beanstalkd can be asked. The same wait is reported by one Event only."""
    condition, event = waiting(request.deed, request.value, why)
    before = shown.get(condition.type)
    is_shown = before is not None and (before.reason, before.message) == (condition.reason, condition.message)
    return RequestPlan(intent, conditions=(condition,), event=None if is_shown else event)


def _go_on(asked: Asked, intent: Intent, shown: Mapping[str, Condition], known: Known) -> RequestPlan:
    """Take the answer to the present step, and begin the next one; end the request if there is no next step."""
    ended, stopped = _why_to_end(asked, intent), ""
    if intent.step:
        if known.opened == intent.step and not ended:
            return RequestPlan(intent, errand=_errand(intent))
        errand = known.errand
        is_asked = errand is not None and errand.id == intent.step
        if is_asked and errand and errand.answer is None:
            return RequestPlan(intent, conditions=(running(intent),))
        answer = _answer(intent, known)
        intent, stopped = _settle(intent, answer), answer.stopped or ""
    left = {share.name: _left(share, intent) for share in intent.tubes}
    next_ = {tube: count for tube, count in left.items() if count and tube in asked.tubes}
    ended = ended or stopped
    if ended or not next_:
        gone = [tube for tube, count in left.items() if count]
        return _end(intent, asked, known, ended or (f"tube {gone[0]} is not the pool's any more" if gone else ""))
    if asked.counts is None:
        return RequestPlan(intent, conditions=(running(intent),))
    if asked.counts.error is not None:
        return _wait(intent, f"{intent.server} is out of reach", shown, intent)
    if known.rest > 0:
        return RequestPlan(intent, conditions=(running(intent),), again_after=known.rest)
    rate = _wanted(intent).rate
    intent = _open_step(intent, next_, _step_most(rate), known)
    rests = sum(share.asked for share in intent.tubes) / rate if rate else 0.0
    return RequestPlan(intent, conditions=(running(intent),), errand=_errand(intent), rests=rests)


def _why_to_end(asked: Asked, intent: Intent) -> str:
    """Return why a request that is under way is to be ended; empty if it is not."""
    request = asked.requests.get(intent.deed)
    if request is None:
        return "its annotation was removed"
    if request.value != intent.value:
        return "the annotation has another value now"
    if asked.server != intent.server:
        return "the pool has another beanstalkd now"
    try:
        _wanted(intent)
    except BadRequest as error:  # another version of the operator has begun it
        return str(error)
    return ""


def _answer(intent: Intent, known: Known) -> Done:
    """Return what came of the present step, which may have been that of another process."""
    if known.opened == intent.step:
        return Done({}, error="it was not sent")
    if known.errand is not None and known.errand.id == intent.step and isinstance(known.errand.answer, Done):
        return known.errand.answer
    return Done({}, lost="*", error="the answer was lost")


def _settle(intent: Intent, answer: Done) -> Intent:
    """Return the intent after a step: what was done, and what may have been, is counted."""
    by_id = names_jobs(intent.value)
    shares = [_settle_share(share, answer, by_id) for share in intent.tubes]
    return intent.model_copy(update={"step": "", "tubes": shares})


def _settle_share(share: Share, answer: Done, by_id: bool) -> Share:
    unsure = share.asked if answer.lost in ("*", share.name) else 0
    return Share(
        name=share.name,
        allotted=share.allotted,
        done=share.done + answer.tubes.get(share.name, 0),
        unsure=share.unsure + unsure,
        skipped=share.skipped + _skipped(share, answer, by_id),
    )


def _skipped(share: Share, answer: Done, by_id: bool) -> int:
    """Return how many jobs were left alone, because somebody else has kicked or deleted them."""
    done = answer.tubes.get(share.name)
    if done is None or answer.stopped is not None:
        return 0
    if share.asked and done == 0 and not by_id:  # no job of the tube is buried any more
        return share.allotted - share.done - share.skipped
    return share.asked - done


def _left(share: Share, intent: Intent) -> int:
    """Return how many jobs of a tube beanstalkd may still be asked to kick or delete."""
    left = share.allotted - share.done - share.skipped
    return max(0, left - share.unsure if has_bound(intent.value) else left)


def _step_most(rate: float | None) -> int:
    """Return how many jobs are kicked or deleted in one step: if there is a rate, those of a second."""
    return STEP_MOST if rate is None else min(_SLOW_STEP_MOST, max(1, int(rate)))


def _open_step(intent: Intent, next_: dict[str, int], room: int, known: Known) -> Intent:
    shares = []
    for share in intent.tubes:
        asked = min(room, next_.get(share.name, 0))
        room -= asked
        shares.append(share.model_copy(update={"asked": asked}))
    since = intent.since if intent.state == "running" else known.now
    return intent.model_copy(update={"state": "running", "since": since, "step": known.new_id, "tubes": shares})


def _errand(intent: Intent) -> Errand:
    wanted = _wanted(intent)
    most = {share.name: share.asked for share in intent.tubes if share.asked}
    in_order = wanted.most is not None
    step = Step(intent.deed, most, wanted.job, wanted.error, slowly=wanted.rate is not None, in_order=in_order)
    return Errand(intent.step, step)


def _wanted(intent: Intent) -> Wanted:
    return parse_value(intent.deed, intent.value, PoolTubes(tuple(share.name for share in intent.tubes)))


def _end(intent: Intent, asked: Asked, known: Known, ended: str = "") -> RequestPlan:
    """End a request: it is done, or the rest is not to be done any more."""
    done = intent.model_copy(update={"state": "done", "since": known.now, "ended": ended})
    condition, event = result(done)
    request = asked.requests.get(intent.deed)
    removes = intent.deed if request and request.value == intent.value else None
    return RequestPlan(done, outcome(done), (condition,), event, removes=removes, again_after=0.0)


def _finish(intent: Intent, shown: Mapping[str, Condition], known: Known) -> RequestPlan:
    """Remove the annotation of a request that is done."""
    plan = RequestPlan(intent, removes=intent.deed, event_after_removal=annotation_removed(intent), again_after=0.0)
    if known.stays_because is None:
        return plan
    condition, warning = annotation_stays(intent, known.stays_because)
    before = shown.get(condition.type)
    is_shown = before is not None and before.reason == condition.reason
    return replace(plan, conditions=(condition,), event=None if is_shown else warning)
