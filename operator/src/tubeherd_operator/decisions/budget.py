"""The PodDisruptionBudget of a pool: whoever drains nodes may evict one of its pods at a time.

Kubernetes evicts no pod that two budgets select, so that a drain would never end. If somebody else's budget selects the
pods of a pool, the pool therefore has none of its own.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from tubeherd_operator.decisions.defaults import ADDITIONS
from tubeherd_operator.decisions.deployment import labels_of, owner_reference, selector_labels
from tubeherd_operator.decisions.drift import differences
from tubeherd_operator.decisions.findings import PoolEvent, Reason
from tubeherd_operator.decisions.kept_defaults import recorded
from tubeherd_operator.decisions.observation import Observation
from tubeherd_operator.objects import Object, controller_of

KIND: Final = "PodDisruptionBudget"


@dataclass(frozen=True, slots=True)
class BudgetPlan:
    """What is done to the budget of a pool."""

    wanted: Object | None = None
    """The budget that the pool should have; None if it should have none, or somebody else's is to be left alone."""
    is_applied: bool = False
    repaired: frozenset[str] = frozenset()
    """The fields that are repaired."""
    removed: Object | None = None
    """The budget that is deleted."""
    event: PoolEvent | None = None
    """What reports the deletion."""


NO_BUDGET: Final = BudgetPlan()


def build_budget(pool: Object) -> Object:
    """Return the budget of a pool."""
    name = pool["metadata"]["name"]
    return {
        "apiVersion": "policy/v1",
        "kind": KIND,
        "metadata": {
            "name": name,
            "namespace": pool["metadata"]["namespace"],
            "labels": labels_of(name),
            "ownerReferences": [owner_reference(pool)],
        },
        "spec": {
            "maxUnavailable": 1,
            "selector": {"matchLabels": selector_labels(name)},
            # A worker that cannot connect has no job to lose, and is not to hold up the drain of its node.
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
        },
    }


def plan_budget(seen: Observation, deployment: Object, useless: frozenset[str]) -> BudgetPlan:
    """Return what is done to the budget of a pool whose Deployment is to be `deployment`.

    `useless` are the fields whose repair is no use.
    """
    live, other = budget_of(seen), _other(seen, deployment)
    if other or not _has_budget(deployment):
        return BudgetPlan(removed=live, event=_removal(other) if other else None) if live else NO_BUDGET
    if has_foreign_budget(seen, deployment):
        return NO_BUDGET
    wanted = build_budget(seen.pool.stored)
    if live is None:
        return BudgetPlan(wanted, is_applied=True)
    repaired = frozenset(drift_of_budget(wanted, live)) - useless
    return BudgetPlan(wanted, is_applied=bool(repaired), repaired=repaired)


def budget_of(seen: Observation) -> Object | None:
    """Return the pool's own budget: the one of its name, if it belongs to the pool or has only lost its owner."""
    named = _named(seen)
    if named is None or controller_of(named) == seen.pool.uid:
        return named
    unowned = build_budget(seen.pool.stored)
    del unowned["metadata"]["ownerReferences"]
    return named if controller_of(named) is None and not differences(unowned, named) else None


def has_foreign_budget(seen: Observation, deployment: Object) -> bool:
    """Return whether a pool has no budget because somebody else's has its name, which selects other pods."""
    if _named(seen) is None or budget_of(seen) or not _has_budget(deployment):
        return False
    return _other(seen, deployment) is None


def drift_of_budget(wanted: Object, live: Object) -> list[str]:
    """Return the fields of a live budget that are not as they should be."""
    return [f"{KIND}.{field}" for field in differences(wanted, live)]


def selects(budget: Object, labels: Mapping[str, str]) -> bool:
    """Return whether a budget is for pods with these labels."""
    selector = budget.get("spec", {}).get("selector")
    if selector is None:
        return False
    expressions = selector.get("matchExpressions", [])
    return selector.get("matchLabels", {}).items() <= labels.items() and all(
        _holds(each, labels) for each in expressions
    )


def _other(seen: Observation, deployment: Object) -> Object | None:
    """Return somebody else's budget that selects the pool's pods."""
    own, labels = budget_of(seen), deployment["spec"]["template"]["metadata"]["labels"]
    return next((each for each in seen.budgets if each is not own and selects(each, labels)), None)


def _has_budget(deployment: Object) -> bool:
    record = recorded(deployment)
    return record is not None and ADDITIONS[record.version].has_budget


def _holds(expression: Object, labels: Mapping[str, str]) -> bool:
    value = labels.get(expression["key"])
    match expression["operator"]:
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
        case "In":
            return value in expression["values"]
        case _:
            return value not in expression["values"]


def _named(seen: Observation) -> Object | None:
    return next((each for each in seen.budgets if each["metadata"]["name"] == seen.pool.key.name), None)


def _removal(other: Object) -> PoolEvent:
    name = other["metadata"]["name"]
    message = f"the pool's {KIND} is removed, because {KIND} {name} selects its pods too"
    return PoolEvent("Normal", Reason.BUDGET_REMOVED, message)
