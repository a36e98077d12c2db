"""What the worker's processes have in memory.

PSS shares a page among all who map it, so other Pythons on the machine make it look smaller. Counted alone means that
the pages of files are the worker's in full, as in a container.
"""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Final, NamedTuple

import psutil

from tests.bench.broker import NOTED, Broker, beanstalkd
from tests.bench.report import figure
from tests.bench.worker import Worker, tubeherd_run

_MIB: Final = 1 << 20
_SLOTS: Final = (1, 2, 8)
_ROUNDS: Final = 3
_EARLY_JOBS: Final = 10_000
_LATE_JOBS: Final = 100_000


class Usage(NamedTuple):
    """Memory of a process tree in MiB."""

    pss: float
    alone: float


def by_slots() -> list[list[str]]:
    """Measure idle workers with 1, 2 and 8 slots, each after one job."""
    usages: dict[int, list[Usage]] = {slots: [] for slots in _SLOTS}
    for _ in range(_ROUNDS):
        for slots in _SLOTS:
            usages[slots].append(_idle(slots))
    lines = []
    for slots in _SLOTS:
        lines += [
            figure(
                f"memory (PSS), slots: {slots}",
                [usage.pss for usage in usages[slots]],
                "MiB",
                most=45 if slots == 1 else None,
            ),
            figure(f"memory (alone), slots: {slots}", [usage.alone for usage in usages[slots]], "MiB"),
        ]
    further = [(eight.pss - one.pss) / 7 for one, eight in zip(usages[1], usages[8], strict=True)]
    return [*lines, figure("memory (PSS), each slot further, 2 to 8", further, "MiB", most=8)]


def over_time() -> list[list[str]]:
    """Measure one slot after many no-op jobs and after many more."""
    with beanstalkd() as broker, tubeherd_run(broker) as worker:
        early = _after(worker, broker, _EARLY_JOBS).alone
        late = _after(worker, broker, _LATE_JOBS - _EARLY_JOBS).alone
    return [
        figure(f"memory (alone), 1 slot, after {_EARLY_JOBS:,} jobs", [early], "MiB"),
        figure(f"growth from then to {_LATE_JOBS:,} jobs", [late - early], "MiB", most=1),
    ]


def _idle(slots: int) -> Usage:
    with beanstalkd() as broker, tubeherd_run(broker, "--concurrency", str(slots)) as worker:
        worker.wait_until_idle(slots)
        with broker.paused():  # every slot waits, so that each gets one of the jobs
            for _ in range(slots):
                broker.client.put(NOTED)
        notes = worker.wait_for_notes(slots)
        if len({note.pid for note in notes}) < slots:
            raise RuntimeError(f"{slots} jobs were not done by {slots} slots")
        worker.wait_until_idle(slots)
        return usage(worker.pids())


def _after(worker: Worker, broker: Broker, jobs: int) -> Usage:
    seen = len(worker.notes())
    broker.fill(jobs)
    worker.wait_for_notes(seen + 2, pause=0.1)
    worker.wait_until_idle()
    return usage(worker.pids())


def usage(pids: Iterable[int]) -> Usage:
    """Return what these processes, forks of one of them, have in memory."""
    pss, anonymous = 0, 0
    files: Counter[tuple[str, str]] = Counter()
    for pid in pids:
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
        pss += _kilobytes(rollup, "Pss:") * 1024
        anonymous += _kilobytes(rollup, "Pss_Anon:") * 1024
        # The slots map the same files in the same places, being forks of the supervisor.
        maps = psutil.Process(pid).memory_maps(grouped=False)
        files |= Counter({(part.path, part.addr): part.rss - part.anonymous for part in maps})
    return Usage(pss / _MIB, (anonymous + files.total()) / _MIB)


def _kilobytes(rollup: str, name: str) -> int:
    return next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith(name))
