"""Decides what one pass does with a pool: which Deployment it applies, and which kick it carries out.

A pass reconciles one pool. A kick makes buried jobs ready again, as the pool's annotation `kick` asks for.
"""

from dataclasses import dataclass

from tubeherd_operator.decisions.deployment import RENDERED_ANNOTATION, build_deployment
from tubeherd_operator.decisions.drift import differs
from tubeherd_operator.decisions.findings import PoolEvent, Reason
from tubeherd_operator.decisions.kick import Due, Outcome, decide
from tubeherd_operator.decisions.observation import Observation
from tubeherd_operator.objects import Object


@dataclass(frozen=True, slots=True)
class Change:
    """A Deployment to apply, and the Event that reports it afterwards."""

    deployment: Object
    event: PoolEvent


@dataclass(frozen=True, slots=True)
class Plan:
    """What a pass does: first the change, then the kick. Nothing is added to a plan after it is made."""

    change: Change | None
    """None if the live Deployment is as it should be, or is to be left alone."""
    kick: Due | Outcome | None
    """A `Due` is a kick to carry out now. An `Outcome` is only reported. None: no kick is asked for."""


def make_plan(seen: Observation) -> Plan:
    """Return the plan for a pool."""
    pool = seen.pool
    return Plan(
        change=_change(seen),
        kick=decide(pool.kick_request, pool.spec.tubes, pool.server, seen.counts, seen.kick_before),
    )


def _change(seen: Observation) -> Change | None:
    pool = seen.pool
    if pool.server is None or seen.deployment_is_foreign:
        return None
    if seen.executors_missing and seen.deployment is None:
        return None  # pods cannot start without the ConfigMap, and would be replaced when it is created
    wanted = build_deployment(pool.stored, pool.spec, pool.image, pool.server, seen.executors_digest)
    event = _difference(seen.deployment, wanted)
    return Change(wanted, event) if event else None


def _difference(live: Object | None, wanted: Object) -> PoolEvent | None:
    """Return the Event that reports why the Deployment is applied; None if the live one is as it should be."""
    name = wanted["metadata"]["name"]
    if live is None:
        return PoolEvent("Normal", Reason.CREATED, f"Deployment {name} created")
    rendered = live["metadata"].get("annotations", {}).get(RENDERED_ANNOTATION)
    if rendered != wanted["metadata"]["annotations"][RENDERED_ANNOTATION]:
        return PoolEvent("Normal", Reason.UPDATED, f"Deployment {name} changed as the pool's spec says")
    if differs(wanted, live):
        message = f"Deployment {name} was changed by somebody else; it is again as the pool's spec says"
        return PoolEvent("Warning", Reason.REPAIRED, message)
    return None
