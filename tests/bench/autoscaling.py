"""Simulate a pool under the operator's autoscaling and under KEDA's, with the same jobs, and write docs/autoscaling.md.

    python -m tests.bench.autoscaling           # writes the table of the page, which a unit test compares
    python -m tests.bench.autoscaling --seed 2  # prints what other random jobs give

No clock is read, so the same seed always gives the same table. Times are in seconds.
"""

import argparse
import heapq
import math
import random
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from statistics import mean, quantiles
from typing import Final, NamedTuple, Protocol

from tests.bench import report
from tests.support.project import ROOT
from tubeherd.queue.answers import TubeStats
from tubeherd_operator.decisions.autoscale import Moment, Rule, begin

PAGE: Final = ROOT / "docs" / "autoscaling.md"
COMMAND: Final = "python -m tests.bench.autoscaling"
SEED: Final = 1
_START_UP: Final = 10
"""From the request for a pod until its worker takes jobs."""
_MOST: Final = 40
_SECONDS_A_JOB: Final = 4.0
"""On average; durations are distributed exponentially."""
_JOBS_PER_REPLICA: Final = 10
_TARGET_WAIT: Final = 30.0
_DELAY: Final = 300
_HOUR: Final = 3600


class Job(NamedTuple):
    """A job of a trace."""

    comes: float
    takes: float


class Seen(NamedTuple):
    """What a policy sees at a second."""

    second: int
    ready: int
    reserved: int
    deleted: int
    replicas: int


class Policy(Protocol):
    """Decides how many pods there are."""

    idle_first: bool
    """Whether pods that execute no job go first. Otherwise the newest go first."""

    def decide(self, seen: Seen) -> int:
        """Return how many pods there are to be from this second on."""


class Operator:
    """The operator's policy, by its own code."""

    idle_first = True

    def __init__(self, **measure: float) -> None:
        rule = Rule(least=0, most=_MOST, at_a_time=1, delay=_DELAY, **measure)  # type: ignore[arg-type]
        self._scaling = begin(rule, 0, Moment(0, 0))

    def decide(self, seen: Seen) -> int:
        """Look at the counts, as the operator does once a second."""
        stats = TubeStats("mail", seen.ready, seen.reserved, deleted=seen.deleted)
        self._scaling = self._scaling.after({"mail": stats}, Moment(seen.second, seen.second))
        return self._scaling.replicas


class Keda:
    """KEDA's policy, with its beanstalkd scaler and the defaults of it and of the HorizontalPodAutoscaler behind it.

    KEDA decides between no pod and one, the HorizontalPodAutoscaler between one and more.
    """

    idle_first = False
    POLLING: Final = 30
    COOLDOWN: Final = 300
    SYNC: Final = 15
    STABILIZATION: Final = 300
    TOLERANCE: Final = 0.1

    def __init__(self) -> None:
        self._active_at = -math.inf
        self._recommended: deque[tuple[int, int]] = deque()

    def decide(self, seen: Seen) -> int:
        """Poll and synchronize, if it is time to."""
        replicas, jobs = seen.replicas, seen.ready + seen.reserved
        if seen.second % self.POLLING == 0:
            if jobs:
                self._active_at = seen.second
                replicas = max(replicas, 1)
            elif seen.second - self._active_at > self.COOLDOWN:
                replicas = 0
        if seen.second % self.SYNC == 0 and replicas:
            replicas = self._synchronize(seen.second, jobs, replicas)
        return replicas

    def _synchronize(self, second: int, jobs: int, replicas: int) -> int:
        ratio = jobs / (_JOBS_PER_REPLICA * replicas)
        keeps = abs(1 - ratio) <= self.TOLERANCE
        wanted = min(max(replicas if keeps else math.ceil(jobs / _JOBS_PER_REPLICA), 1), _MOST)
        self._recommended.append((second, wanted))
        while self._recommended[0][0] <= second - self.STABILIZATION:
            self._recommended.popleft()
        stable = max(number for _, number in self._recommended)
        return min(replicas, stable) if wanted < replicas else min(wanted, max(2 * replicas, replicas + 4))


@dataclass(slots=True, eq=False)
class _Pod:
    asked_for: int
    free_at: float
    """When it can take a job: it has started, and its job before is done."""

    def order(self, second: int, *, idle_first: bool) -> tuple[bool, bool, int]:
        """Return a key that is the smaller, the sooner the pod goes."""
        has_started = self.asked_for + _START_UP <= second
        return has_started, idle_first and self.free_at > second, -self.asked_for


class Outcome(NamedTuple):
    """What came of a simulation."""

    waits: list[float]
    pod_seconds: float

    def cells(self) -> list[str]:
        """Return the figures of a table's row."""
        p95 = quantiles(self.waits, n=20)[18]
        waits = (mean(self.waits), p95, max(self.waits))
        return [*(f"{seconds:.1f}" for seconds in waits), f"{self.pod_seconds / _HOUR:.1f}"]


