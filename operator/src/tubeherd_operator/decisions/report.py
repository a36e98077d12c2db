"""Decides what a pass reports: the pool's status and Events."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from tubeherd.queue.answers import TubeStats
from tubeherd_operator.decisions.budget import budget_of, drift_of_budget
from tubeherd_operator.decisions.burials import Burials, burial_news, of_tubes, shown_groups, shown_recent
from tubeherd_operator.decisions.conditions import conditions
from tubeherd_operator.decisions.conditions.ready import Reason
from tubeherd_operator.decisions.conditions.rollout import rollout_of
from tubeherd_operator.decisions.findings import Finding, PoolEvent, stamp
from tubeherd_operator.decisions.news import news
from tubeherd_operator.decisions.observation import Observation
from tubeherd_operator.decisions.plan import Change, Plan, not_as_wanted, useless_repairs
from tubeherd_operator.decisions.pods import next_look_at_pods
from tubeherd_operator.decisions.repairs import REPLICAS, REST_SECONDS, Repairs
from tubeherd_operator.decisions.request import RequestPlan
from tubeherd_operator.decisions.request_report import CONDITIONS, is_settled_request
from tubeherd_operator.decisions.retries import served_by, tubes_of
from tubeherd_operator.decisions.status import (
    TUBES_SHOWN,
    AutoscaleStatus,
    Condition,
    LastDiscard,
    LastKick,
    TubeStatus,
    WorkerPoolStatus,
)
from tubeherd_operator.objects import POOL_LABEL, Object

_STATES: Final = ("ready", "reserved", "delayed", "buried")
_RECHECK_SECONDS: Final = 20.0
"""How often to look at a Deployment that has the pool's name and another owner. No watch reports changes of it."""

UNWATCHED_SECONDS: Final = 60.0
"""How often to ask for the ConfigMap of a pool if it cannot be watched."""
_FALLS_LATER_SECONDS: Final = 2.0
"""When the number of pods is to fall that could not at once: pods that hang are asked for two seconds."""


@dataclass(frozen=True, slots=True)
class Results:
    """What came of a plan."""

    deployment: Object | None = None
    """As the API server answered; None if none was applied."""
    refusal: Exception | None = None
    """Why the API server refused the Deployment."""
    budget: Object | None = None
    """The PodDisruptionBudget as the API server answered; None if none was applied."""
    budget_refusal: Exception | None = None
    """Why the API server refused the PodDisruptionBudget."""
    repairs: Repairs | None = None
    """What was repaired of late, this pass included; None if it applied nothing."""


@dataclass(frozen=True, slots=True)
class Report:
    """What a pass writes, in the order of the fields. Nothing is added to a report after it is made."""

    status: WorkerPoolStatus
    events: list[PoolEvent]
    again_after: float | None
    """After how many seconds the pool is to be looked at again; None: when it changes."""
    changes: list[PoolEvent]
    """Those of the Events that tell what this pass has changed. No later pass would report them."""


def make_report(seen: Observation, plan: Plan, results: Results, now: str) -> Report:
    """Return the report of a pass; `now` is the time for conditions that change, in RFC 3339."""
    # Judge the Deployment as it is now. If this pass changed it, its generation is newer than the one that its status
    # has observed. Therefore Ready stays False until the rollout is done.
    seen = replace(
        seen,
        deployment=results.deployment or seen.deployment,
        overridden=_overridden(seen, plan, results),
        refusal=str(results.refusal) if results.refusal else None,
        budget_refusal=str(results.budget_refusal) if results.budget_refusal else None,
        wrong_template=plan.wrong_template,
    )
    shown = {condition.type: condition for condition in seen.pool.status.conditions or []}
    request = plan.request
    found = _findings(seen)
    findings = [*found, *request.conditions]
    applied = _applied(seen, plan.change, results) if plan.change else []
    applied += [plan.budget.event] if plan.budget.event and not results.budget_refusal else []
    burials = _burials(seen)
    buried = burial_news(burials, _status_of_this_server(seen)) if burials else []
    return Report(
        status=_status(seen, _conditions(seen, findings, shown, now), request, now),
        events=[*([request.event] if request.event else []), *applied, *news(found, shown), *buried],
        again_after=_again_after(seen, plan, results),
        changes=applied,
    )


def _again_after(seen: Observation, plan: Plan, results: Results) -> float | None:
    falls_after = _FALLS_LATER_SECONDS if _is_postponed(plan, results) else None
    reads_after = None if seen.executors_watched else UNWATCHED_SECONDS
    all_ = (plan.request.again_after, _look_again_after(seen), falls_after, reads_after)
    return min((after for after in all_ if after is not None), default=None)


def _is_postponed(plan: Plan, results: Results) -> bool:
    """Return whether a fall of the number of pods was left for later, because those of other pools were being asked."""
    return plan.change is not None and plan.change.leaving is not None and not (results.deployment or results.refusal)


def _applied(seen: Observation, change: Change, results: Results) -> list[PoolEvent]:
    """Return the Events that report a change of the Deployment."""
    if not _took_effect(seen, change, results):
        return []
    scaled = None if REPLICAS in seen.overridden else change.scaled
    return [event for event in (change.event, scaled) if event]


def _took_effect(seen: Observation, change: Change, results: Results) -> bool:
    """Return whether anything was changed that is not again as it was before."""
    if results.deployment is None or results.refusal:
        return False
    return not change.repaired or not change.repaired <= {*seen.overridden}


