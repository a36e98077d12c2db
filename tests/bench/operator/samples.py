"""How soon a burial shows in the status of the pools that serve its tube, and how soon a kick makes the job ready."""

import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from itertools import count
from random import Random
from typing import Final

from tests.bench.operator.api import MERGE
from tests.bench.operator.fleet import POOLS, Size
from tests.bench.operator.installation import Installation
from tests.bench.operator.watching import Object, Watching
from tests.support.waiting import wait_for
from tubeherd.manager import QueueManager

_LOOK_SECONDS: Final = 0.02
_numbers: Final = count()


@dataclass
class Times:
    """What was timed, in seconds."""

    burials: list[float] = field(default_factory=list)
    """From the burial until the status of one of the tube's pools shows it."""
    last_burials: list[float] = field(default_factory=list)
    """From the burial until the status of every one of the tube's pools shows it."""
    kicks: list[float] = field(default_factory=list)
    """From the request that annotates a pool until the job is ready."""


def burials_and_kicks(installed: Installation, size: Size) -> Times:
    """Bury a job and kick it, again and again, each time in another tube and in one of its pools chosen by chance.

    The next job is buried when all pools show that none is: otherwise a burial would wait for the writes after a kick.
    """
    times, chance = Times(), Random(1)  # noqa: S311 - no secret depends on it
    with Watching.collection(POOLS) as pools:
        pools.until_all(size.names, bool)
        for number in range(size.samples):
            tube = size.all_tubes[number * 7 % len(size.all_tubes)]
            serving = sorted(size.serve(tube))
            pool = chance.choice(serving)
            time.sleep(chance.uniform(0, 1))  # the operator looks in intervals: any part of one is as likely
            began = bury(installed, tube)
            shown = pools.until_all(serving, shows(tube))
            times.burials.append(shown[pool] - began)
            times.last_burials.append(max(shown.values()) - began)
            time.sleep(chance.uniform(0, 1))
            times.kicks.append(kick(installed, pool, tube))
            pools.until_all(serving, shows_none(tube))
    return times


def bury(installed: Installation, tube: str) -> float:
    """Bury a job with a reason, and return the monotonic time."""
    with QueueManager(installed.queue.server, tube) as queue:
        queue.put(tube, {})
        if (job := queue.get(timeout=5)) is None:
            raise RuntimeError("the job that was put is not ready")
        queue.bury(job, f"reason number {next(_numbers)}")
        return time.monotonic()


def shows(tube: str) -> Callable[[Object], bool]:
    """Return whether a pool's status says that a job of the tube is buried."""

    def holds(item: Object) -> bool:
        tubes = item.get("status", {}).get("tubes", [])
        return any(each["name"] == tube and each["buried"] for each in tubes)

    return holds


def shows_none(tube: str) -> Callable[[Object], bool]:
    """Return whether a pool's status says that no job of the tube is buried."""
    buried = shows(tube)
    return lambda item: not buried(item)


def kick(installed: Installation, pool: str, tube: str) -> float:
    """Kick the job that is buried in a tube, and delete it; return the seconds until it was ready."""
    with closing(installed.queue.client()) as client:
        client.watch(tube)
        patch = {"metadata": {"annotations": {"kick": f"{tube}:1"}}}
        began = time.monotonic()
        installed.api("PATCH", f"{POOLS}/{pool}", patch, MERGE)
        job = client.reserve(timeout=120)
        seconds = time.monotonic() - began
        client.delete(job)
    wait_for(lambda: _is_done(installed.api("GET", f"{POOLS}/{pool}")), "the kick is done", pause=_LOOK_SECONDS)
    return seconds


def _is_done(pool: Object) -> bool:
    return "kick" not in pool["metadata"].get("annotations", {}) and "request" not in pool["status"]
