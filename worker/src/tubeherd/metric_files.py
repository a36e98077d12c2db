"""The files in which the processes of a worker keep the metrics that users define in their executors.

They are those of the multiprocess mode of prometheus_client, which names them after processes. Here they are named
after places: a slot that replaces another one gets its place, so the number of files does not grow. A process that a
job has started has files of its own. When it has ended, the supervisor adds them up, in a file for each type of metric.
"""

import json
import os
import re
import struct
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from shutil import rmtree
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from tubeherd.descriptors import NO_ROOM, low_numbers_taken
from tubeherd.logs import log

if TYPE_CHECKING:
    from prometheus_client.mmap_dict import MmapedDict

_FOLDER_VARIABLE: Final = "PROMETHEUS_MULTIPROC_DIR"
_OF_PROCESS: Final = re.compile(r"(?P<type>[a-z]+(?:_[a-z]+)?)_(?:[a-z]+[0-9]*-)?(?P<pid>[0-9]+)\.db")
"""The name of a file of a process that a job has started: forked from a slot, or any other that uses the library."""
_PAUSE_SECONDS: Final = 1.0
"""How long to wait between two looks for files of processes that have ended."""
_LOOK_SECONDS: Final = 0.02
"""How long one look may read files, but for the last one: the supervisor does nothing else meanwhile."""
_HEAD: Final = struct.Struct("ii")
"""The beginning of a file: its length in bytes, and nothing. The entries follow."""
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
        self._totals: dict[str, dict[str, _Entry]] = {}
        """By type and key, the values of all processes that have ended."""
        self._added: set[str] = set()
        """The names of the files that are in the totals but could not be removed."""
        self._look_at = 0.0
        self._trouble = ""
        os.environ[_FOLDER_VARIABLE] = str(self.folder)
        from prometheus_client import mmap_dict, values  # imported after the variable is set, as the import reads it

        values.MmapedDict = _files_class(mmap_dict.MmapedDict)  # type: ignore[attr-defined]  # it is imported there
        values.ValueClass = values.MultiProcessValue(self._name)

    # In the supervisor

    def fold(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Add up the files of processes that have ended, if it is time to look for them.

        What takes too long is left to the next call, and so is what cannot be done because no file can be opened, or
        because the disk is full: nothing is lost then. `clock` returns seconds.
        """
        now = clock()
        if now < self._look_at:
            return
        self._look_at = now + _PAUSE_SECONDS
        try:
            ended = self._ended()
            for kind in sorted(ended, key=lambda kind: -len(ended[kind])):
                if self._fold(kind, ended[kind], lambda: clock() >= now + _LOOK_SECONDS):
                    self._look_at = now
                    break
        except OSError as error:
            why = os.strerror(error.errno) if error.errno else str(error)
            if why != self._trouble:
                log.warning(f"metrics of processes that jobs have started cannot be added up, it is tried again: {why}")
            self._trouble = why
        else:
            self._trouble = ""

    def end_slot(self, place: int) -> None:
        """Remove what tells of the slot alone that had this place: otherwise the next one would go on with it."""
        end = f"_{_slot(place)}.db"
        with suppress(OSError):
            for path in self.folder.glob(f"*{end}"):
                if path.name.removesuffix(end) not in _FOLDS:
                    path.unlink(missing_ok=True)

    def remove(self) -> None:
        """Remove the files."""
        rmtree(self.folder, ignore_errors=True)

    # In a slot

    def begin_slot(self, place: int) -> None:
        """Write into files that are named after this place from now on. No other living slot may have it."""
        self._writer, self._pid = _slot(place), os.getpid()

    # In every process

    def _name(self) -> str:
        """Return how the files of this process are named: two writers would damage a file."""
        pid = os.getpid()
        return self._writer if pid == self._pid else f"{self._writer}-{pid}"

    # Adding up

    def _ended(self) -> dict[str, list[Path]]:
        """Return the files of processes that have ended, by type; raises OSError."""
        paths: dict[str, list[Path]] = {kind: [] for kind in self._totals}
        with suppress(FileNotFoundError), os.scandir(self.folder) as files:  # programs that clean /tmp may remove it
            for file in files:
                found = _OF_PROCESS.fullmatch(file.name)
                if file.name in self._added:
                    self._remove(Path(file.path))
                elif found and _has_ended(int(found["pid"])):
                    paths.setdefault(found["type"], []).append(Path(file.path))
        return paths

    def _fold(self, kind: str, paths: list[Path], is_late: Callable[[], bool]) -> bool:
        """Add files to the totals of their type, and remove them; return whether it broke off, as it took too long.

        Raises OSError if the totals cannot be written. Then nothing is added and nothing removed.
        """
        done, late, totals = [], False, dict(self._totals.get(kind, {}))
        for path in paths:
            if kind in _FOLDS:
                _add(totals, _entries(path), _FOLDS[kind])
            done.append(path)
            if late := is_late():
                break
        target = self.folder / f"{kind}_ended.db"
        if kind in _FOLDS and (done or not target.exists()):
            _write(target, totals)
            self._totals[kind] = totals
        for path in done:
            self._remove(path)
        return late

    def _remove(self, path: Path) -> None:
        """Remove a file that is in the totals. If that fails, the next look tries again, and does not add it anew."""
        self._added.add(path.name)
        with suppress(OSError):
            path.unlink(missing_ok=True)
            self._added.discard(path.name)


def _slot(place: int) -> str:
    return f"slot{place}"


def _has_ended(pid: int) -> bool:
    """Return whether there is no such process; needs no file, of which none may be left."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return True
    except PermissionError:  # it has changed its user
        return False
    return False


def _add(totals: dict[str, _Entry], entries: Mapping[str, _Entry], fold: Callable[[_Entry, _Entry], _Entry]) -> None:
    for key, entry in entries.items():
        totals[key] = fold(totals[key], entry) if key in totals else entry


def _entries(path: Path) -> dict[str, _Entry]:
    """Return what is in a file, or nothing if code of a job has damaged it; raises OSError if it can be read later."""
    from prometheus_client.mmap_dict import MmapedDict

    try:
        if not path.stat().st_size:  # the process was killed before it wrote
            return {}
        read = {key: (value, at) for key, value, at, _ in MmapedDict.read_all_values_from_file(str(path))}
        for key in read:
            _metric, _name, labels, _help = json.loads(key)  # otherwise /metrics could not be shown any more
            labels.items()
    except Exception as error:
        if isinstance(error, OSError) and error.errno in NO_ROOM:
            raise
        log.warning(
            f"metrics of a process that a job had started are lost, as they are damaged: {type(error).__name__}"
        )
        return {}
    return read


def _write(path: Path, entries: Mapping[str, _Entry]) -> None:
    """Write a file; raises OSError.

    It is not mapped into memory, as those of the library are: on a full disk that would kill the process.
    """
    packed = bytearray(_HEAD.size)
    for key, entry in entries.items():
        name = key.encode()
        padded = name + b" " * (8 - (len(name) + 4) % 8)
        packed += struct.pack(f"i{len(padded)}sdd", len(name), padded, *entry)
    _HEAD.pack_into(packed, 0, len(packed), 0)
    written = path.with_suffix(".new")
    written.write_bytes(packed)
    written.replace(path)


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
