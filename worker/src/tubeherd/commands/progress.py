"""A progress bar on a terminal."""

import sys
import time
from collections.abc import Callable
from shutil import get_terminal_size
from typing import Final

_FIRST_SECONDS: Final = 0.5
"""What takes no longer than this gets no bar, which would only flash."""
_PAUSE_SECONDS: Final = 0.1
"""How long a line stands at least before it is drawn anew."""
_BAR_COLUMNS: Final = 20
_CTRL_C: Final = 2
"""How many columns the ^C takes that a terminal itself shows behind the line."""


class ProgressBar:
    """One line on standard error that is drawn again and again; nothing if that is no terminal.

    It is drawn with nothing but carriage returns and blanks, which every terminal understands.
    """

    def __init__(self, done: str, clock: Callable[[], float] = time.monotonic, *, hidden: bool = False) -> None:
        """`done` says what is counted, such as `kicked`; `hidden` if somebody types on the terminal meanwhile."""
        self._clock = clock
        self._word = done
        self._draws = sys.stderr.isatty() and not hidden
        self._drawn = ""
        self._draw_at = clock() + _FIRST_SECONDS

    def show(self, done: int, of: int | None, note: str = "", *, share: float | None = None) -> None:
        """Show how many were done of how many, if that is known, or only which share of all; and a note."""
        if self._draws and (now := self._clock()) >= self._draw_at:
            self._draw_at = now + _PAUSE_SECONDS
            self._draw(_line(self._word, done, of, note, share, get_terminal_size().columns))

    def end(self) -> None:
        """Remove the line."""
        if self._drawn:
            self._drawn += " " * _CTRL_C
            self._draw("")

    def _draw(self, line: str) -> None:
        try:
            sys.stderr.write("\r" + line.ljust(len(self._drawn)) + ("" if line else "\r"))
            sys.stderr.flush()
        except OSError:  # the terminal is gone
            self._draws = False
        self._drawn = line


def _line(word: str, done: int, of: int | None, note: str, share: float | None, columns: int) -> str:
    if of is not None:
        share = done / of if of else 1.0
    line = f"{done:,} {word}" if of is None else f"{done:,} of {of:,} {word}"
    if share is not None:
        filled = int(_BAR_COLUMNS * min(share, 1.0))
        line = f"[{'#' * filled}{'.' * (_BAR_COLUMNS - filled)}] {line}"
    return (line + note)[: columns - 1 - _CTRL_C]
