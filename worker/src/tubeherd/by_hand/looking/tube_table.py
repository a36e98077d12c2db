"""Shows tubes with their jobs as a table for a terminal, with notes below it. Pure."""

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from tubeherd.by_hand.looking.counting import Rate, busiest_first
from tubeherd.by_hand.looking.looked import Stats
from tubeherd.formats.columns import Column, counted, lay_out, left, number
from tubeherd.formats.text import some_of
from tubeherd.queue.answers import TubeCounters

_COLUMNS: Final = (
    Column(""),
    Column("TUBE", shrinks=True),
    *(Column(head, is_number=True) for head in ("READY", "RESERVED", "DELAYED", "BURIED", "WAITING")),
)
_RATES: Final = (Column("IN/S", is_number=True), Column("DONE/S", is_number=True))
_LACKS_WORKER: Final = "!"
_TUBE_WIDTH: Final = 12
"""If a name would get fewer columns than this, the space between columns is halved."""


def tube_table(stats: Stats, rates: Mapping[str, Rate] | None, width: int, most: int | None) -> list[str]:
    """Return the lines of a table of so many columns of the terminal.

    If there are no more than `most` tubes, they are sorted by name; otherwise the `most` tubes with the most jobs are
    shown. The rates are shown unless they are None.
    """
    shown = stats.tubes if most is None or len(stats.tubes) <= most else busiest_first(stats.tubes)[:most]
    lines: list[str] = []
    if shown:
        columns = (*_COLUMNS, *(() if rates is None else _RATES))
        rows = [_row(stats, tube, rates) for tube in shown]
        fixed = [
            max(len(row[at]) for row in [[c.head for c in columns], *rows]) for at in range(len(columns)) if at != 1
        ]
        gap = 2 if width - sum(fixed) - 2 * len(fixed) >= _TUBE_WIDTH else 1
        lines += lay_out(columns, rows, width, gap)
    for note in _notes(stats, shown):
        lines += textwrap.wrap(note, width)
    return lines


def _row(stats: Stats, tube: TubeCounters, rates: Mapping[str, Rate] | None) -> list[str]:
    mark = _LACKS_WORKER if stats.lacks_worker(tube) else ""
    counts = (tube.ready, tube.reserved, tube.delayed, tube.buried, tube.waiting)
    row = [mark, tube.name, *map(number, counts)]
    if rates is not None:
        rate = rates.get(tube.name)
        row += ["-", "-"] if rate is None else [number(rate.put), number(rate.deleted)]
    return row


def _notes(stats: Stats, shown: Sequence[TubeCounters]) -> Iterator[str]:
    if not stats.tubes:
        yield "No tube: a tube exists only while it has jobs, or a worker watches it."
    if len(shown) < len(stats.tubes):
        others = len(stats.tubes) - len(shown)
        jobs = sum(tube.jobs for tube in stats.tubes) - sum(tube.jobs for tube in shown)
        yield f"These have the most jobs. {counted(others, 'other tube')} with {counted(jobs, 'job')}: see --all."
    if stats.uncounted:
        server = stats.server
        yield (
            f"{counted(stats.uncounted, 'further tube')} not counted, which would take long: name tubes or a pattern, "
            f"or see --all. The server has in all: ready {server.ready:,}, reserved {server.reserved:,}, delayed "
            f"{server.delayed:,}, buried {server.buried:,}."
        )
    if lacking := [tube for tube in stats.tubes if stats.lacks_worker(tube)]:
        names = some_of([tube.name for tube in busiest_first(lacking)])
        jobs = sum(tube.ready + tube.delayed for tube in lacking)
        yield f"! {counted(jobs, 'job')} and no worker: {names}"
    if paused := [tube for tube in stats.tubes if tube.pause]:
        yield f"Paused: {some_of([f'{tube.name} for {left(tube.pause_left)}' for tube in paused])}"
