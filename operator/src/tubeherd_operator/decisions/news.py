"""Which changes of a pool's conditions are reported by an Event."""

from collections.abc import Iterable, Mapping
from typing import Final

from tubeherd_operator.decisions.findings import ConditionType, Finding, PoolEvent, Reason
from tubeherd_operator.decisions.status import Condition

_NO_TROUBLE: Final = (Reason.STARTING, Reason.SUSPENDED)
_REPORTED_ELSEWHERE: Final = (Reason.SERVER_UNREACHABLE, Reason.CONFLICT)
"""The conditions ServerReachable and Conflict have Events of their own."""


def news(findings: Iterable[Finding], shown: Mapping[str, Condition]) -> list[PoolEvent]:
    """Return an Event for each trouble that has just begun, and for a server that is back.

    `shown` are the conditions of the status, by type. Kicks have Events of their own.
    """
    events = [_event(finding, shown.get(finding.type)) for finding in findings]
    return [event for event in events if event]


def _event(finding: Finding, before: Condition | None) -> PoolEvent | None:
    if before and (before.status, before.reason) == (finding.status, finding.reason):
        return None
    if _is_trouble(finding):
        return PoolEvent("Warning", finding.reason, finding.message)
    was_away = finding.type == ConditionType.SERVER_REACHABLE and before is not None and before.status == "False"
    if was_away and finding.status == "True":
        return PoolEvent("Normal", Reason.SERVER_REACHABLE, finding.message)
    return None


def _is_trouble(finding: Finding) -> bool:
    if finding.type == ConditionType.READY:
        return finding.status == "False" and finding.reason not in _NO_TROUBLE + _REPORTED_ELSEWHERE
    if finding.type in (ConditionType.CONFLICT, ConditionType.RETRIES_DIFFER):
        return finding.status == "True"
    return finding.type == ConditionType.SERVER_REACHABLE and finding.status == "False"
