"""What a worker counts, as Prometheus metrics: its processes share files, which the supervisor reads.

prometheus_client's multiprocess mode, with the files named for slots instead of processes, so that their number stays
what it is however often a slot is replaced. Metrics that executors define with prometheus_client are served as well.
"""

import os
import tempfile
from pathlib import Path
from shutil import rmtree
from typing import Any, Final

_FOLDER_VARIABLE: Final = "PROMETHEUS_MULTIPROC_DIR"
_BUCKETS: Final = (0.001, 0.01, 0.1, 1.0, 10.0, 60.0, 600.0)
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

    def write_as(self, writer: str) -> None:
        """Count in files of this name from now on; no two living processes may share one."""
        self._writer = writer

    def count(self, tube: str, verdict: str, seconds: float) -> None:
        """Count one job."""
        child = self._by_verdict.get((tube, verdict))
        if child is None:
            child = self._by_verdict[tube, verdict] = self._jobs.labels(tube, verdict)
        child.observe(seconds)

    def text(self) -> bytes:
        """Return all metrics of all processes in Prometheus' text format."""
        from prometheus_client import CollectorRegistry, generate_latest
        from prometheus_client.multiprocess import MultiProcessCollector

        registry = CollectorRegistry()
        MultiProcessCollector(registry, path=str(self._folder))
        return generate_latest(registry)

    def remove(self) -> None:
        """Remove the files."""
        rmtree(self._folder, ignore_errors=True)
