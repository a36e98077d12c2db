"""How much memory a slot uses, and how often the kernel killed for it."""

import os
from contextlib import suppress
from pathlib import Path
from typing import Final

_CGROUPS: Final = Path("/sys/fs/cgroup")
_KILL_COUNTS: Final = {
    "memory": (_CGROUPS / "memory", "memory.oom_control"),  # version 1
    "": (_CGROUPS, "memory.events"),  # version 2
}
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")


def used_above(pid: int, bound: int) -> int | None:
    """Return the bytes that a process uses, its part of shared pages included, if that is more than `bound`."""
    try:
        resident = int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE
        # The proportional size is exact but dear, and never more than the resident size.
        if resident <= bound:
            return None
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except (OSError, IndexError):
        return None  # the process has just ended
    proportional = next((int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:")), 0) * 1024
    return proportional if proportional > bound else None


def kernel_kills() -> int:
    """Return how many processes of this container the kernel has killed for its memory limit; 0 where it is not told.

    Source of the files: the kernel's cgroup-v1/memory.rst (oom_kill of memory.oom_control) and cgroup-v2.rst
    (oom_kill of memory.events).
    """
    with suppress(OSError, ValueError):
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers in _KILL_COUNTS:
                folder, file = _KILL_COUNTS[controllers]
                own = folder / path.lstrip("/") / file
                # A container may be told the path that the host sees, but finds its own cgroup at the top.
                words = (own if own.exists() else folder / file).read_text().split()
                return int(words[words.index("oom_kill") + 1])
    return 0
