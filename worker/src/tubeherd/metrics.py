"""What a worker counts, as Prometheus metrics: its processes share files, which the supervisor reads.

prometheus_client's multiprocess mode, with the files named for slots instead of processes, so that their number stays
what it is however often a slot is replaced. Metrics that executors define with prometheus_client are served as well.
"""

import os
import tempfile
from pathlib import Path
from shutil import rmtree
from typing import Any, Final

from tubeherd.logs import log

_FOLDER_VARIABLE: Final = "PROMETHEUS_MULTIPROC_DIR"
_BUCKETS: Final = (0.001, 0.01, 0.1, 1.0, 10.0, 60.0, 600.0)
_FILE_BYTES: Final = 1 << 16  # what prometheus_client makes of a new file
SUPERVISOR: Final = "supervisor"


class Metrics:
    """The metrics of one worker; made before its slots are forked."""

    def __init__(self) -> None:
        """Make the folder of the files; raises OSError where no temporary directory can be written."""
        self._folder = Path(tempfile.mkdtemp(prefix=f"tubeherd-metrics-{os.getpid()}-"))
        self._writer = SUPERVISOR
        os.environ[_FOLDER_VARIABLE] = str(self._folder)
        from prometheus_client import Histogram, values  # its mode is decided by the variable, at the import

        values.ValueClass = values.MultiProcessValue(lambda: self._writer)
        self._jobs = Histogram(
            "tubeherd_job_seconds",
            "Time that executors and their listeners took, by tube and by what became of the job.",
            ["tube", "verdict"],
            buckets=_BUCKETS,
        )
        self._by_verdict: dict[tuple[str, str], Any] = {}
        self._lost = False
        self._allocate()

    def write_as(self, writer: str) -> None:
        """Count in files of this name from now on; no two living processes may share one."""
        self._writer = writer
        self._allocate()

    def write_apart(self) -> None:
        """Have a forked process write its own metrics, if any, into files of its own: two writers would damage one."""
        self._writer = f"{self._writer}-{os.getpid()}"

    def count(self, tube: str, verdict: str, seconds: float) -> None:
        """Count one job; where that is not possible any more, say so once and count nothing from then on."""
        if self._lost:
            return
        try:
            child = self._by_verdict.get((tube, verdict))
            if child is None:
                child = self._by_verdict[tube, verdict] = self._jobs.labels(tube, verdict)
            child.observe(seconds)
        except Exception as error:  # the folder may have been removed, or a file damaged
            self._lose(error)

    def text(self) -> bytes:
        """Return all metrics of all processes in Prometheus' text format; raises what their files can cause."""
        from prometheus_client import CollectorRegistry, generate_latest
        from prometheus_client.multiprocess import MultiProcessCollector

        registry = CollectorRegistry()
        MultiProcessCollector(registry, path=str(self._folder))
        return generate_latest(registry)

    def _allocate(self) -> None:
        """Have the disk hold the file before it is mapped: a full one would end the process with SIGBUS later."""
        try:
            file = os.open(self._folder / f"histogram_{self._writer}.db", os.O_RDWR | os.O_CREAT, 0o600)
            try:
                os.posix_fallocate(file, 0, _FILE_BYTES)
            finally:
                os.close(file)
        except OSError as error:
            self._lose(error)

    def _lose(self, error: Exception) -> None:
        self._lost = True
        log.warning(f"jobs are not counted for /metrics any more: {type(error).__name__}: {error}", writer=self._writer)

    def remove(self) -> None:
        """Remove the files."""
        rmtree(self._folder, ignore_errors=True)
