"""What one slot counts for /metrics, in a file in memory. The supervisor can read it even after the slot has died.

The file holds the number of tubes, then the number of each incident, then a row of numbers for each pair of tube and
verdict, then the names of the tubes. A row has the sum of the times that jobs took, and the number of jobs in
each bucket, which is a range of times. Times are whole microseconds, because a sum of fractions depends on the order in
which they are added: the total over all slots could decrease a little, and Prometheus takes any decrease for a restart.
"""

import mmap
import os
import struct
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Final

from tubeherd.descriptors import low_numbers_taken, moved

BUCKETS: Final[tuple[float, ...]] = (0.001, 0.01, 0.1, 1.0, 10.0, 60.0, 600.0)
"""The longest time of each bucket, in seconds. One more bucket is for longer times."""
_NUMBER: Final = struct.Struct("=Q")
_BYTES: Final = _NUMBER.size
_ROW: Final = len(BUCKETS) + 2
_TUBE_COUNT_AT: Final = 0
_INCIDENTS_AT: Final = 1


class VerdictLabel(StrEnum):
    """What became of a job: the values of the metric's label `verdict`."""

    DELETED = "deleted"
    RETRIED = "retried"
    RELEASED = "released"
    BURIED = "buried"
    LEASE_GONE = "lease_gone"

    __hash__ = str.__hash__  # that of an enum is a function of Python, and each job looks its label up


class Incident(StrEnum):
    """What is counted beside jobs, because it is rare."""

    LOST_RECORD = "lost_record"
    """The record of a burial could not be written."""
    LOST_LEASE = "lost_lease"
    """A lease was gone before there was a verdict."""
    RECONNECT = "reconnect"
    """A connection was opened in place of one that broke."""
    EXCEPTION = "exception"
    """An attempt at a job failed; this and the following have the names of the kinds of burials."""
    INVALID = "invalid"
    DEADLINE = "deadline"
    MEMORY = "memory"
    KILLED = "killed"
    POISON = "poison"
    REJECTED = "rejected"


_INCIDENT_AT: Final = {incident: _INCIDENTS_AT + number for number, incident in enumerate(Incident)}
_ROWS_AT: Final = _INCIDENTS_AT + len(Incident)
Counts = dict[tuple[str, VerdictLabel], list[int]]
"""By tube and verdict, one row: the microseconds of all jobs, then the number of jobs in each bucket."""


def add_job(counts: Counts, tube: str, verdict: VerdictLabel, seconds: float) -> None:
    """Add one job, which took so many seconds."""
    row = counts.setdefault((tube, verdict), [0] * _ROW)
    row[0] += int(seconds * 1e6)
    row[1 + bisect_left(BUCKETS, seconds)] += 1


def add_counts(counts: Counts, others: Counts) -> None:
    """Add all jobs of `others`."""
    for key, row in others.items():
        counts[key] = [own + other for own, other in zip(counts.get(key, [0] * _ROW), row, strict=True)]


class Tally:
    """The counts of one slot."""

    def __init__(self) -> None:
        """Make the file, in the supervisor, before the slot is forked; raises OSError."""
        self._file = moved(os.memfd_create("tubeherd-tally"))
        self._rows: dict[tuple[str, VerdictLabel], int] = {}
        self._names: frozenset[str] = frozenset()

    def begin(self, tubes: Sequence[str]) -> None:
        """Make room, in the slot, for counting jobs of these tubes, or of the tubes that these globs match."""
        self._names = frozenset(tubes)
        self._rows = {key: _ROWS_AT + number * _ROW for number, key in enumerate(_keys(tubes))}
        size = _BYTES * (_ROWS_AT + len(self._rows) * _ROW)
        os.ftruncate(self._file, size)  # without tubes, nothing is written behind the counts
        os.pwrite(self._file, "\n".join(tubes).encode(), size)
        with low_numbers_taken():  # the map has a descriptor of its own
            self._numbers = memoryview(mmap.mmap(self._file, size)).cast("Q")
        self._numbers[_TUBE_COUNT_AT] = len(tubes)

    def count_as(self, names: Mapping[str, str]) -> None:
        """Count, in the slot, the jobs of these tubes as those of these names, which `begin` was given."""
        own = {(name, verdict): row for (name, verdict), row in self._rows.items() if name in self._names}
        others = {(tube, verdict): own[name, verdict] for tube, name in names.items() for verdict in VerdictLabel}
        self._rows = others | own

    def count(self, tube: str, verdict: VerdictLabel, seconds: float) -> None:
        """Count one job, unless its tube is none of those that `begin` and `count_as` were given.

        beanstalkd sends no job of another tube, so this only happens if its answer was wrong.
        """
        row = self._rows.get((tube, verdict))
        if row is not None:
            self._numbers[row + 1 + bisect_left(BUCKETS, seconds)] += 1
            self._numbers[row] += int(seconds * 1e6)

    def count_incident(self, incident: Incident) -> None:
        """Count one incident."""
        self._numbers[_INCIDENT_AT[incident]] += 1

    def incidents(self) -> dict[Incident, int]:
        """Return, in the supervisor, how often each incident was counted."""
        data = os.pread(self._file, _BYTES * len(Incident), _BYTES * _INCIDENTS_AT)
        if len(data) < _BYTES * len(Incident):  # the slot has not called `begin` yet
            return dict.fromkeys(Incident, 0)
        return dict(zip(Incident, memoryview(data).cast("Q"), strict=True))

    def read(self) -> Counts:
        """Return, in the supervisor, what was counted so far; raises ValueError if a job has damaged the file."""
        names, rows = self._read()
        return {key: row for key, row in zip(_keys(names), rows, strict=True) if any(row)}

    def names(self) -> list[str]:
        """Return, in the supervisor, what `begin` was given; raises ValueError if a job has damaged the file."""
        return self._read()[0]

    def _read(self) -> tuple[list[str], list[list[int]]]:
        data = os.pread(self._file, os.fstat(self._file).st_size, 0)
        tube_count = int(_NUMBER.unpack_from(data)[0]) if len(data) > _BYTES else 0
        if tube_count == 0:  # the slot has not called `begin` yet
            return [], []
        size = _BYTES * (_ROWS_AT + tube_count * len(VerdictLabel) * _ROW)
        if size >= len(data):
            raise ValueError("it is too short for its tubes")
        rows = [list(row) for row in struct.iter_unpack(f"={_ROW}Q", data[_BYTES * _ROWS_AT : size])]
        return data[size:].decode().split("\n"), rows

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)


def _keys(tubes: Sequence[str]) -> list[tuple[str, VerdictLabel]]:
    """Return what each row counts, in the order of the rows."""
    return [(tube, verdict) for tube in tubes for verdict in VerdictLabel]
