"""Does a tube's jobs by a command: each job starts a program of its own, which gets the job's body on standard input.

The program leads a session of its own, and with it a process group. When the program has ended, whatever is left in the
group is killed. At the deadline the group gets SIGTERM, and SIGKILL two seconds later. If the slot, which is the
process that runs this code, dies before that, the supervisor kills all that the slot has started.
"""

import asyncio
import os
import shlex
import shutil
import signal
import subprocess
from contextlib import suppress
from typing import Final

from tubeherd.builtin.errors import CommandFailed, CommandRejected, CommandStopped
from tubeherd.builtin.facts import text_of_bytes, variables
from tubeherd.descriptors import low_numbers_taken, moved
from tubeherd.executors import ExecutorError, Reschedule
from tubeherd.formats.text import shortened
from tubeherd.job import Job
from tubeherd.streams import streams

AGAIN: Final = 75
"""The exit code with which a program asks to have its job again later: EX_TEMPFAIL of sysexits.h."""
REJECTED: Final = 100
"""The exit code with which a program says that no further attempt at its job would help."""
OUTPUT_MAX: Final = 4096
"""So much of the end of standard error is kept, in bytes."""
_QUOTED_MAX: Final = 400
"""So much of it is in a reason, in characters."""
_PLACE_MAX: Final = 200
_TERM_SECONDS: Final = 2.0
_KILL_SECONDS: Final = 1.0
_POLL_SECONDS: Final = 0.02
_CHUNK: Final = 1 << 16
_CHUNKS_AFTER: Final = 16
"""So many chunks of standard error are read after the program has ended: another program may go on writing."""


class Command:
    """The command that does the jobs of one tube."""

    def __init__(self, tube: str, command: str, reschedule_delay: float) -> None:
        """Take the command as a user writes it; raises ExecutorError if its program is not there."""
        self._argv = shlex.split(command)
        self._delay = reschedule_delay
        program = self._argv[0]
        if shutil.which(program) is None:
            wrong = "is no file that can be executed" if os.path.exists(program) else "was not found"
            raise ExecutorError(
                f"the command of tube {tube!r} cannot be run: {shortened(program, _PLACE_MAX)!r} {wrong}"
            )
        self.place = _place(self._argv)

    async def run(self, body: bytes, job: Job) -> None:
        """Do one job; raises CommandFailed, CommandRejected, Reschedule, or CommandStopped if it is cancelled."""
        program = self._start(body, job)
        written = _Written(program)
        try:
            await _end_of(program.pid)
            ended = _exit_of(program.pid)
        except asyncio.CancelledError:
            await _stop(program.pid)
            written.read_rest()
            raise self._stopped(written.text()) from None
        except ChildProcessError:
            raise self._failed("its exit code was read by other code of its slot", "") from None
        finally:
            _signal_group(program.pid, signal.SIGKILL)
            written.read_rest()
            written.close()
            program.poll()
        self._check(ended, written.text())

    def _start(self, body: bytes, job: Job) -> subprocess.Popen[bytes]:
        """Start the program; raises CommandFailed."""
        stdin = None
        try:
            with low_numbers_taken():
                stdin = _file_of(body)
                return subprocess.Popen(  # noqa: S603 - to run what the user has configured is the purpose
                    self._argv,
                    stdin=stdin,
                    stderr=subprocess.PIPE,
                    env=os.environ | variables(job),
                    start_new_session=True,
                    bufsize=0,
                )
        except OSError as error:
            raise self._failed(f"it could not be started: {error.strerror or error}", "") from None
        finally:
            if stdin is not None:
                os.close(stdin)

    def _check(self, code: int | None, output: str) -> None:
        """Raise what the exit code means, which is negative for a signal, unless the job is done."""
        if code == 0:
            return
        if code == AGAIN:
            raise Reschedule(self._delay, message=_with_end(f"exit code {code}", output))
        if code == REJECTED:
            raise CommandRejected(_with_end(f"exit code {code}", output), self.place, output)
        raise self._failed(_how(code), output)

    def _failed(self, how: str, output: str) -> CommandFailed:
        return CommandFailed(_with_end(how, output), self.place, output)

    def _stopped(self, output: str) -> CommandStopped:
        return CommandStopped(_with_end("the command was killed", output), self.place, output)


