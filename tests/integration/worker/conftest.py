"""A real worker process, with its executors in a file and its log lines at hand."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest


class Worker:
    """`tubeherd run` as a process of its own, which logs JSON into a file."""

    def __init__(self, folder: Path, server: str, executors: str, options: list[str]) -> None:
        folder.mkdir(exist_ok=True)
        (folder / "executors_under_test.py").write_text(textwrap.dedent(executors))
        self._log = folder / "log.jsonl"
        self._stream = self._log.open("ab")
        command = [sys.executable, "-m", "tubeherd", "run", "--executors", "executors_under_test", "--server", server]
        env = os.environ | {"PYTHONPATH": str(folder), "FOLDER": str(folder)}
        self.process = subprocess.Popen([*command, *options], env=env, stderr=self._stream, start_new_session=True)

    def lines(self, event: str = "", **fields: Any) -> list[dict[str, Any]]:
        """Return the log lines whose event begins with `event` and whose fields have these values."""
        lines = [json.loads(line) for line in self._log.read_text().splitlines() if line.startswith("{")]
        return [
            line
            for line in lines
            if line["event"].startswith(event) and all(line.get(key) == value for key, value in fields.items())
        ]

    def output(self) -> str:
        """Return everything the worker wrote to standard error."""
        return self._log.read_text()

    def slots(self) -> list[int]:
        """Return the process ids of the supervisor's children."""
        return [
            int(pid) for pid in Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        ]

    def wait_for(self, condition: Callable[[], object], what: str, seconds: float = 15.0) -> None:
        """Poll until the condition holds; fail with the worker's log where it does not within the limit."""
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}\n{self.output()}"
            time.sleep(0.01)

    def wait_for_line(self, event: str, seconds: float = 15.0, **fields: Any) -> dict[str, Any]:
        """Wait for a log line and return the first."""
        self.wait_for(lambda: self.lines(event, **fields), f"a log line {event!r} {fields}", seconds)
        return self.lines(event, **fields)[0]

    def stop(self, seconds: float = 15.0) -> int:
        """End the worker with SIGTERM and return its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(seconds)

    def end(self) -> None:
        """End whatever is left of the worker."""
        for pid in [*self.slots(), self.process.pid] if self.process.poll() is None else []:
            os.kill(pid, signal.SIGKILL)
        self.process.wait()
        self._stream.close()


RunWorker = Callable[..., Worker]


@pytest.fixture
def run_worker(tmp_path: Path) -> Iterator[RunWorker]:
    """Start workers: `run_worker(server, executors_source, *options)`; all are ended after the test."""
    workers: list[Worker] = []

    def start(server: str, executors: str, *options: str) -> Worker:
        worker = Worker(tmp_path / f"worker-{len(workers)}", server, executors, list(options))
        workers.append(worker)
        return worker

    yield start
    for worker in workers:
        worker.end()
