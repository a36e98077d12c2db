"""Watches the files of the executors for `--reload`, and decides which places wait until the files can be imported.

The supervisor imports no executors, so the slots report the folders from which they have imported modules. A place is
where one slot after another runs. After a change one slot imports the executors first, and the other places wait until
that has succeeded, so that an error is logged once.
"""

import os
from collections.abc import Iterable
from contextlib import suppress
from typing import Final

_POLL_SECONDS: Final = 0.2
"""How often the files are looked at. A change counts if the next look finds the same, because a file may be half
written."""

Files = dict[str, tuple[int, int, int]]
"""By name, the time of the last change in nanoseconds, the size in bytes and the inode of each file of a folder."""


class Reloading:
    """What the supervisor knows of the files of the executors."""

    def __init__(self, folders: Iterable[str]) -> None:
        """Watch these folders; `watch` adds others."""
        self._known: dict[str, Files] = {}
        self._last: dict[str, Files] = {}
        self._next_look = 0.0
        self._broken = False
        """Whether the executors could not be imported since the last change."""
        self._untried = True
        """Whether no slot has imported the executors since the last change."""
        self.watch(folders)

    @property
    def waits(self) -> bool:
        """Whether a change of a file is the only way on, and can be noticed."""
        return self._broken and bool(self._known)

    def watch(self, folders: Iterable[str]) -> None:
        """Watch these folders too, as they are now."""
        for folder in folders:
            if folder not in self._known:
                self._known[folder] = self._last[folder] = _files(folder)

    def changed(self, now: float) -> list[str]:
        """Return the names of the files that have changed, `now` on the monotonic clock; most often none."""
        if now < self._next_look:
            return []
        self._next_look = now + _POLL_SECONDS
        before, self._last = self._last, {folder: _files(folder) for folder in self._known}
        if self._last == self._known or self._last != before:
            return []
        names = sorted({name for folder in self._known for name in _differing(self._known[folder], self._last[folder])})
        self._known = self._last
        self._broken, self._untried = False, True
        return names

    def failed(self) -> None:
        """Note that the executors could not be imported."""
        self._broken = True

    def succeeded(self) -> bool:
        """Note that a slot has imported the executors; return whether it is the first one since the last change."""
        first, self._untried, self._broken = self._untried, False, False
        return first

    def holds(self, *, starting: bool) -> bool:
        """Return whether a vacant place has to wait; `starting` is whether another slot imports the executors now."""
        return self._broken or (self._untried and starting)


def _files(folder: str) -> Files:
    """Return the Python files in a folder, and the names of the folders in it, in which packages may appear."""
    found: Files = {}
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith((".", "__pycache__")):
                    continue
                if entry.name.endswith(".py"):
                    with suppress(OSError):  # it was listed and is gone, or is a link to nothing
                        stat = entry.stat()
                        found[entry.name] = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
                elif entry.is_dir():
                    found[entry.name] = (0, 0, 0)
    except OSError:  # the folder is gone
        pass
    return found


def _differing(before: Files, after: Files) -> set[str]:
    return {name for name, _ in before.items() ^ after.items()}