class _Written:
    """The end of what a program writes to standard error. All of it is passed on to that of the slot."""

    def __init__(self, program: subprocess.Popen[bytes]) -> None:
        assert program.stderr is not None  # noqa: S101 - for the type checker
        self._file = program.stderr
        self._fd = self._file.fileno()
        self._end = bytearray()
        self._line = bytearray()
        """What is not passed on yet, because its line has not ended."""
        self._loop = asyncio.get_running_loop()
        os.set_blocking(self._fd, False)
        self._loop.add_reader(self._fd, self._read)

    def read_rest(self) -> None:
        """Read what is there, up to a bound."""
        for _ in range(_CHUNKS_AFTER):
            if self._file.closed or not self._read():
                break

    def close(self) -> None:
        """Read nothing more."""
        self._loop.remove_reader(self._fd)
        self._file.close()
        self._end_line()

    def text(self) -> str:
        """Return the end of what was written."""
        return text_of_bytes(bytes(self._end))

    def _read(self) -> bool:
        """Read once, and return whether there may be more."""
        try:
            data = os.read(self._fd, _CHUNK)
        except BlockingIOError:
            return False
        if not data:
            self._loop.remove_reader(self._fd)
            return False
        self._end += data
        del self._end[:-OUTPUT_MAX]
        self._line += data
        lines, newline, rest = self._line.rpartition(b"\n")
        if newline:
            streams.write_error(bytes(lines + newline))
            self._line = rest
        if len(self._line) > _CHUNK:
            self._end_line()
        return True

    def _end_line(self) -> None:
        """Pass on what is left, as a line: a log line may follow."""
        if self._line:
            streams.write_error(bytes(self._line) + b"\n")
            self._line.clear()


async def _end_of(pid: int) -> None:
    """Wait until a child process has ended, and leave its exit code to be read."""
    try:
        fd = moved(os.pidfd_open(pid))
    except OSError:  # a kernel before Linux 5.3, or the process is not there any more
        await _poll_end_of(pid)
        return
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(fd, ended.set)
    try:
        await ended.wait()
    finally:
        loop.remove_reader(fd)
        os.close(fd)


async def _poll_end_of(pid: int) -> None:
    while _exit_of(pid) is None:
        await asyncio.sleep(_POLL_SECONDS)


def _exit_of(pid: int) -> int | None:
    """Return the exit code of a child process, or the negative number of the signal that killed it; None if it runs.

    Nobody else may take the process id before the exit code is read by another call. Raises ChildProcessError if it was
    read already.
    """
    found = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    if found is None:
        return None
    return found.si_status if found.si_code == os.CLD_EXITED else -found.si_status


async def _stop(pid: int) -> None:
    """End a process group, first by SIGTERM, and wait until its leader has ended."""
    for number, seconds in ((signal.SIGTERM, _TERM_SECONDS), (signal.SIGKILL, _KILL_SECONDS)):
        _signal_group(pid, number)
        with suppress(TimeoutError, ChildProcessError):
            async with asyncio.timeout(seconds):
                await _end_of(pid)
                return


def _signal_group(leader: int, number: int) -> None:
    """Send a signal to a process group, unless the exit code of its leader was read: the id may be another's then."""
    with suppress(ChildProcessError, ProcessLookupError, PermissionError):
        _exit_of(leader)
        os.killpg(leader, number)


def _file_of(body: bytes) -> int:
    """Return a descriptor from which a body can be read; not of a pipe, because the program need not read it."""
    fd = os.memfd_create("job")
    try:
        rest = memoryview(body)
        while rest:
            rest = rest[os.write(fd, rest) :]
        os.lseek(fd, 0, os.SEEK_SET)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _place(argv: list[str]) -> str:
    """Return the command up to its first option: what follows may hold secrets."""
    words = [argv[0]]
    for word in argv[1:]:
        if word.startswith("-") or "=" in word or "://" in word:
            break
        words.append(word)
    return shortened(" ".join(words), _PLACE_MAX)


def _how(code: int | None) -> str:
    if code is None or code >= 0:
        return f"exit code {code}"
    with suppress(ValueError):
        return f"killed by signal {-code} ({signal.Signals(-code).name})"
    return f"killed by signal {-code}"


def _with_end(how: str, output: str) -> str:
    """Return a reason with the last whole lines of standard error that are short enough."""
    if not output:
        return how
    end = output[-_QUOTED_MAX:]
    if len(output) > _QUOTED_MAX and output[-_QUOTED_MAX - 1] != "\n":
        end = end.partition("\n")[2] or end
    return f"{how}: {' '.join(end.split())}"