def _overridden(seen: Observation, plan: Plan, results: Results) -> tuple[str, ...]:
    live, budget = results.deployment or seen.deployment, results.budget or budget_of(seen)
    if plan.wanted is None or live is None:
        return ()
    useless = useless_repairs(plan.wanted, results.repairs or seen.repairs, seen.now)
    if not useless:
        return ()
    drifted = not_as_wanted(plan.wanted, live)
    drifted += drift_of_budget(plan.budget.wanted, budget) if plan.budget.wanted and budget else []
    return tuple(name for name in drifted if name in useless)


def _findings(seen: Observation) -> list[Finding]:
    """Return the conditions of the pool. If its old status stands, return at most that its Deployment was refused."""
    found = conditions(seen)
    if seen.status_stands:
        return [finding for finding in found if finding.reason == Reason.DEPLOYMENT_REFUSED]
    return found


def _conditions(seen: Observation, found: list[Finding], shown: Mapping[str, Condition], now: str) -> list[Condition]:
    """Return the conditions of the status, in the order in which it shows them already."""
    new = {finding.type: stamp(finding, shown.get(finding.type), seen.pool.generation, now) for finding in found}
    kept = {
        type_: condition
        for type_, condition in shown.items()
        if type_ in new or seen.status_stands or is_settled_request(condition) or _is_asked_for(condition, seen)
    }
    return [*(kept | new).values()]


def _is_asked_for(condition: Condition, seen: Observation) -> bool:
    """Return whether a condition is about a request that is still asked for; it stays until there is another."""
    return condition.type in [CONDITIONS[deed] for deed in seen.pool.requests]


def _status(seen: Observation, stamped: list[Condition], request: RequestPlan, now: str) -> WorkerPoolStatus:
    before = seen.pool.status
    if seen.status_stands:
        return before.model_copy(update={"conditions": stamped, **_requested(before, request)})
    rollout = rollout_of(seen)
    return WorkerPoolStatus(
        observed_generation=seen.pool.generation,
        server=seen.pool.server,
        replicas=rollout.pods,
        ready_replicas=rollout.ready,
        pods=f"{rollout.ready}/{rollout.wanted}",
        selector=f"{POOL_LABEL}={seen.pool.key.name}",
        **_counts(seen),
        **_shown_burials(seen),
        conditions=stamped,
        autoscale=_autoscale(seen, now),
        **_requested(before, request),
    )


def _requested(before: WorkerPoolStatus, request: RequestPlan) -> dict[str, Any]:
    """Return what the status shows of requests."""
    outcome = request.outcome
    return {
        "last_kick": outcome if isinstance(outcome, LastKick) else before.last_kick,
        "last_discard": outcome if isinstance(outcome, LastDiscard) else before.last_discard,
        "request": request.intent,
    }


def _autoscale(seen: Observation, now: str) -> AutoscaleStatus | None:
    """Return what autoscaling has done: nothing new unless the Deployment has the number of replicas that it wants."""
    before, scale = seen.pool.status.autoscale, seen.scale
    if scale is None:
        return None
    live = None if seen.deployment_is_foreign or seen.pool.spec.suspend else seen.deployment
    is_done = live is not None and live["spec"].get("replicas") == scale.replicas
    if not is_done or (before and before.desired_replicas == scale.replicas):
        return before
    return AutoscaleStatus(desired_replicas=scale.replicas, last_scale_time=now)


def _counts(seen: Observation) -> dict[str, Any]:
    """Return the counts of the status: the last known of this beanstalkd while it is out of reach."""
    if seen.counts is None or (seen.counts.error is not None and not seen.counts.tubes):
        known = seen.has_counts_of_this_server
        fields = (*_STATES, "tubes", "tubes_total")
        return {name: getattr(seen.pool.status, name) if known else None for name in fields}
    counted = seen.counts.tubes
    totals = {state: sum(getattr(stats, state) for stats in counted.values()) for state in _STATES}
    tubes = [
        TubeStatus(name=stats.name, **{state: getattr(stats, state) for state in _STATES})
        for stats in _shown_tubes(seen, list(counted.values()))
    ]
    return {**totals, "tubes": tubes, "tubes_total": len(counted)}


def _shown_tubes(seen: Observation, counted: list[TubeStats]) -> list[TubeStats]:
    """Return the tubes that the status shows: in the order of the spec, or with globs those with the most jobs."""
    if not tubes_of(seen.pool.spec).has_globs:
        return counted
    return sorted(counted, key=lambda stats: (-stats.buried, -stats.ready, stats.name))[:TUBES_SHOWN]


def _burials(seen: Observation) -> Burials | None:
    """Return why jobs are buried; None if nothing new is to be shown of that in this pass."""
    if seen.burials is None or seen.counts is None or seen.counts.error is not None:
        return None
    return of_tubes(seen.burials, [name for name, stats in seen.counts.tubes.items() if stats.buried])


def _shown_burials(seen: Observation) -> dict[str, Any]:
    """Return the burials of the status: as long as they cannot be read anew, the last known of this beanstalkd."""
    if not served_by(seen.pool.spec).records:
        return {}
    burials, before = _burials(seen), _status_of_this_server(seen)
    if burials is None:
        return {"burials": before.burials, "recent_burials": before.recent_burials}
    return {"burials": shown_groups(burials) or None, "recent_burials": shown_recent(burials) or None}


def _status_of_this_server(seen: Observation) -> WorkerPoolStatus:
    """Return the stored status if it is about the present beanstalkd, otherwise one that shows nothing."""
    return seen.pool.status if seen.pool.status.server == seen.pool.server else WorkerPoolStatus()


def _look_again_after(seen: Observation) -> float | None:
    if seen.deployment_is_foreign:
        return _RECHECK_SECONDS
    slow = next_look_at_pods(seen.present_pods, seen.now)
    return slow if slow is not None or not seen.overridden else REST_SECONDS
