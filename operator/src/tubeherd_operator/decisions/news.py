"""Which changes of a pool's conditions are reported by an Event."""

from collections.abc import Iterable, Mapping

from tubeherd_operator.decisions.findings import Finding, PoolEvent
from tubeherd_operator.decisions.status import Condition


def news(findings: Iterable[Finding], shown: Mapping[str, Condition]) -> list[PoolEvent]:
    """Return an Event for each trouble that has just begun, and for each that is over, if its condition says so.

    `shown` are the conditions of the status, by type. Kicks and discards have Events of their own.
    """
    events = [_event(finding, shown.get(finding.type)) for finding in findings]
    return [event for event in events if event]


def _event(finding: Finding, before: Condition | None) -> PoolEvent | None:
    if finding.event is None or (before and (before.status, before.reason) == (finding.status, finding.reason)):
        return None
    if finding.event == "Normal" and (before is None or before.status != "False"):
        return None
    return PoolEvent(finding.event, finding.reason, finding.message)
