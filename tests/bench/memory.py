"""What the worker's processes have resident, a shared page counted once (the sum of PSS)."""

from typing import Final

import psutil
from broker import NOTED, Broker, beanstalkd
from report import figure
from worker import Worker, tubeherd_run

_MIB: Final = 1 << 20
_SLOTS: Final = (1, 2, 8)
_ROUNDS: Final = 3
_EARLY_JOBS: Final = 10_000
_LATE_JOBS: Final = 100_000


def by_slots() -> list[list[str]]:
    """Measure idle workers with 1, 2 and 8 slots, each after one job."""
    sizes: dict[int, list[float]] = {slots: [] for slots in _SLOTS}
    for _ in range(_ROUNDS):
        for slots in _SLOTS:
            sizes[slots].append(_idle(slots))
    further = [(most - one) / (_SLOTS[-1] - 1) for one, most in zip(sizes[1], sizes[_SLOTS[-1]], strict=True)]
    return [
        figure("memory, 1 slot", sizes[1], "MiB", most=45),
        *(figure(f"memory, {slots} slots", sizes[slots], "MiB") for slots in _SLOTS[1:]),
        figure(f"memory of each further slot, 2 to {_SLOTS[-1]}", further, "MiB", most=12),
    ]


def over_time() -> list[list[str]]:
    """Measure one slot after many no-op jobs and after many more."""
    with beanstalkd() as broker, tubeherd_run(broker) as worker:
        early = _after(worker, broker, _EARLY_JOBS)
        late = _after(worker, broker, _LATE_JOBS - _EARLY_JOBS)
    return [
        figure(f"memory, 1 slot, after {_EARLY_JOBS:,} jobs", [early], "MiB"),
        figure(f"growth from then to {_LATE_JOBS:,} jobs", [late - early], "MiB", most=1),
    ]


def _idle(slots: int) -> float:
    with beanstalkd() as broker, tubeherd_run(broker, "--concurrency", str(slots)) as worker:
        broker.wait_for_waiting(slots)
        with broker.paused():  # every slot waits, so that each gets one of the jobs
            for _ in range(slots):
                broker.client.put(NOTED)
        notes = worker.wait_for_notes(slots)
        if len({note.pid for note in notes}) < slots:
            raise RuntimeError(f"{slots} jobs were not done by {slots} slots")
        broker.wait_for_waiting(slots)
        return _resident(worker)


def _after(worker: Worker, broker: Broker, jobs: int) -> float:
    seen = len(worker.notes())
    broker.fill(jobs)
    worker.wait_for_notes(seen + 2, pause=0.1)
    broker.wait_for_waiting(1)
    return _resident(worker)


def _resident(worker: Worker) -> float:
    supervisor = psutil.Process(worker.process.pid)
    tree = [supervisor, *supervisor.children(recursive=True)]
    return float(sum(process.memory_full_info().pss for process in tree)) / _MIB
