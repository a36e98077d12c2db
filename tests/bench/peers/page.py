"""A page of memory in which the processes of a contestant note the jobs that they begin."""

import mmap
import os
import threading
import time
from pathlib import Path
from typing import Final

_COUNT, _FIRST, _LAST, _PID = range(4)
_SIZE: Final = 4 * 8


class Page:
    """How many jobs were begun, when the first and the last of them, and in which process."""

    def __init__(self, file: Path) -> None:
        with file.open("r+b") as opened:
            self._cells = memoryview(mmap.mmap(opened.fileno(), _SIZE)).cast("d")
        self._lock = threading.Lock()

    @classmethod
    def create(cls, file: Path) -> "Page":
        """Make an empty page in this file."""
        file.write_bytes(bytes(_SIZE))
        return cls(file)

    def note(self) -> None:
        """Note that a job begins; threads may do so at once, but processes only in turn."""
        with self._lock:
            self._cells[_LAST] = time.monotonic()
            self._cells[_PID] = os.getpid()
            if not self._cells[_COUNT]:
                self._cells[_FIRST] = self._cells[_LAST]
            self._cells[_COUNT] += 1

    def clear(self) -> None:
        """Forget all jobs."""
        for cell in range(len(self._cells)):
            self._cells[cell] = 0

    @property
    def count(self) -> int:
        """How many jobs were begun."""
        return int(self._cells[_COUNT])

    @property
    def first(self) -> float:
        """When the first job was begun, on the clock that all processes share."""
        return self._cells[_FIRST]

    @property
    def last(self) -> float:
        """When the last job was begun."""
        return self._cells[_LAST]

    @property
    def pid(self) -> int:
        """Which process began the last job."""
        return int(self._cells[_PID])
