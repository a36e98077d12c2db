"""Writes log lines to standard error, each of an event and its fields: as text or as JSON.

No logging library is used. Structlog and what it imports cost each worker 8 MiB of memory and a quarter of its start-up
time, and logging a job with it took as long as validating the job's payload.
"""

import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, Literal, get_args

from pydantic_core import to_json

LogFormat = Literal["auto", "text", "json"]
LogLevel = Literal["debug", "info", "warning", "error"]
ErrorDetail = Literal["full", "place"]
"""What is logged of an exception: all, or its type and place without its message and traceback, which may be secret."""

_LEVELS: Final = get_args(LogLevel)
_TEXT_MAX: Final = 16384
"""The length of a text in a line, in characters. Whoever logs has a lower bound; this is for what that forgets."""
_COLOURS: Final = {"warning": "\033[33m", "error": "\033[31m"}


class Log:
    """Writes one line for an event, with its fields; a field that is None is left out.

    If standard error is closed or its disk is full, the line is lost. That raises nothing, so that no job fails by it.
    """

    def __init__(self) -> None:
        """Write text, of the level info and above, until `configure` is called."""
        self._text = True
        self._colours = False
        self.is_for_people = False
        """Whether lines are text on a terminal."""
        self._fd = 2
        self._least = _LEVELS.index("info")
        self._second = 0
        self._date = ""

    def configure(self, log_format: LogFormat, level: LogLevel) -> None:
        """Set the format and the least level, for this process and for processes that are forked from it later."""
        terminal = sys.stderr is not None and sys.stderr.isatty()
        self._text = log_format == "text" or (log_format == "auto" and terminal)
        self.is_for_people = self._text and terminal
        self._colours = terminal and not os.environ.get("NO_COLOR")
        self._least = _LEVELS.index(level)

    def write_to(self, fd: int) -> None:
        """Write to this descriptor from now on, also in processes that are forked later."""
        self._fd = fd

    def columns(self) -> int:
        """Return how many characters a line of the terminal has; 80 if that is unknown."""
        try:
            return os.get_terminal_size(self._fd).columns or 80
        except OSError:
            return 80

    def show(self, text: str) -> None:
        """Write these lines as they are, whatever the level, except for what a terminal might take for a command."""
        self._put("".join(f"{line}\n" for line in _lines(text)).encode(errors="backslashreplace"))

    @contextmanager
    def kept_in(self, fd: int) -> Iterator[None]:
        """Write every line as JSON to this descriptor, until the block ends; nothing appears elsewhere."""
        before = self._fd, self._text, self._least
        self._fd, self._text, self._least = fd, False, 0
        try:
            yield
        finally:
            self._fd, self._text, self._least = before

    def debug(self, event: str, **fields: object) -> None:
        """Log what helps only a developer."""
        if self._least <= 0:
            self._write("debug", event, fields)

    def info(self, event: str, **fields: object) -> None:
        """Log what is part of normal work."""
        if self._least <= 1:
            self._write("info", event, fields)

    def warning(self, event: str, **fields: object) -> None:
        """Log what a person may want to look at."""
        if self._least <= 2:
            self._write("warning", event, fields)

    def error(self, event: str, **fields: object) -> None:
        """Log what a person must look at."""
        self._write("error", event, fields)

    def write(self, level: LogLevel, event: str, **fields: object) -> None:
        """Log with a level that is known only at run time."""
        if self._least <= _LEVELS.index(level):
            self._write(level, event, fields)

    def deleted(self, job: int, tube: str, seconds: float) -> None:
        """Log that a job was done and deleted. This is the line of nearly every job, so its JSON is formatted here."""
        if self._least > 1:
            return
        if self._text:
            self._write("info", "deleted", {"job": job, "tube": tube, "seconds": round(seconds, 6)})
            return
        # beanstalkd allows no character in the name of a tube that JSON would need to escape.
        at, took = self.timestamp(), _in_decimals(seconds)
        line = f'{{"timestamp":"{at}","level":"info","event":"deleted","job":{job},"tube":"{tube}","seconds":{took}}}\n'
        self._put(line.encode())

    def timestamp(self) -> str:
        """Return the present time in UTC, in RFC 3339."""
        now = time.time()
        second = int(now)
        if second != self._second:
            self._second, self._date = second, time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        return f"{self._date}.{_six_digits(int((now - second) * 1e6))}Z"

    def _write(self, level: str, event: str, fields: dict[str, object]) -> None:
        fields = {key: _bounded(value) for key, value in fields.items() if value is not None}
        event = event[:_TEXT_MAX]
        self._put(self._as_text(level, event, fields) if self._text else self._as_json(level, event, fields))

    def _put(self, line: bytes) -> None:
        try:  # noqa: SIM105 - `suppress` takes as long as the write
            os.write(self._fd, line)
        except OSError:
            pass

    def _as_json(self, level: str, event: str, fields: dict[str, object]) -> bytes:
        line = {"timestamp": self.timestamp(), "level": level, "event": event, **fields}
        try:
            return to_json(line, fallback=repr) + b"\n"
        except ValueError:  # a text has half a surrogate pair, which UTF-8 cannot hold
            return json.dumps(line, default=repr).encode() + b"\n"

    def _as_text(self, level: str, event: str, fields: dict[str, object]) -> bytes:
        first, *more = _lines(event)
        more += _lines(fields.pop("traceback")) if "traceback" in fields else ()
        words = "".join(f"  {key}={_word(value)}" for key, value in fields.items())
        rest = "".join(f"    {line}\n" for line in more)
        colour = _COLOURS.get(level, "") if self._colours else ""
        end = "\033[0m" if colour else ""
        line = f"{time.strftime('%H:%M:%S')} {colour}{level:<7}{end} {first}{words}\n{rest}"
        return line.encode(errors="backslashreplace")


def _in_decimals(seconds: float) -> str:
    """Return seconds, at least 0, with six decimals. Compiled, this takes half of the time of the format %.6f."""
    microseconds = int(seconds * 1e6 + 0.5)
    return f"{microseconds // 1_000_000}.{_six_digits(microseconds % 1_000_000)}"


def _six_digits(number: int) -> str:
    """Return a number below a million with zeros before it."""
    return str(1_000_000 + number)[1:]


def _bounded(value: object) -> object:
    return value[:_TEXT_MAX] if isinstance(value, str) else value


def _lines(value: object) -> list[str]:
    """Return the lines of a text, at least one; what a terminal might take for a command is escaped."""
    lines = str(value).splitlines() or [""]
    return [line if line.isprintable() else repr(line)[1:-1] for line in lines]


def _word(value: object) -> str:
    if isinstance(value, float):
        text = f"{value:.6f}".rstrip("0").rstrip(".")
    else:
        text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
    return repr(text) if not text or not text.isprintable() or " " in text else text


log: Final = Log()
"""The log of this process."""
