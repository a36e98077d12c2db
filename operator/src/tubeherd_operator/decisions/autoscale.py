"""Decides how many replicas, which are pods, a pool has whose spec says `autoscale`.

The counts of the pool's tubes are looked at several times a second. Each look wants a number of replicas. The pool has
the highest number that was wanted within the delay: so it rises at once, and falls only after the delay.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple

from tubeherd.formats.durations import parse_duration
from tubeherd.pool import SCALE_DOWN_DELAY, WorkerPoolSpec
from tubeherd.queue.answers import TubeStats
from tubeherd.settings import WorkerSettings

_DELAY_MOST: Final = 86400.0
_FALLS_A_DELAY: Final = 10
"""How often the number may fall within one delay: each fall is a request, an Event, and pods that are asked."""
_MEMORY_LEAST: Final = 60.0
_WAITS_REMEMBERED: Final = 4
"""For how many times the wait it is remembered how long jobs take, so that those longer than the wait show as such."""
_DEFAULTS: Final = WorkerSettings()


class Moment(NamedTuple):
    """A time by two clocks, in seconds."""

    clock: float
    """On the monotonic clock, which delays are measured by."""
    time: float
    """Since 1970, which users are shown."""


_NEVER: Final = Moment(-math.inf, -math.inf)


@dataclass(frozen=True, slots=True)
class Rule:
    """What a spec says of autoscaling; times in seconds."""

    least: int
    most: int
    at_a_time: int
    """How many jobs one replica executes at a time."""
    delay: float
    jobs_per_replica: int | None = None
    target_wait: float | None = None
    """If it is None, `jobs_per_replica` is not."""

    def bounded(self, replicas: int) -> int:
        """Return the nearest number that the bounds allow."""
        return min(max(replicas, self.least), self.most)


def rule_of(spec: WorkerPoolSpec) -> Rule | None:
    """Return what a spec says of autoscaling; None if the number of replicas is not the operator's."""
    autoscale = spec.autoscale
    if autoscale is None:
        return None
    settings = spec.worker_settings()
    return Rule(
        least=autoscale.min_replicas or 0,
        most=autoscale.max_replicas,
        at_a_time=settings.get("concurrency", _DEFAULTS.concurrency)
        * settings.get("async_concurrency", _DEFAULTS.async_concurrency),
        delay=min(parse_duration(autoscale.scale_down_delay or SCALE_DOWN_DELAY), _DELAY_MOST),
        jobs_per_replica=autoscale.jobs_per_replica,
        target_wait=None if autoscale.target_wait is None else parse_duration(autoscale.target_wait),
    )


class Pace(NamedTuple):
    """How long the jobs of a tube take, by what was seen of them. What is older counts less."""

    busy: float = 0.0
    """How long jobs were executed, all of them together, in seconds."""
    ended: float = 0.0
    """How many executions ended."""
    running: float = 0.0
    """How many jobs were executed at a time of late."""

    @property
    def seconds(self) -> float:
        """How long a job takes; 0 if none was seen yet. Those that run count half, as they are halfway on average."""
        jobs = self.ended + self.running / 2
        return self.busy / jobs if jobs else 0.0

    def after(self, before: TubeStats, now: TubeStats, seconds: float, memory: float) -> "Pace":
        """Return the pace after two looks, so many seconds apart; `memory` is for how many a look counts."""
        running = (before.reserved + now.reserved) / 2
        ended = _ended(before, now)
        if not running and not ended:
            return self  # an idle tube does not show how long its jobs take
        kept = math.exp(-seconds / memory)
        return Pace(self.busy * kept + running * seconds, self.ended * kept + ended, running)


def _ended(before: TubeStats, now: TubeStats) -> int:
    """Return how many executions have ended at least: by a delete, a burial, or a release with a delay."""
    # A discard deletes buried jobs. After a restart of beanstalkd it counts anew.
    deleted = max(0, now.deleted - before.deleted - max(0, before.buried - now.buried))
    buried = max(0, now.buried - before.buried)
    released = max(0, now.delayed - before.delayed - max(0, now.put - before.put))
    return deleted + buried + released


class Demand(NamedTuple):
    """What one look at a pool's tubes wants."""

    replicas: int
    """Whatever the bounds are."""
    ready: int
    reserved: int
    seconds: float | None = None
    """How long a job takes; None if that does not matter, or is not known."""


