"""The worker's metrics for Prometheus: what became of its jobs, and the metrics that users define in their executors.

A slot is a process that executes jobs; the supervisor is the parent of the slots and serves the metrics. A tally is
memory in which a slot counts its jobs and which the supervisor can read. The users' metrics are kept in `metric_files`.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from enum import StrEnum
from itertools import accumulate
from typing import TYPE_CHECKING, Final, NamedTuple

from tubeherd.formats.globs import best_match
from tubeherd.logs import log
from tubeherd.metric_files import MetricFiles
from tubeherd.metric_table import (
    BURIAL_RECORDS_LOST,
    JOB_FAILURES,
    JOB_SECONDS,
    JOBS_RUNNING,
    LEASES_LOST,
    RECONNECTS,
    SLOT_DEATHS,
    SLOT_MEMORY,
    SLOT_MEMORY_LIMIT,
    SLOT_RECYCLES,
    SLOTS_CONNECTED,
    SLOTS_RUNNING,
    SLOTS_WANTED,
    WORKER_INFO,
    Histogram,
)
from tubeherd.policy import BurialKind
from tubeherd.shared_memory.tally import BUCKETS, Counts, Incident, Tally, VerdictLabel, add_counts, add_job
from tubeherd.version import version

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric

_LIMITS: Final = (*map(str, BUCKETS), "+Inf")


DEATHS: Final = (BurialKind.DEADLINE, BurialKind.MEMORY, BurialKind.KILLED, "interrupted")
"""Why slots die; the first three are the kinds of the burials of their jobs."""


class Recycled(StrEnum):
    """Why a slot ended between jobs and is replaced."""

    LIMIT = "limit"
    MEMORY = "memory"
    LATE_JOB = "late_job"
    RELOAD = "reload"


class Slots(NamedTuple):
    """What the supervisor sees of the slots at the moment."""

    jobs_running: int
    wanted: int
    running: int
    connected: int
    memory: Mapping[int, int]
    """By the number of the place, the bytes that its slot and the processes of its jobs use."""
    memory_limit: int | None
    """So many bytes a slot may use; None if there is no limit."""


class Metrics:
    """The metrics of one worker. It must be made before the first slot is forked, which then has it too."""

    def __init__(self) -> None:
        """Make the folder for the users' metrics; raises OSError if no temporary directory can be written."""
        self.files = MetricFiles()
        self._counts: Counts = {}
        """The counts of slots that have ended, and of jobs that the supervisor deleted, released or buried for them."""
        self._incidents = Counter(dict.fromkeys(Incident, 0))
        """The incidents of these slots, and of the supervisor."""
        self._recycles = Counter(dict.fromkeys(Recycled, 0))
        self._deaths = Counter(dict.fromkeys(DEATHS, 0))
        self._tallies: list[Tally] = []
        """The tallies of the slots that have not ended."""

    # In the supervisor

    def open_tally(self) -> Tally:
        """Make the tally of a slot that is about to be forked; raises OSError if that fails."""
        self._tallies.append(tally := Tally())
        return tally

    def keep(self, tally: Tally) -> None:
        """Keep the counts of a slot that has ended; the caller closes its tally afterwards."""
        add_counts(self._counts, _read(tally))
        self._incidents.update(tally.incidents())
        self._tallies.remove(tally)

    def count(self, tube: str, verdict: VerdictLabel, seconds: float) -> None:
        """Count a job that the supervisor deleted, released or buried for a slot that has died."""
        names = {name for tally in self._tallies for name in _names(tally)}
        add_job(self._counts, best_match(names, tube) or tube, verdict, seconds)

    def count_incident(self, incident: Incident) -> None:
        """Count what happened in the supervisor."""
        self._incidents[incident] += 1

    def count_recycled(self, why: Recycled) -> None:
        """Count a slot that ended between jobs and is replaced."""
        self._recycles[why] += 1

    def count_death(self, kind: str) -> None:
        """Count a slot that died or was killed; `kind` is one of DEATHS."""
        self._deaths[kind] += 1

    def text(self, slots: Slots) -> bytes:
        """Return the metrics of all processes in Prometheus' text format. A damaged file may raise any exception."""
        from prometheus_client import CollectorRegistry, generate_latest
        from prometheus_client.multiprocess import MultiProcessCollector

        # Programs that clean /tmp may have removed it, if it was empty.
        self.files.folder.mkdir(mode=0o700, exist_ok=True)
        registry = CollectorRegistry()
        registry.register(_Collector(self._families(slots)))
        MultiProcessCollector(registry, path=str(self.files.folder))
        return generate_latest(registry)

    def _families(self, slots: Slots) -> Iterator["Metric"]:
        yield JOBS_RUNNING.single(slots.jobs_running)  # first, because the operator reads no more than the beginning
        counts: Counts = {}
        incidents = self._incidents.copy()
        for tally in self._tallies:
            incidents.update(tally.incidents())
        for each in (self._counts, *map(_read, self._tallies)):
            add_counts(counts, each)
        yield JOB_SECONDS.histogram((key, _histogram(row)) for key, row in counts.items())
        yield JOB_FAILURES.of(((kind,), incidents[Incident(kind.value)]) for kind in BurialKind)
        gone = sum(sum(row[1:]) for (_, verdict), row in counts.items() if verdict is VerdictLabel.LEASE_GONE)
        yield LEASES_LOST.single(incidents[Incident.LOST_LEASE] + gone)
        yield RECONNECTS.single(incidents[Incident.RECONNECT])
        yield BURIAL_RECORDS_LOST.single(incidents[Incident.LOST_RECORD])
        yield SLOTS_WANTED.single(slots.wanted)
        yield SLOTS_RUNNING.single(slots.running)
        yield SLOTS_CONNECTED.single(slots.connected)
        yield SLOT_MEMORY.of(((str(place),), used) for place, used in slots.memory.items())
        if slots.memory_limit is not None:
            yield SLOT_MEMORY_LIMIT.single(slots.memory_limit)
        yield SLOT_RECYCLES.of(((why,), count) for why, count in self._recycles.items())
        yield SLOT_DEATHS.of(((kind,), count) for kind, count in self._deaths.items())
        yield WORKER_INFO.of([((version(),), 1)])


class _Collector:
    """Metrics, as prometheus_client collects them."""

    def __init__(self, families: Iterator["Metric"]) -> None:
        self._families = families

    def collect(self) -> Iterator["Metric"]:
        """Return the metrics; prometheus_client calls this."""
        return self._families


def _histogram(row: list[int]) -> Histogram:
    microseconds, *jobs = row
    return list(zip(_LIMITS, accumulate(jobs), strict=True)), microseconds / 1e6


def _names(tally: Tally) -> list[str]:
    """Return the tubes and globs under which a slot counts its jobs; none if a job has damaged the tally."""
    try:
        return tally.names()
    except ValueError:
        return []


def _read(tally: Tally) -> Counts:
    try:
        return tally.read()
    except ValueError as error:  # code of a job can overwrite any memory of its slot, and the tally is there too
        log.warning(f"what a slot has counted for /metrics was damaged by code of its jobs and is left out: {error}")
        return {}