def simulate(jobs: Sequence[Job], seconds: int, policy: Policy) -> Outcome:
    """Let pods do these jobs for so many seconds, and until all are done."""
    coming, waiting = deque(jobs), deque[Job]()
    pods: list[_Pod] = []
    ends: list[float] = []
    waits: list[float] = []
    deleted, pod_seconds = 0, 0.0
    for second in count():
        while ends and ends[0] <= second:
            heapq.heappop(ends)
            deleted += 1
        if second >= seconds and not (coming or waiting or ends):
            return Outcome(waits, pod_seconds + sum(second - pod.asked_for for pod in pods))
        replicas = policy.decide(Seen(second, len(waiting), len(ends), deleted, len(pods)))
        pods += [_Pod(second, second + _START_UP) for _ in range(replicas - len(pods))]
        if replicas < len(pods):
            pods.sort(key=lambda pod, now=second: pod.order(now, idle_first=policy.idle_first))  # type: ignore[misc]
            gone, pods = pods[: len(pods) - replicas], pods[len(pods) - replicas :]
            pod_seconds += sum(_end(pod, second) - pod.asked_for for pod in gone)
        while coming and coming[0].comes < second + 1:
            waiting.append(coming.popleft())
        for wait, end in _take(waiting, pods, second):
            waits.append(wait)
            heapq.heappush(ends, end)
    raise AssertionError("the loop has no end but the return")


def _end(pod: _Pod, second: int) -> float:
    """Return when a pod ends that goes now: when its job is done, if it executes one."""
    has_started = pod.asked_for + _START_UP <= second
    return max(second, pod.free_at) if has_started else second


def _take(waiting: deque[Job], pods: list[_Pod], second: int) -> Iterator[tuple[float, float]]:
    """Have the pods take jobs until the next second; yield how long each job has waited, and when it will be done."""
    if not waiting:
        return
    free = [(max(pod.free_at, second), number) for number, pod in enumerate(pods)]
    heapq.heapify(free)
    while waiting and free:
        at, number = free[0]
        begins = max(at, waiting[0].comes)
        if begins >= second + 1:
            return
        job = waiting.popleft()
        pods[number].free_at = begins + job.takes
        heapq.heapreplace(free, (begins + job.takes, number))
        yield begins - job.comes, begins + job.takes


class Trace(NamedTuple):
    """Jobs that come in some way."""

    name: str
    seconds: int
    rate: Callable[[int, random.Random], float]
    """How many jobs come on average in a second."""

    def jobs(self, seed: int) -> list[Job]:
        """Return the jobs."""
        chance = random.Random(seed)  # noqa: S311 - no secret depends on it
        return [
            Job(second + part, chance.expovariate(1 / _SECONDS_A_JOB))
            for second in range(self.seconds)
            for part in sorted(chance.random() for _ in range(_poisson(self.rate(second, chance), chance)))
        ]


def _poisson(average: float, chance: random.Random) -> int:
    """Return a number of independent events."""
    number, left = 0, chance.expovariate(1)
    while left < average:
        number, left = number + 1, left + chance.expovariate(1)
    return number


def _steps(second: int, _: random.Random) -> float:
    return (0.0, 3.0, 0.3, 0.0)[second // _HOUR]


def _bursts(_: int, chance: random.Random) -> float:
    return 300.0 if chance.random() < 1 / 1800 else 0.0


def _day(second: int, _: random.Random) -> float:
    hour = second / _HOUR
    return 2.0 * max(0.0, math.sin(math.pi * (hour - 7) / 12)) ** 2 if 7 <= hour <= 19 else 0.01


TRACES: Final = (
    Trace("steps: an hour each of 0, 3, 0.3 and 0 jobs a second", 4 * _HOUR, _steps),
    Trace("bursts: about 300 jobs at once, every half hour on average, for 8 hours", 8 * _HOUR, _bursts),
    Trace("a day: from 0.01 jobs a second at night to 2 at noon", 24 * _HOUR, _day),
)
POLICIES: Final[dict[str, Callable[[], Policy]]] = {
    f"KEDA, `value: {_JOBS_PER_REPLICA}`": Keda,
    f"`jobsPerReplica: {_JOBS_PER_REPLICA}`": lambda: Operator(jobs_per_replica=_JOBS_PER_REPLICA),
    f"`targetWait: {_TARGET_WAIT:.0f}s`": lambda: Operator(target_wait=_TARGET_WAIT),
}


def render(seed: int = SEED, traces: Sequence[Trace] = TRACES) -> str:
    """Return the table."""
    rows = []
    for trace in traces:
        jobs = trace.jobs(seed)
        for name, make in POLICIES.items():
            outcome = simulate(jobs, trace.seconds, make())
            rows.append([f"{trace.name}; {len(jobs):,} jobs", name, *outcome.cells()])
    return report.table(["jobs", "rule", "wait, mean", "wait, p95", "wait, most", "pod-hours"], rows)


def main() -> None:
    """Write the page, or print the table for another seed."""
    parser = argparse.ArgumentParser(prog=COMMAND, description="Simulate autoscaling, and write the page of it.")
    parser.add_argument("--seed", type=int, help="print what this seed gives, and write nothing")
    arguments = parser.parse_args()
    if arguments.seed is None:
        report.write(PAGE, render(), COMMAND)
        print(f"written to docs/{PAGE.name}")
    else:
        print(render(arguments.seed))


if __name__ == "__main__":
    main()
