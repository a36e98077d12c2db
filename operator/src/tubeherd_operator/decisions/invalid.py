"""A pool whose stored spec is not valid: it was stored under a laxer CustomResourceDefinition. It is left as it is."""

from dataclasses import dataclass
from typing import Final

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from tubeherd.pool import TEXT_WHY
from tubeherd_operator.decisions.conditions import ready
from tubeherd_operator.decisions.findings import Finding, PoolEvent, stamp
from tubeherd_operator.decisions.news import news
from tubeherd_operator.decisions.status import changes, read_status
from tubeherd_operator.objects import Object

_NAMED: Final = 3
"""How many faults a message names."""
_FAULT_MOST: Final = 200
"""How many characters of each."""


@dataclass(frozen=True, slots=True)
class InvalidReport:
    """What is written of such a pool."""

    status: Object
    """The merge patch of the status; empty if it says so already."""
    events: list[PoolEvent]


def report_invalid(stored: Object, error: ValidationError, now: str) -> InvalidReport:
    """Return the report on a pool; `now` is the time for a condition that changes, in RFC 3339."""
    status = read_status(stored)
    shown = {condition.type: condition for condition in status.conditions or []}
    finding = Finding(ready.TYPE, "False", ready.Reason.INVALID_SPEC, _message(stored, error), event="Warning")
    condition = stamp(finding, shown.get(finding.type), stored["metadata"]["generation"], now)
    status = status.model_copy(update={"conditions": [*(shown | {finding.type: condition}).values()]})
    return InvalidReport(changes(status, stored), news([finding], shown))


def _message(stored: Object, error: ValidationError) -> str:
    # Without the values: an environment variable of the pool may be a secret.
    faults = error.errors(include_url=False, include_input=False)
    named = [f"{_path(fault['loc'])}: {_why(fault)}" for fault in faults[:_NAMED]]
    more = [f"and {len(faults) - _NAMED} more"] if len(faults) > _NAMED else []
    return (
        f"the stored spec is not valid: {'; '.join([*named, *more])}; until it is corrected, the Deployment stays as "
        f"it is, and no job is counted, kicked or discarded: kubectl edit workerpool {stored['metadata']['name']}"
    )


def _why(fault: ErrorDetails) -> str:
    why = TEXT_WHY.get(fault.get("ctx", {}).get("pattern", ""), fault["msg"])
    return why.removeprefix("Value error, ")[:_FAULT_MOST]


def _path(steps: tuple[int | str, ...]) -> str:
    """Return a field as kubectl writes it, such as spec.retry.delays[0]."""
    return "spec" + "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps)
