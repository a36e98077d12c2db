"""The node's processes: started apart from the caller, known again by pid and time of birth, and stopped."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from parts import Part
from place import LOGS, STATE, NodeError, last_words

_PIDS = STATE / "pids.json"


def start(part: Part) -> None:
    """Start a part that outlives this script, with its output in a file of its own."""
    with (LOGS / f"{part.name}.log").open("ab") as log:
        process = subprocess.Popen(
            part.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, cwd="/"
        )
    partial = _PIDS.with_suffix(".partial")
    partial.write_text(json.dumps(recorded() | {part.name: [process.pid, _birth(process.pid)]}))
    partial.rename(_PIDS)


def recorded() -> dict[str, list[int]]:
    """Return pid and time of birth of every part that was started."""
    with suppress(FileNotFoundError, ValueError):
        pids: dict[str, list[int]] = json.loads(_PIDS.read_text())
        return pids
    return {}


def alive() -> dict[str, int]:
    """Return the pids of the parts that run; a recycled pid has another time of birth and is none of ours."""
    return {name: pid for name, (pid, birth) in recorded().items() if birth and _birth(pid) == birth}


def check_alive() -> None:
    """Raise NodeError if a part has ended, with the end of its log; the first one, if others ended because of it."""
    running = alive()
    for name in recorded():
        if name not in running:
            raise NodeError(f"{name} ended.{last_words(name)}")


def stop(names: Collection[str], patience: float = 20) -> None:
    """Ask the parts named to end, and kill those that have not after a while."""
    for number, seconds in ((signal.SIGTERM, patience), (signal.SIGKILL, 5)):
        pids = [pid for name, pid in alive().items() if name in names]
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, number)
        deadline = time.monotonic() + seconds
        while any(name in names for name in alive()) and time.monotonic() < deadline:
            time.sleep(0.05)


def _birth(pid: int) -> int:
    """Return when a process began, in clock ticks since boot; 0 if there is none, or only its zombie."""
    with suppress(OSError, IndexError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return 0 if fields[0] == "Z" else int(fields[19])
    return 0
