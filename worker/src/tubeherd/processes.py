"""Finds the processes that a process has started, by files of `/proc`."""

import os
import time

# What ctypes itself uses. To import ctypes would cost each worker half a MiB of memory.
from _ctypes import call_function, dlopen, dlsym
from contextlib import suppress
from typing import Final

_PR_SET_CHILD_SUBREAPER: Final = 36
_TICKS: Final = os.sysconf("SC_CLK_TCK")


def become_subreaper() -> None:
    """Have processes become children of this one if their parents, which descend from this process, have ended."""
    prctl = dlsym(dlopen(None, 0), "prctl")  # type: ignore[arg-type]  # None is the program itself
    call_function(prctl, (_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0))


def descendants(pid: int) -> list[int]:
    """Return the ids of the children of a process, of their children, and so on; none if it has ended.

    A process whose parent has ended is the child of the nearest ancestor that is a subreaper (`man 2 prctl`), or of
    process 1. The list is right for one moment only; a process that starts or ends meanwhile may be missing.
    """
    found = children(pid)
    seen = {pid, *found}
    for each in found:  # grows during the loop
        more = [child for child in children(each) if child not in seen]
        seen.update(more)
        found += more
    return found


def children(pid: int) -> list[int]:
    """Return the ids of the children of a process; none if it has ended."""
    found: list[int] = []
    with suppress(OSError):  # the process has just ended
        for thread in os.listdir(f"/proc/{pid}/task"):  # the kernel keeps the children of each thread apart
            with suppress(OSError):
                found += map(int, read_proc(f"{pid}/task/{thread}/children").split())
    return found


def has_ended(pid: int) -> bool:
    """Return whether a process has ended, although nobody may have read its exit code yet."""
    fields = _stat(pid)
    return not fields or fields[0] in (b"Z", b"X")


def started_at(pid: int) -> float:
    """Return when a process was started, on the monotonic clock, a little late rather than early; 0 if it has ended."""
    fields = _stat(pid)
    if not fields:
        return 0.0
    ahead = time.clock_gettime(time.CLOCK_BOOTTIME) - time.monotonic()  # by the time that the machine was suspended
    return (int(fields[19]) + 1) / _TICKS - ahead


def _stat(pid: int) -> list[bytes]:
    """Return the fields of `/proc/PID/stat` from the state on; none if the process has ended."""
    try:
        return read_proc(f"{pid}/stat").rpartition(b")")[2].split()
    except OSError:
        return []


def read_proc(file: str) -> bytes:
    """Return what a file below `/proc` holds; raises OSError. Python's own files take several times as long to read."""
    fd = os.open(f"/proc/{file}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        parts = []
        while part := os.read(fd, 1 << 16):
            parts.append(part)
        return b"".join(parts)
    finally:
        os.close(fd)
