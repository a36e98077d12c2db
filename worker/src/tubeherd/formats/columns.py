"""Lays text out in columns for a terminal, without anything that could control the terminal.

Names, messages and payloads are chosen by others, so every letter of theirs that does not print is replaced.
"""

import unicodedata
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Final, NamedTuple

_NARROWEST: Final = 6
"""No column of names becomes narrower than this, in columns of the terminal."""
_UNITS: Final = ((86400, "d"), (3600, "h"), (60, "m"))


class Column(NamedTuple):
    """How one column is laid out."""

    head: str
    is_number: bool = False
    """Numbers stand at the right."""
    shrinks: bool = False
    """Whether its texts may be cut."""
    keeps_end: bool = False
    """Whether the beginning of a text is cut off, and not its end."""
    keeps: int = 0
    """It becomes narrower than this, in columns of the terminal, only if no other column can become narrower."""


def lay_out(columns: Sequence[Column], rows: Sequence[Sequence[str]], width: int, gap: int = 2) -> Iterator[str]:
    """Yield the heads and the rows, with texts cut so that a line has at most `width` columns if that is possible."""
    lines = [[column.head for column in columns], *([plain(cell) for cell in row] for row in rows)]
    widths = [max(map(columns_of, cells)) for cells in zip(*lines, strict=True)]
    shrinking = [number for number, column in enumerate(columns) if column.shrinks]
    while sum(widths) + gap * (len(widths) - 1) > width:
        wide = [number for number in shrinking if widths[number] > _NARROWEST]
        if not wide:
            break
        widest = max(wide, key=lambda number: (widths[number] > columns[number].keeps, widths[number]))
        widths[widest] -= 1
    for line in lines:
        cells = zip(line, columns, widths, strict=True)
        yield (" " * gap).join(_fit(cell, column, most) for cell, column, most in cells).rstrip()


def cut(text: str, most: int, *, keeps_end: bool = False) -> str:
    """Return a text of at most so many columns of the terminal, but at least one, with … for what is cut off."""
    most = max(1, most)
    if columns_of(text) <= most:
        return text
    text = text[-most:] if keeps_end else text[:most]  # no letter has less than one column
    while columns_of(text) > most - 1:
        text = text[1:] if keeps_end else text[:-1]
    return f"…{text}" if keeps_end else f"{text}…"


def columns_of(text: str) -> int:
    """Return how many columns of a terminal a text takes."""
    if text.isascii():
        return len(text)
    return sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text)


def plain(text: str) -> str:
    """Return a text without what could control a terminal."""
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() else "?" for letter in text.replace("\t", "    "))


def number(count: float) -> str:
    """Return a number in at most six letters: `1,234`, `123k`, `12.3M`, and with a digit behind the point below 10."""
    for unit, name in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e5, "k")):
        if count >= unit:
            scaled = count / (1e3 if name == "k" else unit)
            return f"{scaled:.0f}{name}" if scaled >= 100 else f"{scaled:.1f}{name}"
    return f"{count:.1f}" if isinstance(count, float) and count < 10 else f"{count:,.0f}"


def counted(count: int, thing: str) -> str:
    """Return a number with the name of the things, such as `1 job` or `1,234 jobs`."""
    return f"{count:,} {thing}" if count == 1 else f"{count:,} {thing}s"


def span(seconds: float) -> str:
    """Return a time that has passed or will pass, in its largest unit, such as `3h`."""
    whole = max(0, int(seconds))
    for size, name in _UNITS:
        if whole >= size:
            return f"{whole // size}{name}"
    return f"{whole}s"


def left(seconds: int) -> str:
    """Return a time that is left, as beanstalkd says it without the fraction: rounded up, such as `10m` or `9m59s`."""
    whole = seconds + 1
    for (size, name), (small, small_name) in pairwise([*_UNITS, (1, "s")]):
        if whole >= size:
            units, rest = divmod(-(-whole // small), size // small)
            return f"{units}{name}{rest}{small_name}" if rest else f"{units}{name}"
    return f"{whole}s"


def _fit(cell: str, column: Column, most: int) -> str:
    """Return a cell cut or filled to so many columns of the terminal."""
    cell = cut(cell, most, keeps_end=column.keeps_end)
    filling = " " * (most - columns_of(cell))
    return filling + cell if column.is_number else cell + filling
