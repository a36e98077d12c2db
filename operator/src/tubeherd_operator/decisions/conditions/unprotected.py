"""Unprotected: whether no PodDisruptionBudget bounds the evictions of a pool's pods, though it should have one."""

from enum import StrEnum
from typing import Final

from tubeherd_operator.decisions.budget import has_foreign_budget
from tubeherd_operator.decisions.findings import Finding
from tubeherd_operator.decisions.observation import Observation
from tubeherd_operator.objects import POOL_LABEL

TYPE: Final = "Unprotected"


class Reason(StrEnum):
    """Why there is none."""

    FOREIGN_BUDGET = "ForeignBudget"
    BUDGET_REFUSED = "BudgetRefused"


def judge(seen: Observation) -> Finding | None:
    """Return the condition; None if evictions are bounded, or need not be."""
    name = seen.pool.key.name
    if seen.budget_refusal:
        message = (
            f"the API server refuses the pool's PodDisruptionBudget {name}, so nothing bounds how many of its pods are "
            f"evicted at a time: {seen.budget_refusal}; remove what refuses it, such as a quota or an admission "
            "webhook; it is tried again every minute"
        )
        return Finding(TYPE, "True", Reason.BUDGET_REFUSED, message, event="Warning")
    if seen.deployment is None or seen.deployment_is_foreign or not has_foreign_budget(seen, seen.deployment):
        return None
    message = (
        f"a PodDisruptionBudget {name} exists that is not this pool's and does not select its pods: it is left alone, "
        f"and nothing bounds how many pods are evicted at a time; delete it, or have it select {POOL_LABEL}={name}"
    )
    return Finding(TYPE, "True", Reason.FOREIGN_BUDGET, message, event="Warning")
