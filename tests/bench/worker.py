"""A `tubeherd run` under measurement."""

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import psutil

from tests.bench.broker import ALL_CORES, Broker
from tests.support.growing_files import read_lines
from tests.support.network import free_address
from tests.support.project import ROOT
from tests.support.waiting import wait_for


class Note(NamedTuple):
    """When an executor was called, on the clock that all processes share, and in which process."""

    time: float
    pid: int


def run_command(server: str, executors: str, *options: str) -> list[str]:
    """Return the command line of a worker with everything on that a pool has."""
    command = [sys.executable, "-m", "tubeherd", "run", "--executors", executors, "--server", server]
    return [*command, "--health", free_address(), "--job-timeout", "30s", *options]


class Worker:
    """A running worker with everything on that a pool has, its log in a file."""

    def __init__(
        self, broker: Broker, folder: Path, cores: Collection[int], options: list[str], sampled: bool, executors: str
    ) -> None:
        self._broker = broker
        self._log = folder / "log"
        self._notes = folder / "notes"
        self._notes.touch()
        self._samples = folder / "samples"
        # As installed, where modules are compiled once and not at each start.
        env = os.environ | {"PYTHONPATH": str(ROOT), "BENCH_NOTES": str(self._notes), "PYTHONDONTWRITEBYTECODE": ""}
        if sampled:
            env["BENCH_SAMPLES"] = str(self._samples)
        command = run_command(broker.server, executors, *options)
        with self._log.open("wb") as log:
            self.started = time.monotonic()
            self.process = subprocess.Popen(
                command, env=env, stderr=log, preexec_fn=lambda: os.sched_setaffinity(0, cores)
            )

    def pids(self) -> list[int]:
        """Return the process ids of the supervisor and of what descends from it."""
        slots = psutil.Process(self.process.pid).children(recursive=True)
        return [self.process.pid, *(slot.pid for slot in slots)]

    def notes(self) -> list[Note]:
        """Return what the executors noted, in order."""
        pairs = (line.split() for line in read_lines(self._notes))
        return [Note(float(moment), int(pid)) for moment, pid in pairs]

    def wait_for_notes(self, count: int, pause: float = 0.02) -> list[Note]:
        """Wait until so many jobs were noted, and return them."""
        self._wait_for(lambda: len(self.notes()) >= count, f"{count} notes", pause)
        return self.notes()

    def wait_until_idle(self, slots: int = 1) -> None:
        """Wait until so many slots wait for a job."""
        self._wait_for(lambda: self._broker.waiting() == slots, f"{slots} slots wait for a job", 0.02)

    def _wait_for(self, condition: Callable[[], bool], what: str, pause: float) -> None:
        """Wait for a condition; raises RuntimeError with the worker's last words where it ends first."""
        wait_for(lambda: self.process.poll() is not None or condition(), what, seconds=60, pause=pause)
        if self.process.poll() is not None:
            words = self._log.read_text()[-2000:]
            raise RuntimeError(f"the worker ended with exit code {self.process.returncode}:\n{words}")

    def samples(self) -> list[tuple[str, float, float]]:
        """Return each function with its share of the samples, alone and with what it calls."""
        shares: list[tuple[str, float, float]] = json.loads(self._samples.read_text())
        return shares

    def stop(self) -> float:
        """End the worker with SIGTERM and return the seconds that it took."""
        began = time.monotonic()
        exited = os.pidfd_open(self.process.pid)
        self.process.send_signal(signal.SIGTERM)
        if not select.select([exited], [], [], 60)[0]:
            raise TimeoutError("the worker did not end within 60 s")
        seconds = time.monotonic() - began
        os.close(exited)
        if code := self.process.wait():
            raise RuntimeError(f"the worker ended with exit code {code}")
        return seconds


@contextmanager
def tubeherd_run(
    broker: Broker,
    *options: str,
    cores: Collection[int] = ALL_CORES,
    sampled: bool = False,
    executors: str = "tests.bench.bench_executors",
) -> Iterator[Worker]:
    """Run a worker on these cores, ended afterwards."""
    with TemporaryDirectory() as folder:
        worker = Worker(broker, Path(folder), cores, list(options), sampled, executors)
        try:
            yield worker
            if worker.process.poll() is None:
                worker.stop()
        finally:
            worker.process.kill()
            worker.process.wait()
