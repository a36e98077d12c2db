"""The files in which the processes of a worker keep the metrics that users define in their executors.

They are those of the multiprocess mode of prometheus_client, which names them after processes. Here they are named
after places: a slot that replaces another one gets its place, so the number of files does not grow. A process that a
job has started has files of its own. When it has ended, the supervisor adds them up, in a file for each type of metric.
"""

import os
import re
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from shutil import rmtree
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from tubeherd.descriptors import low_numbers_taken
from tubeherd.logs import log
from tubeherd.processes import has_ended

if TYPE_CHECKING:
    from prometheus_client.mmap_dict import MmapedDict

_FOLDER_VARIABLE: Final = "PROMETHEUS_MULTIPROC_DIR"
_OF_PROCESS: Final = re.compile(r"(?P<type>[a-z]+(?:_[a-z]+)?)_(?:[a-z]+[0-9]*-)?(?P<pid>[0-9]+)\.db")
"""The name of a file of a process that a job has started: forked from a slot, or any other that uses the library."""
_PAUSE_SECONDS: Final = 1.0
"""How long to wait between two looks for files of processes that have ended."""
_LOOK_SECONDS: Final = 0.02
"""How long one look may take: the supervisor does nothing else meanwhile."""
_Entry = tuple[float, float]
"""A value, and when it was set, in Unix time, or 0."""


def _sum(one: _Entry, other: _Entry) -> _Entry:
    return one[0] + other[0], 0.0


_FOLDS: Final[Mapping[str, Callable[[_Entry, _Entry], _Entry]]] = MappingProxyType(
    {
        "counter": _sum,
        "histogram": _sum,
        "summary": _sum,
        "gauge_sum": _sum,
        "gauge_min": min,
        "gauge_max": max,
        "gauge_mostrecent": lambda one, other: max(one, other, key=lambda entry: entry[1]),
    }
)
"""How two values of a type become one. Other gauges tell of one process each, and go with it."""


class MetricFiles:
    """The files of one worker. It must be made before the first slot is forked, which then has it too."""

    def __init__(self) -> None:
        """Make the folder for the files; raises OSError if no temporary directory can be written."""
        self.folder = Path(tempfile.mkdtemp(prefix=f"tubeherd-metrics-{os.getpid()}-"))
        self._writer = "supervisor"
        self._pid = os.getpid()
        self._folded: dict[str, tuple[MmapedDict, dict[str, _Entry]]] = {}
        """By type, the file of the processes that have ended, and what is in it."""
        self._look_at = 0.0
        os.environ[_FOLDER_VARIABLE] = str(self.folder)
        from prometheus_client import mmap_dict, values  # imported after the variable is set, as the import reads it

        self._files_class = _files_class(mmap_dict.MmapedDict)
        values.MmapedDict = self._files_class  # type: ignore[attr-defined]  # it is imported there
        values.ValueClass = values.MultiProcessValue(self._name)

    # In the supervisor

    def fold(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Add up the files of processes that have ended, if it is time to look for them.

        What takes too long is left to the next call. `clock` returns seconds.
        """
        now = clock()
        if now < self._look_at:
            return
        self._look_at = now + _PAUSE_SECONDS
        for path, kind in self._left():
            try:
                self._fold(path, kind)
            except Exception as error:  # code of a job has damaged it
                log.warning(f"metrics of a process that a job had started are lost: {type(error).__name__}")
            path.unlink(missing_ok=True)
            if clock() >= now + _LOOK_SECONDS:
                self._look_at = now
                return

    def remove(self) -> None:
        """Remove the files."""
        for file, _ in self._folded.values():
            file.close()
        rmtree(self.folder, ignore_errors=True)

    # In a slot

    def write_as(self, writer: str) -> None:
        """Write into files of this name from now on. No other living process may use the name."""
        self._writer, self._pid = writer, os.getpid()

    # In every process

    def _name(self) -> str:
        """Return how the files of this process are named: two writers would damage a file."""
        pid = os.getpid()
        return self._writer if pid == self._pid else f"{self._writer}-{pid}"

    def _left(self) -> Iterator[tuple[Path, str]]:
        """Yield the files of processes that have ended, and their types."""
        for path in self.folder.glob("*.db"):
            found = _OF_PROCESS.fullmatch(path.name)
            if found and has_ended(int(found["pid"])):
                yield path, found["type"]

    def _fold(self, path: Path, kind: str) -> None:
        fold = _FOLDS.get(kind)
        if fold is None:
            return
        file, entries = self._ended(kind)
        for key, value, timestamp, _ in self._files_class.read_all_values_from_file(str(path)):
            entry = entries[key] = fold(entries[key], (value, timestamp)) if key in entries else (value, timestamp)
            file.write_value(key, *entry)

    def _ended(self, kind: str) -> tuple["MmapedDict", dict[str, _Entry]]:
        """Return the file of the processes that have ended, for a type of metrics, and what is in it."""
        path, known = self.folder / f"{kind}_ended.db", self._folded.get(kind)
        if known and path.exists():
            return known
        if known:  # programs that clean /tmp have removed it
            known[0].close()
        self._folded[kind] = self._files_class(str(path)), {}
        return self._folded[kind]


def _files_class(base: type["MmapedDict"]) -> type["MmapedDict"]:
    """Return prometheus_client's class of a file of metrics, made so that its descriptors get high numbers."""

    class HighMmapedDict(base):  # type: ignore[misc,valid-type]  # the base is a parameter, because its import is late
        def __init__(self, filename: str, read_mode: bool = False) -> None:
            with low_numbers_taken():
                super().__init__(filename, read_mode)

        def _init_value(self, key: str) -> None:
            with low_numbers_taken():  # if the file is too small for another value, it is mapped anew
                super()._init_value(key)

    return HighMmapedDict
