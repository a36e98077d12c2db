"""The worker's metrics for Prometheus: what became of its jobs, and the metrics that users define in their executors.

A slot is a process that executes jobs; the supervisor is the parent of the slots and serves the metrics. A tally is
memory in which a slot counts its jobs and which the supervisor can read. The users' metrics are kept in files, by the
multiprocess mode of prometheus_client. By default that names the files after processes. Here they are named after
places: a slot that replaces another one gets its place, so the number of files does not grow.
"""

import os
import tempfile
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path
from shutil import rmtree
from typing import TYPE_CHECKING, Final

from tubeherd.descriptors import low_numbers_taken
from tubeherd.formats.globs import best_match
from tubeherd.logs import log
from tubeherd.shared_memory.tally import BUCKETS, Counts, Tally, VerdictLabel, add_counts, add_job

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric
    from prometheus_client.mmap_dict import MmapedDict

_FOLDER_VARIABLE: Final = "PROMETHEUS_MULTIPROC_DIR"
_LIMITS: Final = (*map(str, BUCKETS), "+Inf")


class Metrics:
    """The metrics of one worker. It must be made before the first slot is forked, which then has it too."""

    def __init__(self) -> None:
        """Make the folder for the files; raises OSError if no temporary directory can be written."""
        self._folder = Path(tempfile.mkdtemp(prefix=f"tubeherd-metrics-{os.getpid()}-"))
        self._writer = "supervisor"
        os.environ[_FOLDER_VARIABLE] = str(self._folder)
        from prometheus_client import mmap_dict, values  # imported after the variable is set, as the import reads it

        values.MmapedDict = _files_class(mmap_dict.MmapedDict)  # type: ignore[attr-defined]  # it is imported there
        values.ValueClass = values.MultiProcessValue(lambda: self._writer)
        self._counts: Counts = {}
        """The counts of slots that have ended, and of jobs that the supervisor deleted, released or buried for them."""
        self._lost_records = 0
        """How many records of burials these slots, and the supervisor, could not write."""
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
        self._lost_records += tally.lost_records
        self._tallies.remove(tally)

    def count(self, tube: str, verdict: VerdictLabel, seconds: float) -> None:
        """Count a job that the supervisor deleted, released or buried for a slot that has died."""
        names = {name for tally in self._tallies for name in _names(tally)}
        add_job(self._counts, best_match(names, tube) or tube, verdict, seconds)

    def count_lost_record(self) -> None:
        """Count a record that the supervisor could not write, of a job that it buried."""
        self._lost_records += 1

    def text(self, running: int) -> bytes:
        """Return the metrics of all processes in Prometheus' text format. A damaged file may raise any exception.

        `running` is how many jobs the slots execute at the moment.
        """
        from prometheus_client import CollectorRegistry, generate_latest
        from prometheus_client.multiprocess import MultiProcessCollector

        self._folder.mkdir(mode=0o700, exist_ok=True)  # programs that clean /tmp may have removed it, if it was empty
        registry = CollectorRegistry()
        registry.register(_Running(running))  # the operator reads no more than the beginning
        registry.register(self)
        MultiProcessCollector(registry, path=str(self._folder))
        return generate_latest(registry)

    def collect(self) -> Iterator["Metric"]:
        """Yield the histogram of the jobs and the count of lost records; prometheus_client calls this."""
        from prometheus_client.metrics_core import CounterMetricFamily, HistogramMetricFamily

        counts: Counts = {}
        for each in (self._counts, *map(_read, self._tallies)):
            add_counts(counts, each)
        words = "Time that executors and their listeners took, by tube, or glob, and by what became of the job."
        family = HistogramMetricFamily("tubeherd_job_seconds", words, labels=["tube", "verdict"])
        for key, (microseconds, *jobs) in counts.items():
            family.add_metric(key, list(zip(_LIMITS, accumulate(jobs), strict=True)), microseconds / 1e6)
        yield family
        lost = self._lost_records + sum(tally.lost_records for tally in self._tallies)
        yield CounterMetricFamily(
            "tubeherd_burial_records_lost", "Burials whose record could not be written, so that why is not known.", lost
        )

    def remove(self) -> None:
        """Remove the files."""
        rmtree(self._folder, ignore_errors=True)

    # In a slot

    def write_as(self, writer: str) -> None:
        """Write the users' metrics into files of this name from now on. No other living process may use the name."""
        self._writer = writer

    def write_apart(self) -> None:
        """Write the users' metrics of a forked process into files of its own: two writers would damage a file."""
        self._writer = f"{self._writer}-{os.getpid()}"


class _Running:
    """The number of jobs that are being executed, as prometheus_client collects it."""

    def __init__(self, jobs: int) -> None:
        self._jobs = jobs

    def collect(self) -> Iterator["Metric"]:
        """Yield the number; prometheus_client calls this."""
        from prometheus_client.metrics_core import GaugeMetricFamily

        words = "Jobs that are being executed, or were and are held until the next event worker.flush."
        yield GaugeMetricFamily("tubeherd_jobs_running", words, self._jobs)


def _files_class(base: type["MmapedDict"]) -> type["MmapedDict"]:
    """Return prometheus_client's class of a file of metrics, made so that its descriptors get high numbers."""

    class HighMmapedDict(base):  # type: ignore[misc,valid-type]  # the base is a parameter, because its import is late
        def __init__(self, filename: str, read_mode: bool = False) -> None:
            with low_numbers_taken():
                super().__init__(filename, read_mode)

        def _init_value(self, key: str) -> None:
            with low_numbers_taken():  # if the file is too small for another value, it is mapped anew
                super()._init_value(key)

    return HighMmapedDict


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
