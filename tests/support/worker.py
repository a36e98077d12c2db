"""A real worker process, with its executors in a file and its log lines at hand."""

import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from tests.support.growing_files import read_lines
from tests.support.processes import children, living
from tests.support.waiting import PATIENCE, Result, wait_for

TRACES: Final = """
import os, pathlib, time
FOLDER = pathlib.Path(os.environ["FOLDER"])
def note(text):
    with open(FOLDER / "notes", "ab", buffering=0) as notes:
        notes.write(f"{text}\\n".encode())
def wait_for(name):
    while not (FOLDER / name).exists():
        time.sleep(0.005)
"""
"""The module `traces`, which executors under test import to leave notes, and to wait until the test allows a name."""


class Worker:
    """`tubeherd run` as a process of its own, which logs JSON into a file."""

    def __init__(
        self, folder: Path, server: str, executors: str, options: Sequence[str] = (), prefix: Sequence[str] = ()
    ) -> None:
        """Start it: `executors` is the source of its module of executors, `prefix` a command that runs the worker's."""
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

    # What it has logged, and what its executors have noted

    def lines(self, event: str = "", **fields: Any) -> list[dict[str, Any]]:
        """Return the log lines whose event begins with `event` and whose fields have these values."""
        lines = [json.loads(line) for line in read_lines(self._log) if line.startswith("{")]
        return [
            line
            for line in lines
            if line["event"].startswith(event) and all(line.get(key) == value for key, value in fields.items())
        ]

    def output(self) -> str:
        """Return everything the worker wrote to standard error."""
        return self._log.read_text(errors="replace")

    def notes(self) -> list[str]:
        """Return what the executors noted, in order."""
        return read_lines(self.folder / "notes")

    def allow(self, name: str) -> None:
        """Let an executor go on that waits for this name."""
        (self.folder / name).touch()

    # Its processes

    def slots(self) -> list[int]:
        """Return the process ids of the supervisor's children."""
        return children(self.process.pid)

    def kill_slot(self) -> int:
        """End its oldest slot with SIGKILL, as a crash would, and return the process id."""
        slot = self.slots()[0]
        os.kill(slot, signal.SIGKILL)
        return slot

    def kill_supervisor(self) -> None:
        """End the supervisor with SIGKILL, and no slot."""
        self.process.kill()
        self.process.wait()

    def living(self) -> list[int]:
        """Return every process of the worker's session that still runs, orphans included."""
        return [pid for pid, _ in living([self.process.pid])]

    # Waiting

    def wait_for(self, condition: Callable[[], Result | None], what: str, seconds: float = PATIENCE) -> Result:
        """Poll until the condition returns something true, and return that; fail with the worker's log if it does not.

        Raises TimeoutError after so many seconds.
        """
        return wait_for(condition, lambda: f"{what}\n{self.output()}", seconds)

    def wait_for_notes(self, *notes: str, seconds: float = PATIENCE) -> None:
        """Wait until the executors have noted all of these."""
        self.wait_for(lambda: set(notes) <= set(self.notes()), f"the notes {notes}", seconds)

    def wait_for_line(self, event: str, seconds: float = PATIENCE, **fields: Any) -> dict[str, Any]:
        """Wait for a log line and return the first."""
        return self.wait_for(lambda: self.lines(event, **fields), f"a log line {event!r} {fields}", seconds)[0]

    def wait_for_lines(self, event: str, count: int, seconds: float = PATIENCE, **fields: Any) -> list[dict[str, Any]]:
        """Wait until there are exactly so many log lines of this event, and return them."""
        what = f"{count} log lines {event!r} {fields}"
        self.wait_for(lambda: len(self.lines(event, **fields)) == count, what, seconds)
        return self.lines(event, **fields)

    # Its end

    def exit_code(self) -> int:
        """Wait until the worker has ended by itself, and return its exit code; raises TimeoutExpired if it hangs."""
        return self.process.wait(PATIENCE)

    def ask_to_stop(self) -> None:
        """Send SIGTERM and wait until the worker has logged that it stops."""
        self.process.send_signal(signal.SIGTERM)
        self.wait_for_line("SIGTERM")

    def stop(self, seconds: float = PATIENCE) -> int:
        """End the worker with SIGTERM and return its exit code; raises TimeoutExpired if that takes longer."""
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
"""The fixture `run_worker`: `run_worker(server, executors, *options, prefix=command)` starts a worker."""
