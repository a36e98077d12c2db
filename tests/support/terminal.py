"""A command on a terminal of its own: what the screen shows, keys, signals, and either end closed.

The screen understands only what Tubeherd's commands are to write. Anything else that would control a terminal raises an
error, so a test fails if a payload or a name reaches the terminal as it is.
"""

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import threading
import unicodedata
from collections.abc import Mapping, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Final, Self

from tests.support.waiting import PATIENCE, wait_for

CTRL_C: Final = "\x03"
_PIECE: Final = re.compile(r"\x1b\[(\??[0-9;]*)([A-Za-z])|\x1b[()]B|(.)", re.DOTALL)
_LOOK_MILLISECONDS: Final = 20
_SILENT: Final = "mlh"
"""The last letters of sequences that change no text: colours, and what the terminal is to show or hide."""


def _take_terminal() -> None:
    """Make the terminal that of this process, which takes signals as one that a person starts does.

    The tests may run where some are ignored, such as behind `nohup` or `&`, and every process inherits that.
    """
    fcntl.ioctl(2, termios.TIOCSCTTY, 0)
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


class Terminal:
    """A command that runs on a terminal of so many columns and lines, until it ends or the test does."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        columns: int = 80,
        lines: int = 24,
        env: Mapping[str, str] | None = None,
        folder: str | os.PathLike[str] | None = None,
        stdin: int | None = None,
        stdout: int | None = None,
    ) -> None:
        """Start it, with these variables besides those of the test, in this folder.

        `stdin` and `stdout` are descriptors that it gets instead of the terminal.
        """
        self.columns, self.lines = columns, lines
        self._received = bytearray()
        self._hung_up = False
        self._master, slave = pty.openpty()
        self.resize(columns, lines)
        inherited = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
        self.process = subprocess.Popen(
            command,
            stdin=slave if stdin is None else stdin,
            stdout=slave if stdout is None else stdout,
            stderr=slave,
            env=inherited | {"TERM": "xterm"} | dict(env or {}),
            cwd=folder,
            start_new_session=True,
            preexec_fn=_take_terminal,
        )
        os.close(slave)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def written(self) -> str:
        """Return all that was written to the terminal so far, as it was written."""
        return self._received.decode(errors="replace")

    def screen(self) -> list[str]:
        """Return the lines that a person sees now, those that were scrolled away too, without trailing blanks.

        Raises ValueError if the command has written what controls a terminal in a way that is not expected.
        """
        return Screen(self.columns).show(self.written())

    def text(self) -> str:
        """Return the lines of `screen` as one text."""
        return "\n".join(self.screen())

    def wait_for(self, text: str, seconds: float = PATIENCE) -> list[str]:
        """Wait until the screen shows this text, and return the screen; raises TimeoutError after so many seconds."""

        def found() -> list[str]:
            screen = self.screen()
            return screen if text in "\n".join(screen) else []

        return wait_for(found, lambda: f"{text!r} on the screen:\n{self.text()}", seconds)

    def send(self, keys: str) -> None:
        """Type these keys; `CTRL_C` is the one that interrupts."""
        os.write(self._master, keys.encode())

    def send_bytes(self, data: bytes) -> None:
        """Type bytes that may be no text."""
        os.write(self._master, data)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the command."""
        self.process.send_signal(number)

    def resize(self, columns: int, lines: int) -> None:
        """Make the terminal so large; the command gets SIGWINCH."""
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        self.columns, self.lines = columns, lines

    def wait(self, seconds: float = PATIENCE) -> int:
        """Wait until the command has ended and all that it wrote is read, and return its exit code.

        Raises subprocess.TimeoutExpired after so many seconds.
        """
        code = self.process.wait(seconds)
        self._reader.join(seconds)
        return code

    def hang_up(self) -> None:
        """Close the terminal, as a window is closed: the command gets SIGHUP, and can neither read nor write."""
        if not self._hung_up:
            self._hung_up = True
            self._reader.join()  # the terminal stays open while it is being read
            os.close(self._master)

    def close(self) -> None:
        """End the command and close the terminal."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.hang_up()

    def _read(self) -> None:
        poll = select.poll()
        poll.register(self._master, select.POLLIN)
        with suppress(OSError):  # EIO: the command has ended
            while not self._hung_up:
                if poll.poll(_LOOK_MILLISECONDS):
                    self._received += os.read(self._master, 1 << 16)


class Screen:
    """The text on a terminal of so many columns, however many lines it takes."""

    def __init__(self, columns: int) -> None:
        self._columns = columns
        self._lines: list[list[str]] = [[]]
        self._line = 0
        self._column = 0

    def show(self, written: str) -> list[str]:
        """Return the lines after this was written; raises ValueError for what controls a terminal in another way."""
        for piece in _PIECE.finditer(written):
            arguments, command, letter = piece.groups()
            if letter is not None:
                self._take(letter)
            elif command is not None:
                self._obey(command, arguments)
        return ["".join(line).rstrip() for line in self._lines]

    def _take(self, letter: str) -> None:
        if letter == "\n":
            self._move_to(self._line + 1)
        elif letter == "\r":
            self._column = 0
        elif letter == "\b":
            self._column = max(0, self._column - 1)
        elif letter == "\t":
            self._column = min(self._columns - 1, (self._column // 8 + 1) * 8)
        elif letter != "\a":
            self._print(letter)

    def _print(self, letter: str) -> None:
        if unicodedata.category(letter) in ("Cc", "Cf"):
            raise ValueError(f"{letter!r} was written to the terminal")
        width = 2 if unicodedata.east_asian_width(letter) in "WF" else 0 if unicodedata.combining(letter) else 1
        if self._column + width > self._columns:
            self._move_to(self._line + 1)
            self._column = 0
        line = self._lines[self._line]
        line += [" "] * (max(1, self._column + width) - len(line))
        if width == 0:
            before = max(0, self._column - 1)
            line[before : self._column] = ["".join([*line[before : self._column], letter])]
        else:
            line[self._column : self._column + width] = [letter, *[""] * (width - 1)]
        self._column += width

    def _obey(self, command: str, arguments: str) -> None:
        number = int(arguments) if arguments.isdigit() else 0
        if command in "JK":
            self._erase(command, number)
        elif command in "ABCDGH":
            self._move(command, max(1, number))
        elif command not in _SILENT:
            raise ValueError(f"a sequence was written to the terminal: ESC [ {arguments} {command}")

    def _move(self, command: str, number: int) -> None:
        match command:
            case "A":
                self._line = max(0, self._line - number)
            case "B":
                self._move_to(self._line + number)
            case "C":
                self._column += number
            case "D":
                self._column = max(0, self._column - number)
            case "G":
                self._column = number - 1
            case "H":
                self._line = self._column = 0

    def _erase(self, command: str, number: int) -> None:
        """Erase the line (K), or the whole screen (J), from here on unless there is a number."""
        if command == "J":
            del self._lines[self._line + 1 :]
        for line in self._lines if command == "J" and number else [self._lines[self._line]]:
            if number:
                line.clear()
            else:
                del line[self._column :]

    def _move_to(self, line: int) -> None:
        self._line = line
        self._lines += [[] for _ in range(line + 1 - len(self._lines))]
