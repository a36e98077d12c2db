"""Shows why jobs are buried: a table of the groups of records, or one whole record. Pure.

Whoever fails a job chooses what its record says, so all that could control a terminal is replaced.
"""

import textwrap
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

from tubeherd.burials.record import RECORDS_MOST, BurialGroup, BurialRecord, Burials
from tubeherd.formats.columns import Column, counted, lay_out, plain, span
from tubeherd.policy import BurialKind

_COLUMNS: Final = (
    Column("COUNT", is_number=True),
    Column("TUBE", shrinks=True),
    Column("ERROR", shrinks=True, keeps=len("ConnectionRefusedError")),  # it may have to be typed after --error
    # The end of a place is the line, which shows most.
    Column("PLACE", shrinks=True, keeps_end=True, keeps=len("…mail.py:12345")),
    Column("FIRST"),
    Column("LAST"),
    Column("SAMPLE", is_number=True),
)


def table(burials: Burials, now: datetime, width: int, tube: str | None = None) -> str:
    """Return the groups as a table of so many columns, with what the records do not show below it.

    `tube` is the one that they are about; None for all.
    """
    groups = burials.groups
    lines = list(lay_out(_COLUMNS, [_cells(group, now) for group in groups], width)) if groups else []
    for note in _notes(burials, tube):
        lines += textwrap.wrap(note, width)
    return "\n".join(lines)


def whole(record: BurialRecord, now: datetime) -> str:
    """Return all that a record says; of the message and the traceback every line."""
    return "\n".join([*_lines({"job": str(record.job), "tube": record.tube}), details(record, now)])


def details(record: BurialRecord, now: datetime) -> str:
    """Return what a record says besides the job and its tube."""
    when = f"{record.time.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC, {_ago(now - record.time)}"
    fields = {
        "buried": f"{when}, after attempt {record.attempts}",
        "kind": record.kind,
        "error": record.error,
        "place": record.place,
        "worker": record.worker,
        "message": record.message,
    }
    lines = _lines(fields)
    if record.traceback is not None:
        lines += ["", *map(plain, record.traceback.split("\n"))]
    return "\n".join(lines)


def _lines(fields: Mapping[str, str | None]) -> list[str]:
    return [f"{name:<8} {plain(text)}" for name, text in fields.items() if text is not None]


def _notes(burials: Burials, tube: str | None) -> Iterator[str]:
    """Yield a sentence for the sum, and for each reason why a buried job is not in the table."""
    records, groups = len(burials.records), len(burials.groups)
    if records:
        sums = f"{counted(records, 'buried job')} in {counted(groups, 'group')}"
        yield f"{sums}. tubeherd why --job SAMPLE shows all about one."
    elif not (burials.read_elsewhere or burials.without_record):
        yield f"No job{'' if tube is None else f' of tube {tube}'} is buried."
    if burials.read_elsewhere:
        yield (
            f"{counted(burials.read_elsewhere, 'record')} could not be seen, because somebody else is reading: "
            "try again in a moment."
        )
    if burials.without_record:
        jobs = counted(burials.without_record, "further buried job" if records else "buried job")
        yield (
            f"{jobs} {'has' if burials.without_record == 1 else 'have'} no record: only Tubeherd writes records, and "
            f"those of the newest {RECORDS_MOST:,} burials are kept."
        )


def _cells(group: BurialGroup, now: datetime) -> tuple[str, ...]:
    error = group.error if group.error is not None and group.kind is BurialKind.EXCEPTION else group.kind
    first, last = _ago(now - group.first), _ago(now - group.last)
    return (f"{group.count:,}", group.tube, error, group.place or "-", first, last, str(group.sample.job))


def _ago(passed: timedelta) -> str:
    return f"{span(passed.total_seconds())} ago"
