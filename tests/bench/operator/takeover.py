"""How soon another operator acts when the leader is lost, and what it writes then."""

import time
from collections.abc import Callable
from typing import Final, NamedTuple

from tests.bench.operator.audit import Audit, settle
from tests.bench.operator.fleet import POOLS, Fleet
from tests.bench.operator.installation import Installation
from tests.bench.operator.progress import say, step
from tests.bench.operator.samples import bury, shows
from tests.bench.operator.watching import Watching
from tests.bench.report import figure
from tests.support.operator_processes import cut_off, kill
from tests.support.waiting import wait_for
from tubeherd_operator.decisions.counts import COUNTS_SECONDS

_WAYS: Final[tuple[tuple[str, Callable[[str], None], int], ...]] = (("kill -9", kill, 3), ("network cut", cut_off, 1))
"""How the leader is lost, and how often."""
_SETTLE_SECONDS: Final = 60.0


class _Takeover(NamedTuple):
    """Times in seconds."""

    lease: float
    """From the loss of the leader to another's Lease."""
    shown: float
    """From then until every pool of the tube shows a new burial."""
    writes: int
    """How often the new leader has written to pools that did not change, or to their Deployments."""
    changed: int
    """How many pools that did not change have another resourceVersion."""


def measure(installed: Installation, fleet: Fleet) -> list[list[str]]:
    """Lose the leader in each way, a few times."""
    tubes = iter(fleet.size.all_tubes)
    lines = []
    with step(f"{fleet.size.words}: waiting until they show the last counts"):
        settle(COUNTS_SECONDS + _SETTLE_SECONDS, quiet_seconds=COUNTS_SECONDS + 1)
    for words, lose, times in _WAYS:
        with step(f"{fleet.size.words}: {words} of the leader, {times} times"):
            found = [_lose(installed, fleet, lose, next(tubes)) for _ in range(times)]
        lines += _lines(f"{fleet.size.words}, {words}", found)
    return lines


def _lines(what: str, found: list[_Takeover]) -> list[list[str]]:
    leases, shown = [each.lease for each in found], [each.shown for each in found]
    writes, changed = [each.writes for each in found], [each.changed for each in found]
    return [
        figure(f"{what}: leader lost to another's Lease", leases, "s", most=15, judged=max),
        figure(
            f"{what}: from then to a new burial in the status of all pools of its tube", shown, "s", most=5, judged=max
        ),
        figure(f"{what}: writes for pools without a change", writes, "requests", most=0, judged=max),
        figure(f"{what}: pools without a change that have a new version", changed, "pools", most=0, judged=max),
    ]


def _lose(installed: Installation, fleet: Fleet, lose: Callable[[str], None], tube: str) -> _Takeover:
    """Lose the leader while a job of this tube is buried."""
    pod, holder, serving = installed.leader(), installed.holder(), fleet.size.serve(tube)
    with Watching.collection(POOLS) as pools:
        pools.until_all(fleet.size.names, bool)
        before, audit = fleet.versions(), Audit()
        began = time.monotonic()
        lose(pod)
        bury(installed, tube)
        wait_for(lambda: installed.holder() not in ("", holder), "another operator leads", pause=0.05)
        leads = time.monotonic()
        shown = max(pools.until_all(serving, shows(tube)).values())
    installed.operator.replace(pod)
    settle(COUNTS_SECONDS + _SETTLE_SECONDS, quiet_seconds=COUNTS_SECONDS + 1)  # counts may be written that late
    after = fleet.versions()
    others = set(fleet.size.names) - serving
    writes = sum(request.is_write and request.name in others for request in audit.requests())
    changed = sum(before[name] != after[name] for name in others)
    found = _Takeover(leads - began, max(0.0, shown - leads), writes, changed)
    say(str(found))
    return found