def demand_of(rule: Rule, tubes: Mapping[str, TubeStats], paces: Mapping[str, Pace]) -> Demand:
    """Return what the jobs in these tubes want.

    Delayed jobs want nothing until their time has come, and buried ones until they are kicked.
    """
    ready, reserved = (sum(getattr(stats, state) for stats in tubes.values()) for state in ("ready", "reserved"))
    if rule.jobs_per_replica is not None:
        return Demand(-(-(ready + reserved) // rule.jobs_per_replica), ready, reserved)
    taken = {name: paces.get(name, Pace()).seconds for name in tubes}
    places = sum(_places(stats, taken[name], rule.target_wait or 0.0) for name, stats in tubes.items())
    jobs = ready + reserved
    seconds = sum((stats.ready + stats.reserved) * taken[name] for name, stats in tubes.items()) / jobs if jobs else 0.0
    replicas = max(math.ceil(places / rule.at_a_time), 1 if jobs else 0)
    return Demand(replicas, ready, reserved, seconds or None)


def _places(stats: TubeStats, seconds: float, wait: float) -> float:
    """Return how many jobs of a tube have to be executed at a time, so that each begins within `wait`.

    Never more than there are jobs. If it is not known how long they take, as many as are executed already.
    """
    return max(stats.reserved, (stats.ready + stats.reserved) * min(1.0, seconds / wait if wait else 1.0))


@dataclass(frozen=True, slots=True)
class Scale:
    """How many replicas a pool is to have, and why."""

    replicas: int
    demand: Demand | None = None
    """None if its jobs are not known: the number is kept."""
    falls_to: int | None = None
    """To which number it falls next if no higher one is wanted until then; None if it does not."""
    falls_at: int | None = None
    """When it does, in seconds since 1970."""


class _Wanted(NamedTuple):
    replicas: int
    last: Moment
    """When it was last wanted."""


@dataclass(frozen=True, slots=True)
class Scaling:
    """The autoscaling of one pool, from look to look."""

    rule: Rule
    replicas: int
    """How many replicas it has to have."""
    wanted: tuple[_Wanted, ...]
    """The numbers that were wanted within the delay, the present one last: each is higher than those after it."""
    fell: Moment = _NEVER
    """When the number last fell."""
    demand: Demand | None = None
    tubes: Mapping[str, TubeStats] = field(default_factory=dict)
    """What was counted at the last look; empty if that failed."""
    at: Moment = _NEVER
    paces: Mapping[str, Pace] = field(default_factory=dict)

    def after(self, tubes: Mapping[str, TubeStats] | None, now: Moment) -> "Scaling":
        """Return the scaling after another look; None: beanstalkd did not answer, so nothing may fall."""
        if tubes is None:
            return replace(self._wanting(self.replicas, now), demand=None, tubes={}, at=now)
        paces = self._paces(tubes, now) if self.rule.target_wait is not None else {}
        demand = demand_of(self.rule, tubes, paces)
        wanting = self._wanting(self.rule.bounded(demand.replicas), now)
        return replace(wanting, demand=demand, tubes=tubes, at=now, paces=paces)

    @property
    def scale(self) -> Scale:
        """What the pool is to have now."""
        next_lower = next((each.replicas for each in self.wanted if each.replicas < self.replicas), None)
        if next_lower is None:
            return Scale(self.replicas, self.demand)
        highest = self.wanted[0]
        falls_at = highest.last.time + self.rule.delay
        if highest.replicas < self.replicas:
            falls_at = self.fell.time + self.rule.delay / _FALLS_A_DELAY
        return Scale(self.replicas, self.demand, next_lower, int(falls_at))

    def _wanting(self, number: int, now: Moment) -> "Scaling":
        higher = [
            each for each in self.wanted if each.replicas > number and now.clock - each.last.clock < self.rule.delay
        ]
        wanted = (*higher, _Wanted(number, now))
        replicas = wanted[0].replicas
        if replicas >= self.replicas:
            return replace(self, replicas=replicas, wanted=wanted)
        if now.clock - self.fell.clock < self.rule.delay / _FALLS_A_DELAY:
            return replace(self, wanted=wanted)
        return replace(self, replicas=replicas, wanted=wanted, fell=now)

    def _paces(self, tubes: Mapping[str, TubeStats], now: Moment) -> dict[str, Pace]:
        memory = max(_MEMORY_LEAST, _WAITS_REMEMBERED * (self.rule.target_wait or 0.0))
        seconds = now.clock - self.at.clock
        known = {name: self.paces.get(name, Pace()) for name in tubes}
        return known | {
            name: known[name].after(before, tubes[name], seconds, memory)
            for name, before in self.tubes.items()
            if name in tubes
        }


def begin(rule: Rule, replicas: int, now: Moment) -> Scaling:
    """Return the scaling of a pool that has so many replicas: it keeps them for the delay, so far as bounds allow."""
    bounded = rule.bounded(replicas)
    return Scaling(rule, bounded, (_Wanted(bounded, now),))
