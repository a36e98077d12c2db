"""A real worker process, with its executors in a file and its log lines at hand."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

# What the executors under test import to leave traces, and to wait for the test.
TRACES = """
import os, pathlib, time
FOLDER = pathlib.Path(os.environ["FOLDER"])
def note(text):
    with open(FOLDER / "notes", "ab", buffering=0) as notes:
        notes.write(f"{text}\\n".encode())
def wait_for(name):
    while not (FOLDER / name).exists():
        time.sleep(0.005)
"""


class Worker:
    """`tubeherd run` as a process of its own, which logs JSON into a file."""

    def __init__(self, folder: Path, server: str, executors: str, options: list[str], prefix: list[str]) -> None:
        folder.mkdir(exist_ok=True)
        (folder / "executors_under_test.py").write_text(textwrap.dedent(executors))
        (folder / "traces.py").write_text(TRACES)
        self.folder = folder
        self._log = folder / "log.jsonl"
        self._stream = self._log.open("ab")
        command = [sys.executable, "-m", "tubeherd", "run", "--executors", "executors_under_test", "--server", server]
        path = os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])
        env = os.environ | {"PYTHONPATH": path, "FOLDER": str(folder)}
        command = [*prefix, *command, *options]
        self.process = subprocess.Popen(command, env=env, stderr=self._stream, start_new_session=True)

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

    def notes(self) -> list[str]:
        """Return what the executors noted, in order."""
        notes = self.folder / "notes"
        return notes.read_text().splitlines() if notes.exists() else []

    def allow(self, name: str) -> None:
        """Let an executor go on that waits for this name."""
        (self.folder / name).touch()

    def living(self) -> list[int]:
        """Return every process of the worker's session that still runs, orphans included."""
        found = []
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with suppress(OSError):
                state, _, _, session = stat.read_text().rpartition(")")[2].split()[:4]
                if int(session) == self.process.pid and state not in "ZX":
                    found.append(int(stat.parent.name))
        return found

    def wait_for_notes(self, *notes: str, seconds: float = 15.0) -> None:
        """Wait until the executors have noted all of these."""
        self.wait_for(lambda: set(notes) <= set(self.notes()), f"notes {notes}, not only {self.notes()}", seconds)

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
        self.process.kill()
        for pid in self.living():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()
        self._stream.close()


RunWorker = Callable[..., Worker]


@pytest.fixture
def run_worker(tmp_path: Path) -> Iterator[RunWorker]:
    """Start workers: `run_worker(server, executors_source, *options)`; all are ended after the test.

    `prefix` is a command that runs the worker's.
    """
    workers: list[Worker] = []

    def start(server: str, executors: str, *options: str, prefix: Sequence[str] = ()) -> Worker:
        worker = Worker(tmp_path / f"worker-{len(workers)}", server, executors, list(options), list(prefix))
        workers.append(worker)
        return worker

    yield start
    for worker in workers:
        worker.end()
