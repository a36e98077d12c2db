"""Decides what one pass does with a pool: which Deployment it applies, and what it does for a request.

A pass reconciles one pool. A request is what its annotation `kick` or `discard` asks for: that buried jobs are made
ready again, or deleted.
"""

from copy import deepcopy
from dataclasses import dataclass
from functools import cache
from typing import Final

from tubeherd_operator.decisions.autoscale import rule_of
from tubeherd_operator.decisions.autoscale_report import why
from tubeherd_operator.decisions.budget import NO_BUDGET, BudgetPlan, drift_of_budget, plan_budget
from tubeherd_operator.decisions.defaults import DEFAULTS_ANNOTATION, NEWEST, Defaults
from tubeherd_operator.decisions.deployment import EXECUTORS_ANNOTATION, RENDERED_ANNOTATION, build_deployment
from tubeherd_operator.decisions.drift import differences, overrides
from tubeherd_operator.decisions.findings import PoolEvent, Reason
from tubeherd_operator.decisions.kept_defaults import kept_defaults
from tubeherd_operator.decisions.leaving import Leaving, leaving
from tubeherd_operator.decisions.observation import Observation, replicas_so_far
from tubeherd_operator.decisions.repairs import REPLICAS, Repairs
from tubeherd_operator.decisions.replicas import keep_replicas, note_replicas
from tubeherd_operator.decisions.request import Asked, RequestPlan, plan_request
from tubeherd_operator.decisions.retries import tubes_of
from tubeherd_operator.decisions.template import WrongTemplate
from tubeherd_operator.objects import Object, annotations_of

_RECORD: Final = f"metadata.annotations.{DEFAULTS_ANNOTATION}"


@dataclass(frozen=True, slots=True)
class Change:
    """What is done to a Deployment, in the order of the fields, and the Event that reports it afterwards."""

    removals: list[Object]
    """A JSON patch that removes what others have added and overrides the spec; empty if there is nothing."""
    keep_replicas: Object | None
    """What the second field manager applies before the replicas are given up."""
    deployment: Object
    """What is applied."""
    event: PoolEvent | None
    """None if it only notes the defaults that the Deployment has, or only has the number of replicas scaled."""
    repaired: frozenset[str] = frozenset()
    """The fields that are repaired."""
    scaled: PoolEvent | None = None
    """The Event that reports a new number of replicas by autoscaling."""
    leaving: Leaving | None = None
    """The pods of which some are to go. Before the number falls, those that are idle are marked to go first."""

    @property
    def adopts(self) -> bool:
        """Whether it gives the pool a Deployment that has no owner."""
        return self.event is not None and self.event.reason == Reason.ADOPTED


@dataclass(frozen=True, slots=True)
class Plan:
    """What a pass does: first the change, then for the request. Nothing is added to a plan after it is made."""

    wanted: Object | None
    """The Deployment that the pool should have; None if it should have none, or the live one is to be left alone."""
    change: Change | None
    """None if the live Deployment is as it should be, or is to be left alone."""
    budget: BudgetPlan
    request: RequestPlan
    begins: tuple[PoolEvent, ...] = ()
    """If the Deployment is new, the Event that reports it; a further pass is to do the rest."""
    wrong_template: str | None = None
    """What of the pool's template the operator must own, which is why no Deployment is wanted; None if nothing."""


def make_plan(seen: Observation) -> Plan:
    """Return the plan for a pool."""
    pool, wrong_template = seen.pool, None
    try:
        wanted = _wanted(seen)
    except WrongTemplate as error:
        wanted, wrong_template = None, str(error)
    change = _change(seen, wanted) if wanted else None
    is_new = seen.deployment is None
    asked = Asked(pool.requests, tubes_of(pool.spec), pool.server, seen.counts, pool.why_no_server)
    shown = {condition.type: condition for condition in pool.status.conditions or []}
    return Plan(
        wanted=wanted,
        change=change,
        budget=plan_budget(seen, wanted, _useless(seen, wanted)) if wanted and not is_new else NO_BUDGET,
        begins=(change.event,) if is_new and change and change.event else (),
        request=plan_request(asked, pool.status.request, shown, seen.request),
        wrong_template=wrong_template,
    )


def not_as_wanted(wanted: Object, live: Object) -> list[str]:
    """Return the fields of a live Deployment that are not as the pool's spec says."""
    return [*differences(wanted, live), *overrides(wanted, live)]


def repairs_after(seen: Observation, plan: Plan, deployment: Object | None, budget: Object | None) -> Repairs:
    """Return what was repaired of late, this pass included.

    `deployment` and `budget` are what the API server has answered; None if they were not applied.
    """
    repaired: set[str] = set()
    left: list[str] = []
    if plan.change and deployment:
        repaired |= plan.change.repaired
        left += not_as_wanted(plan.change.deployment, deployment)
    if plan.budget.wanted and budget:
        repaired |= plan.budget.repaired
        left += drift_of_budget(plan.budget.wanted, budget)
    if plan.wanted is None:
        return seen.repairs
    return seen.repairs.after(digest_of(plan.wanted), repaired, left, seen.now, _replicas_of(plan.wanted))


def digest_of(wanted: Object) -> str:
    """Return the digest of a Deployment as it was rendered."""
    return str(annotations_of(wanted)[RENDERED_ANNOTATION])


