"""Finds the processes that a process has started, by files of `/proc`."""

import os
from contextlib import suppress


def descendants(pid: int) -> list[int]:
    """Return the ids of the children of a process, of their children, and so on; none if it has ended.

    A process whose parent has ended is the child of the nearest ancestor that is a subreaper (`man 2 prctl`), or of
    process 1. The list is right for one moment only; a process that starts or ends meanwhile may be missing.
    """
    found = _children(pid)
    seen = {pid, *found}
    for each in found:  # grows during the loop
        more = [child for child in _children(each) if child not in seen]
        seen.update(more)
        found += more
    return found


def _children(pid: int) -> list[int]:
    found: list[int] = []
    with suppress(OSError):  # the process has just ended
        for thread in os.listdir(f"/proc/{pid}/task"):  # the kernel keeps the children of each thread apart
            with suppress(OSError):
                found += map(int, read_proc(f"{pid}/task/{thread}/children").split())
    return found


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
