"""What the operator costs, and how soon it acts, with so many pools."""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final, NamedTuple

import psutil

from tests.bench.operator.audit import Audit, Request, settle
from tests.bench.operator.fleet import Fleet, Size, apply_without_operator
from tests.bench.operator.installation import BARE_NAMESPACE, Installation
from tests.bench.operator.progress import say, step
from tests.bench.operator.samples import Times, burials_and_kicks
from tests.bench.report import figure, p99, table
from tests.support.waiting import wait_for

FEW: Final = Size(10)
STORMY: Final = Size(1000, samples=100)
"""At which the leader is lost, and storms are made."""
SIZES: Final = (FEW, Size(100), STORMY, Size(1000, own_tubes=True, samples=30), Size(3000, samples=5))
JUDGED: Final = 1000
"""The number of pools for which there are targets."""
_SETTLE_SECONDS: Final = 120.0
"""How long to wait at most until the operator is at rest: for up to 1,000 pools, and as long for each 1,000 more."""
_IDLE_SECONDS: Final = 60
_PASSES: Final = 8
"""So many passes run at the same time in the operator, and so many requests of the bare client."""


class Cost(NamedTuple):
    """What a process of the operator takes."""

    cpu: float
    """Share of a core."""
    memory: float
    """PSS in MiB."""

    def __str__(self) -> str:
        return f"{self.cpu:.1%} of a core and {self.memory:.0f} MiB"


@dataclass(frozen=True)
class Scale:
    """What was measured at one size; times in seconds."""

    size: Size
    creating: float
    """From the first pool to the last."""
    following: float
    """From the last pool until there was a Deployment of each."""
    bare: float
    """How long a bare client took to apply the same Deployments."""
    cpu: float
    """Processor time of the leader from the first pool until it was at rest."""
    empty: float
    """How much memory the leader took before the pools were created, in MiB."""
    leader: Cost
    other: Cost
    requests: Counter[tuple[str, str]]
    """What was asked for in an idle minute, by verb and kind."""
    besides: int
    """How many of these requests were for other things than the Lease and watches."""
    times: Times


def create(installed: Installation, size: Size) -> tuple[Fleet, float, float]:
    """Create so many pools; return how long that took, and how long the last Deployment came after the last pool."""
    fleet = Fleet(installed, size)
    with step(f"{size.words}: creating them"):
        fleet.create_config_maps()
        audit, began = Audit(), time.time()
        fleet.create()
        created = time.time()
        last = wait_for(lambda: _last_deployment(audit, size), "each pool has a Deployment", 600, pause=1)
    say(f"created in {created - began:.1f} s, the last Deployment came {last - created:.1f} s after the last pool")
    return fleet, created - began, max(0.0, last - created)


def calm(size: Size) -> None:
    """Wait until the operator has done what is to be done about new pools."""
    with step(f"{size.words}: waiting until the operator is at rest"):
        settle(_SETTLE_SECONDS * max(1.0, size.pools / 1000))


def measure(installed: Installation, size: Size) -> Scale:
    """Measure all at one size."""
    process, _ = installed.processes()
    empty, used = _mebibytes(process), _cpu_seconds(process)
    _, creating, following = create(installed, size)
    calm(size)
    cpu = _cpu_seconds(process) - used
    say(f"{cpu:.1f} s of processor time for {size.words}")
    with step(f"{size.words}: idle for {_IDLE_SECONDS} s"):
        audit = Audit()
        leader, other = _costs(installed.processes())
        requests = audit.requests()
    besides = sum(not request.is_upkeep for request in requests)
    say(f"the leader takes {leader}, the other operator {other}; {besides} requests beside Lease and watches")
    with step(f"{size.words}: {size.samples} burials and kicks"):
        times = burials_and_kicks(installed, size)
    with step(f"{size.words}: the same Deployments by a bare client"):
        bare = apply_without_operator(installed.api, BARE_NAMESPACE, _PASSES)
    by_kind = Counter((request.verb, request.kind) for request in requests)
    found = Scale(size, creating, following, bare, cpu, empty, leader, other, by_kind, besides, times)
    say(" | ".join(_cells(found)))
    return found