def _wanted(seen: Observation) -> Object | None:
    pool, server = seen.pool, seen.pool.server
    if server is None:
        return None
    if seen.executors_missing and seen.deployment is None:
        return None  # pods cannot start without the ConfigMap, and would be replaced when it is created
    live_digest = _executors_of(seen.deployment)
    digest = live_digest if seen.executors_missing else seen.executors_digest

    @cache  # what is rendered to find the kept defaults is mostly what is wanted too, and is changed only after that
    def render(defaults: Defaults, executors: str | None) -> Object:
        return build_deployment(pool.stored, pool.spec, server, executors, defaults, fixed_user=pool.fixed_user)

    newest = Defaults(NEWEST, pool.default_image)
    defaults = kept_defaults(seen.deployment, lambda defaults: render(defaults, live_digest), newest)
    wanted = render(defaults, digest)
    if seen.declared_replicas is not None:
        wanted["spec"]["replicas"] = seen.declared_replicas
    note_replicas(wanted, pool.spec, seen.deployment)
    return wanted if not seen.deployment_is_foreign or _can_be_adopted(seen, wanted) else None


def _executors_of(live: Object | None) -> str | None:
    """Return the digest of the executors that a Deployment's pods have, and keep while the ConfigMap is missing."""
    annotations: Object = (live or {}).get("spec", {}).get("template", {}).get("metadata", {}).get("annotations", {})
    return annotations.get(EXECUTORS_ANNOTATION)


def _can_be_adopted(seen: Observation, wanted: Object) -> bool:
    """Return whether a Deployment has lost its owner and is otherwise as the pool's spec says.

    So is one whose owner was removed by hand, or whose earlier pool of the same name was deleted without it.
    """
    if seen.deployment is None or seen.deployment_is_controlled:
        return False
    unowned = deepcopy(wanted)
    del unowned["metadata"]["ownerReferences"], unowned["metadata"]["annotations"]
    if seen.scale:
        unowned["spec"].pop("replicas", None)
    return not not_as_wanted(unowned, seen.deployment)


def _change(seen: Observation, wanted: Object) -> Change | None:
    name, live = wanted["metadata"]["name"], seen.deployment
    if live is None:
        return Change([], None, wanted, PoolEvent("Normal", Reason.CREATED, f"Deployment {name} created"))
    fields = set(not_as_wanted(wanted, live)) - _useless(seen, wanted)
    if not fields:
        return None
    scaled = _scaled(seen, live)
    others = fields - {REPLICAS} if scaled else fields
    event = _event(seen, wanted, live, others) if others else None
    return Change(
        removals=_removals(wanted, live, fields),
        keep_replicas=keep_replicas(wanted, live),
        deployment=wanted,
        event=event,
        repaired=frozenset(others if event is None or event.reason == Reason.REPAIRED else ()),
        scaled=scaled,
        leaving=leaving(seen.present_pods, wanted["spec"]["replicas"]) if scaled else None,
    )


def _scaled(seen: Observation, live: Object) -> PoolEvent | None:
    """Return the Event of autoscaling that has another number than before; None if there is no such."""
    rule, scale = rule_of(seen.pool.spec), seen.scale
    if rule is None or scale is None or seen.pool.spec.suspend:
        return None
    before = replicas_so_far(seen.pool, live)
    if scale.replicas == before:
        return None
    return PoolEvent("Normal", Reason.SCALED, f"scaled from {before} to {scale.replicas}: {why(rule, scale)}")


def useless_repairs(wanted: Object, repairs: Repairs, now: float) -> frozenset[str]:
    """Return the fields that are not repaired at the time `now`, in seconds."""
    return repairs.useless(digest_of(wanted), now, _replicas_of(wanted))


def _useless(seen: Observation, wanted: Object) -> frozenset[str]:
    return useless_repairs(wanted, seen.repairs, seen.now)


def _replicas_of(wanted: Object) -> int | None:
    replicas: int | None = wanted["spec"].get("replicas")
    return replicas


def _event(seen: Observation, wanted: Object, live: Object, fields: set[str]) -> PoolEvent | None:
    name = wanted["metadata"]["name"]
    if seen.deployment_is_foreign:
        message = f"Deployment {name} had no owner and is as the pool's spec says: it is the pool's now"
        return PoolEvent("Normal", Reason.ADOPTED, message)
    if annotations_of(live).get(RENDERED_ANNOTATION) != digest_of(wanted):
        return PoolEvent("Normal", Reason.UPDATED, f"Deployment {name} changed as the pool's spec says")
    if fields == {_RECORD}:
        return None
    message = f"Deployment {name} was changed by somebody else; it is again as the pool's spec says"
    return PoolEvent("Warning", Reason.REPAIRED, message)


def _removals(wanted: Object, live: Object, fields: set[str]) -> list[Object]:
    pointers = [pointer for name, pointer in overrides(wanted, live).items() if name in fields]
    if not pointers:
        return []
    version = {"op": "test", "path": "/metadata/resourceVersion", "value": live["metadata"]["resourceVersion"]}
    # From the end, because the entries behind a removed one move up.
    return [version, *({"op": "remove", "path": pointer} for pointer in reversed(pointers))]
