"""What `/proc` says about processes."""

from collections.abc import Collection
from pathlib import Path


def children(pid: int) -> list[int]:
    """Return the children of a process; none if it has ended."""
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def session_of(pid: int) -> int:
    """Return the session of a process that runs; 0 if it has ended."""
    try:
        state, _, _, session = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[:4]
    except OSError:
        return 0
    return 0 if state in "ZX" else int(session)


def living(sessions: Collection[int]) -> list[tuple[int, int]]:
    """Return every process of these sessions that still runs, orphans included, with its session."""
    pids = [int(path.name) for path in Path("/proc").glob("[0-9]*")]
    return [(pid, session) for pid in pids if (session := session_of(pid)) in sessions]
