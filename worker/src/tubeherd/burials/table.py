"""Shows why jobs are buried: a table of the groups of records, or one whole record. Pure.

Whoever fails a job chooses what its record says, so all that could control a terminal is replaced.
"""

import textwrap
import unicodedata
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from tubeherd.burials.record import RECORDS_MOST, BurialGroup, BurialRecord, Burials
from tubeherd.policy import BurialKind

_HEAD: Final = ("COUNT", "TUBE", "ERROR", "PLACE", "FIRST", "LAST", "SAMPLE")
_TUBE, _ERROR, _PLACE = 1, 2, 3
_NUMBERS: Final = (0, 6)
"""The columns of numbers, which stand at the right."""
_NARROWEST: Final = 6
"""No column of names becomes narrower than this, in characters."""
_GAP: Final = "  "


def table(burials: Burials, now: datetime, width: int) -> str:
    """Return the groups as a table of so many columns, with what the records do not show below it."""
    groups = burials.groups
    lines = list(_lines([_HEAD, *(_cells(group, now) for group in groups)], width)) if groups else []
    for note in _notes(burials):
        lines += textwrap.wrap(note, width)
    return "\n".join(lines)


def whole(record: BurialRecord, now: datetime) -> str:
    """Return all that a record says; of the message and the traceback every line."""
    when = f"{record.time.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC, {_age(now - record.time)}"
    fields = {
        "job": str(record.job),
        "tube": record.tube,
        "buried": f"{when}, after attempt {record.attempts}",
        "kind": record.kind,
        "error": record.error,
        "place": record.place,
        "worker": record.worker,
        "message": record.message,
    }
    lines = [f"{name:<8} {_plain(text)}" for name, text in fields.items() if text is not None]
    if record.traceback is not None:
        lines += ["", *map(_plain, record.traceback.split("\n"))]
    return "\n".join(lines)


def _notes(burials: Burials) -> Iterator[str]:
    """Yield a sentence for the sum, and for each reason why a buried job is not in the table."""
    records, groups = len(burials.records), len(burials.groups)
    if records:
        counted = f"{_number(records, 'buried job')} in {_number(groups, 'group')}"
        yield f"{counted}. tubeherd why --job SAMPLE shows a traceback."
    elif not (burials.read_elsewhere or burials.without_record):
        yield "No job is buried."
    if burials.read_elsewhere:
        yield (
            f"{_number(burials.read_elsewhere, 'record')} could not be seen, because somebody else is reading: "
            "try again in a moment."
        )
    if burials.without_record:
        jobs = _number(burials.without_record, "further buried job" if records else "buried job")
        yield (
            f"{jobs} {'has' if burials.without_record == 1 else 'have'} no record: only Tubeherd writes records, and "
            f"those of the newest {RECORDS_MOST:,} burials are kept."
        )


def _number(count: int, thing: str) -> str:
    return f"{count:,} {thing}" if count == 1 else f"{count:,} {thing}s"


def _cells(group: BurialGroup, now: datetime) -> tuple[str, ...]:
    error = group.error if group.error is not None and group.kind is BurialKind.EXCEPTION else group.kind
    first, last = _age(now - group.first), _age(now - group.last)
    cells = (f"{group.count:,}", group.tube, error, group.place or "-", first, last, str(group.sample.job))
    return tuple(map(_plain, cells))


def _lines(rows: Sequence[Sequence[str]], width: int) -> Iterator[str]:
    """Yield the rows, with names cut so that a row has at most so many columns."""
    widths = [max(map(_columns, column)) for column in zip(*rows, strict=True)]
    names = (_TUBE, _ERROR, _PLACE)
    while sum(widths) + len(_GAP) * (len(widths) - 1) > width:
        widest = max(names, key=lambda number: widths[number])
        if widths[widest] <= _NARROWEST:
            break
        widths[widest] -= 1
    for row in rows:
        cells = enumerate(zip(row, widths, strict=True))
        yield _GAP.join(_fit(cell, number, most) for number, (cell, most) in cells).rstrip()


def _fit(cell: str, number: int, most: int) -> str:
    """Return the cell of this column cut or filled to so many columns of the terminal."""
    if _columns(cell) > most:
        while _columns(cell) > most - 1:
            cell = cell[1:] if number == _PLACE else cell[:-1]  # the end of a place is the line, which tells most
        cell = f"…{cell}" if number == _PLACE else f"{cell}…"
    filling = " " * (most - _columns(cell))
    return filling + cell if number in _NUMBERS else cell + filling


def _columns(text: str) -> int:
    """Return how many columns of a terminal a text takes."""
    return sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text)


def _plain(text: str) -> str:
    """Return a text without what could control a terminal."""
    return "".join(letter if letter.isprintable() else "?" for letter in text.replace("\t", "    "))


def _age(passed: timedelta) -> str:
    """Return how long ago something was, in its largest unit."""
    seconds = max(0, int(passed.total_seconds()))
    for unit, name in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= unit:
            return f"{seconds // unit}{name} ago"
    return f"{seconds}s ago"
