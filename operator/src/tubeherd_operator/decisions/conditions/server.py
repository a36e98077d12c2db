"""ServerReachable: whether the operator can count the jobs of the pool's beanstalkd."""

from enum import StrEnum
from typing import Final

from tubeherd_operator.decisions.findings import Finding
from tubeherd_operator.decisions.observation import Observation

TYPE: Final = "ServerReachable"


class Reason(StrEnum):
    """What beanstalkd last answered."""

    NO_SERVER = "NoServer"
    NOT_ASKED_YET = "NotAskedYet"
    REACHABLE = "Reachable"
    UNREACHABLE = "Unreachable"


def judge(seen: Observation) -> Finding:
    """Return the condition."""
    if seen.pool.server is None:
        return Finding(TYPE, "Unknown", Reason.NO_SERVER, f"{seen.pool.why_no_server}: set spec.server")
    if seen.counts is None:
        return Finding(TYPE, "Unknown", Reason.NOT_ASKED_YET, f"{seen.pool.server} has not been asked yet")
    if seen.counts.error:
        return Finding(TYPE, "False", Reason.UNREACHABLE, _unreachable(seen, seen.counts.error), event="Warning")
    return Finding(TYPE, "True", Reason.REACHABLE, f"{seen.pool.server} answers", event="Normal")


def _unreachable(seen: Observation, error: str) -> str:
    counts = "the counts in the status are the last known"
    if not seen.has_counts_of_this_server:
        counts = "its jobs have not been counted yet"
    named = "spec.server" if seen.pool.spec.server else "the value `server` of the Helm chart"
    return (
        f"{error}; {counts}; check that it runs, that {named} names it, and that no NetworkPolicy keeps the operator "
        "from it"
    )
