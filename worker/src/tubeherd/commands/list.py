"""`tubeherd list`: tubes and their jobs."""

import builtins
import os
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from shutil import get_terminal_size
from textwrap import wrap
from typing import TYPE_CHECKING, Annotated, Final

import typer

from tubeherd.commands.terminal import Server, failing_in_words, for_terminal, server_of
from tubeherd.formats.tubes import no_tube

if TYPE_CHECKING:
    from tubeherd.by_hand.looking.looked import Stats
    from tubeherd.queue.looking import LookingConnection

EXAMPLES: Final = ("tubeherd list", "tubeherd list mail 'news*' --once", "tubeherd list --json | jq .tubes[].buried")
_MOST: Final = 100
"""How many tubes are shown at most, unless the user asks for all; on a terminal that is drawn anew, as many as fit."""
_PAUSE_SECONDS: Final = 1.0
"""How long to wait between two looks, at least."""
_SECONDS: Final = 2.0
"""How long to count, unless the user asks for all tubes: beanstalkd is slow if it has very many."""
_SHARE: Final = 0.2
"""The looks take at most this share of the time, however many tubes there are."""
_LINES_BESIDE: Final = 8
"""How many lines of the terminal are kept for the heads of the columns and for the notes below the table."""


def list(  # noqa: A001 - the name of the subcommand
    tubes: Annotated[
        builtins.list[str] | None,
        typer.Argument(help="Only these: names, or patterns like 'news*'", metavar="TUBE"),
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="Print once, also on a terminal")] = False,
    show_all: Annotated[bool, typer.Option("--all", help=f"Print all tubes, not only {_MOST}")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON, once")] = False,
    server: Server = None,
) -> None:
    """Show the tubes: how many jobs are ready, reserved, delayed and buried.

    WAITING is how many slots of workers wait for a job of the tube.

    A tube marked with ! has jobs, and no worker takes them.

    On a terminal the table is drawn anew every second until Ctrl-C, and then
    also shows how many jobs a second are put and deleted.

    Tubes whose names begin with tubeherd. show if asked for: 'tubeherd.*'.
    """
    from tubeherd.by_hand.looking.counting import check_patterns

    address = server_of(server)
    with failing_in_words("when the tubes were counted"):
        patterns = check_patterns(tubes or ())
        if json or once or show_all or not _can_redraw():
            _print_once(address, patterns, None if show_all else _MOST, json)
        else:
            _redraw(address, patterns)


def _print_once(server: str, patterns: Sequence[str], most: int | None, json: bool) -> None:
    from tubeherd.by_hand.looking.counting import server_stats
    from tubeherd.by_hand.looking.tube_table import tube_table

    stats = server_stats(server, patterns, _SECONDS if most else None)
    if json:
        typer.echo(_as_json(stats))
    elif stats.tubes or not patterns:
        typer.echo(for_terminal("\n".join(tube_table(stats, None, get_terminal_size().columns, most))))
    if patterns and not stats.tubes:
        typer.echo(_no_tubes(patterns), err=True)


def _no_tubes(patterns: Sequence[str]) -> str:
    """Return in words that no tube matches any of these names and patterns."""
    if len(patterns) == 1 and not {"*", "?"} & set(patterns[0]):
        return no_tube(patterns[0])
    return f"no tube with jobs or workers matches {' or '.join(patterns)}; tubeherd list shows those that there are"


def _as_json(stats: "Stats") -> str:
    from json import dumps

    tubes = [tube._asdict() | {"lacks_worker": stats.lacks_worker(tube)} for tube in stats.tubes]
    return dumps({"tubes": tubes, "uncounted": stats.uncounted}, indent=2)


def _can_redraw() -> bool:
    return sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"


def _redraw(server: str, patterns: Sequence[str]) -> None:
    """Draw the table again and again until Ctrl-C. If beanstalkd goes away, wait until it is back."""
    from tubeherd.by_hand.looking.counting import count_tubes, rates
    from tubeherd.by_hand.looking.tube_table import tube_table
    from tubeherd.queue.answers import QueueUnavailable
    from tubeherd.queue.looking import connect_to_look

    drawing = _Drawing()
    connection: LookingConnection | None = None
    before: Stats | None = None
    with suppress(KeyboardInterrupt):
        while True:
            began = time.monotonic()
            size = get_terminal_size()
            try:
                connection = connection or connect_to_look(server)
                now = count_tubes(connection, patterns, _SECONDS)
            except QueueUnavailable as error:
                if before is None:
                    raise
                connection = None
                drawing.draw(wrap(f"{error}. Trying again until Ctrl-C.", size.columns), size)
            else:
                most = max(1, size.lines - _LINES_BESIDE)
                lines = tube_table(now, rates(before, now) if before else {}, size.columns, most)
                drawing.draw(lines, size)
                before = now
            took = time.monotonic() - began
            time.sleep(max(_PAUSE_SECONDS, took / _SHARE - took))


class _Drawing:
    """Lines on the terminal, of which each drawing replaces the one before."""

    def __init__(self) -> None:
        self._drawn = 0
        """How many lines were drawn, and can be replaced."""
        self._size: os.terminal_size | None = None

    def draw(self, lines: Sequence[str], size: os.terminal_size) -> None:
        """Draw these lines, as far as they fit."""
        fitting = lines[: size.lines - 1]
        begin = f"\x1b[{self._drawn}A" if self._drawn else ""
        if self._size not in (None, size):  # the lines that were drawn have other places now
            begin = "\x1b[H\x1b[2J"
        text = begin + "".join(f"\x1b[K{line}\n" for line in fitting) + "\x1b[J"
        sys.stdout.buffer.write(for_terminal(text))
        sys.stdout.buffer.flush()
        self._drawn, self._size = len(fitting), size