def tables(found: Sequence[Scale]) -> str:
    """Return the tables of all sizes."""
    head = ["pools", "created in", "all Deployments after the last", "a bare client applies them in"]
    head += ["CPU ms for a new pool"]
    head += ["requests of an idle minute", "idle CPU, % of a core", "of the operator that waits"]
    head += ["memory, MiB", "KiB for each pool", "of the operator that waits, MiB"]
    head += ["burial to status, s", "p99", "to all statuses, s", "kick to ready, s", "p99"]
    kinds = sorted({kind for each in found for kind in each.requests})
    asked = [[f"{verb} {kind}", *(f"{each.requests[verb, kind]:,}" for each in found)] for verb, kind in kinds]
    return "\n".join(
        [
            table(head, [_cells(each) for each in found]),
            table(["requests of an idle minute, both operators", *(str(each.size) for each in found)], asked),
        ]
    )


def judged(found: Scale) -> list[list[str]]:
    """Return the figures for which there are targets."""
    pools, times = found.size.words, found.times
    return [
        figure(f"{pools}: requests of an idle minute, without Lease and watches", [found.besides], "requests", most=0),
        figure(f"{pools}: idle, share of a core", [found.leader.cpu * 100], "%", most=2),
        figure(f"{pools}: memory (PSS) of the operator that leads", [found.leader.memory], "MiB", most=130),
        figure(f"{pools}: last pool created to the last Deployment", [found.following], "s", most=15),
        figure(f"{pools}: burial to a pool's status", times.burials, "s", most=1, judged=_judge(times.burials)),
        figure(f"{pools}: kick to the job's being ready", times.kicks, "s", most=0.25, judged=_judge(times.kicks)),
    ]


def _cells(found: Scale) -> list[str]:
    times, pools = found.times, found.size.pools
    return [
        str(found.size),
        f"{found.creating:.1f} s",
        f"{found.following:.1f} s",
        f"{found.bare:.1f} s",
        f"{found.cpu * 1000 / pools:.0f}",
        f"{found.besides:,}",
        f"{found.leader.cpu:.1%}".removesuffix("%"),
        f"{found.other.cpu:.1%}".removesuffix("%"),
        f"{found.leader.memory:.0f}",
        f"{(found.leader.memory - found.empty) * 1024 / pools:.0f}",
        f"{found.other.memory:.0f}",
        f"{median(times.burials):.2f}",
        _p99(times.burials),
        f"{median(times.last_burials):.2f}",
        f"{median(times.kicks):.2f}",
        _p99(times.kicks),
    ]


def _p99(samples: Sequence[float]) -> str:
    return f"{p99(samples):.2f}" if len(samples) >= 100 else ""


def _judge(samples: Sequence[float]) -> Callable[[Sequence[float]], float]:
    return p99 if len(samples) >= 100 else max


def _last_deployment(audit: Audit, size: Size) -> float | None:
    """Return when the last Deployment was created; None if one is missing."""
    created = [request for request in audit.requests() if _creates_deployment(request)]
    return max(request.at for request in created) if len(created) >= size.pools else None


def _creates_deployment(request: Request) -> bool:
    return request.kind == "deployments" and request.code == 201


def _costs(processes: Sequence[psutil.Process]) -> list[Cost]:
    """Return what processes take while nothing happens."""
    before = [_cpu_seconds(process) for process in processes]
    time.sleep(_IDLE_SECONDS)
    return [
        Cost((_cpu_seconds(process) - used) / _IDLE_SECONDS, _mebibytes(process))
        for process, used in zip(processes, before, strict=True)
    ]


def _cpu_seconds(process: psutil.Process) -> float:
    used = process.cpu_times()
    return float(used.user + used.system)


def _mebibytes(process: psutil.Process) -> float:
    return float(process.memory_full_info().pss / 2**20)
