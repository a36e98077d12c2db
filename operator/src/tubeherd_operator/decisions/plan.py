"""Decides, from what is seen of a pool, what is to be done. Pure: no clock, no network."""

from dataclasses import dataclass, field
from typing import Final, NamedTuple

from tubeherd_operator.decisions.conditions import (
    CONFLICT,
    KICK_ACCEPTED,
    READY,
    SERVER_REACHABLE,
    WAITING,
    Condition,
    is_ours,
)
from tubeherd_operator.decisions.deployment import RENDERED_ANNOTATION, build_deployment
from tubeherd_operator.decisions.drift import differs
from tubeherd_operator.decisions.kick import ANNOTATION, BadKick, Kick, parse_kick
from tubeherd_operator.decisions.observation import Observation
from tubeherd_operator.decisions.report import build_status
from tubeherd_operator.objects import Object

_RECHECK_SECONDS: Final = 20.0
"""How often what sends no events is looked at: foreign Deployments and ConfigMaps."""
_MISSING_SECONDS: Final = 2.0
"""How often a ConfigMap that is missing is looked for."""


class Event(NamedTuple):
    """Something that a user of the pool must know."""

    type: str
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What one pass does, in this order."""

    deployment: Object | None = None
    """To apply; None where the live one is as it should be."""
    kick: Kick | None = None
    kick_value: str | None = None
    """The annotation's value, to be removed once it was dealt with."""
    remove_kick: bool = False
    """Whether the annotation goes although nothing is kicked."""
    events: list[Event] = field(default_factory=list)
    status: Object = field(default_factory=dict)
    again_after: float | None = None


def make_plan(seen: Observation, now: str) -> Plan:
    """Return the plan for a pool; `now` is the time for conditions that change, in RFC 3339."""
    deployment, event = _deployment(seen)
    value = seen.pool["metadata"].get("annotations", {}).get(ANNOTATION)
    kick, condition, remove = _kick(seen, value)
    status = build_status(seen, condition, now)
    return Plan(
        deployment=deployment,
        kick=kick,
        kick_value=value,
        remove_kick=remove,
        events=[*([event] if event else []), *_bad_kick(condition, remove), *_news(seen, status)],
        status=status,
        again_after=_again_after(seen),
    )


def _again_after(seen: Observation) -> float | None:
    if seen.executors_missing:
        return _MISSING_SECONDS
    return _RECHECK_SECONDS if seen.spec.executors or not is_ours(seen) else None


def _deployment(seen: Observation) -> tuple[Object | None, Event | None]:
    if seen.server is None or not is_ours(seen):
        return None, None
    if seen.executors_missing and seen.deployment is None:
        return None, None  # pods could not start, and would be replaced as soon as there is code to run
    name = seen.pool["metadata"]["name"]
    wanted = build_deployment(seen.pool, seen.spec, seen.image, seen.server, seen.executors_digest)
    if seen.deployment is None:
        return wanted, Event("Normal", "Created", f"Deployment {name} created")
    annotations = seen.deployment["metadata"].get("annotations", {})
    if annotations.get(RENDERED_ANNOTATION) != wanted["metadata"]["annotations"][RENDERED_ANNOTATION]:
        return wanted, Event("Normal", "Updated", f"Deployment {name} changed as the pool's spec says")
    if differs(wanted, seen.deployment):
        message = f"Deployment {name} was changed by somebody else; it is again as the pool's spec says"
        return wanted, Event("Warning", "Repaired", message)
    return None, None


def _kick(seen: Observation, value: str | None) -> tuple[Kick | None, Condition | None, bool]:
    """Return what to kick, or the condition that says why not, and whether the annotation goes."""
    if value is None:
        return None, None, False
    try:
        kick = parse_kick(value, seen.spec.tubes)
    except BadKick as error:
        return None, Condition(KICK_ACCEPTED, "False", "BadKick", f"{error}; nothing was kicked"), True
    if seen.server and seen.counts is None:
        return None, None, False  # the server is about to be asked, which brings the next pass
    if seen.counts is None or seen.counts.error:
        why = "no beanstalkd is named" if seen.server is None else f"{seen.server} is out of reach"
        message = f"kick={value} waits: {why}; it is done as soon as beanstalkd answers"
        return None, Condition(KICK_ACCEPTED, "False", WAITING, message), False
    return kick, None, False


def _bad_kick(condition: Condition | None, remove: bool) -> list[Event]:
    """Return the event for a bad kick: each is one, also when the one before was bad too."""
    return [Event("Warning", condition.reason, condition.message)] if condition and remove else []


def _news(seen: Observation, status: Object) -> list[Event]:
    """Return an event for each condition that has just become or ceased to be a trouble."""
    before = {entry["type"]: entry for entry in seen.pool.get("status", {}).get("conditions", [])}
    events = []
    for entry in status["conditions"]:
        old = before.get(entry["type"], {})
        if (old.get("status"), old.get("reason")) == (entry["status"], entry["reason"]):
            continue
        if _is_trouble(entry):
            events.append(Event("Warning", entry["reason"], entry["message"]))
        elif entry["type"] == SERVER_REACHABLE and old.get("status") == "False" and entry["status"] == "True":
            events.append(Event("Normal", "ServerReachable", entry["message"]))
    return events


def _is_trouble(entry: Object) -> bool:
    if entry["type"] == READY:
        # The conditions of the server and of a conflict have events of their own.
        return entry["status"] == "False" and entry["reason"] not in (
            "Starting",
            "Suspended",
            "ServerUnreachable",
            "Conflict",
        )
    if entry["type"] == CONFLICT:
        return bool(entry["status"] == "True")
    if entry["type"] == KICK_ACCEPTED:
        return bool(entry["reason"] == WAITING)
    return bool(entry["status"] == "False")
