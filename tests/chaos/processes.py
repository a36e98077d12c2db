"""The processes of a campaign: beanstalkd and workers, and signals that reach nobody else."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Collection, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from tests.support.network import free_port
from tests.support.processes import children, living, session_of
from tests.support.project import ROOT

_KILL_SECONDS: Final = 10
_REST_SECONDS: Final = 5
_EPOLL_WAIT: Final = ("232", "22")  # the system call's number on x86-64 and on arm64


def kill_all(sessions: Collection[int]) -> None:
    """End every process of these sessions."""
    deadline = time.monotonic() + _KILL_SECONDS
    while (left := living(sessions)) and time.monotonic() < deadline:
        for pid, session in left:
            send(pid, signal.SIGKILL, session)
        time.sleep(0.01)


def send(pid: int, number: int, session: int) -> None:
    """Send a signal to a process of that session; another that got its id meanwhile is spared."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        if session_of(pid) == session:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(handle, number)
    finally:
        os.close(handle)


class Broker:
    """One beanstalkd with a binlog, that is started again on the same port."""

    def __init__(self, folder: Path) -> None:
        self._log = folder / "beanstalkd.log"
        binlog = folder / "binlog"
        binlog.mkdir()
        self.port = free_port()
        self._command = ["beanstalkd", "-l", "127.0.0.1", "-p", str(self.port), "-b", str(binlog), "-F"]
        self.start()

    def start(self) -> None:
        """Start it."""
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(self._command, stderr=log, start_new_session=True)

    def kill(self) -> None:
        """End it as a crash would, between two commands.

        In the middle of one it can lose a job by itself: compacting, it removes a file before it writes what it moves.
        """
        deadline = time.monotonic() + _REST_SECONDS
        while time.monotonic() < deadline:
            self.process.send_signal(signal.SIGSTOP)
            if self._rests():
                break
            self.process.send_signal(signal.SIGCONT)
            time.sleep(0.001)
        self.process.kill()
        self.process.wait()

    def _rests(self) -> bool:
        """Tell whether it is stopped in the system call in which it waits for commands."""
        folder = Path(f"/proc/{self.process.pid}")
        while (folder / "stat").read_text().rpartition(")")[2].split()[0] not in "TZ":
            time.sleep(0.0001)
        return (folder / "syscall").read_text().split()[0] in _EPOLL_WAIT


class Worker:
    """One run of `tubeherd run`, which logs into a file of its own."""

    def __init__(self, log: Path, server: str, options: Sequence[str], env: dict[str, str]) -> None:
        self.log = log
        self.server = server
        command = [sys.executable, "-m", "tubeherd", "run", "--executors", "tests.chaos.executors", "--server", server]
        path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        with log.open("ab") as stream:
            self.process = subprocess.Popen(
                [*command, *options],
                env=os.environ | env | {"PYTHONPATH": path},
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
                start_new_session=True,
            )
        self.pid = self.process.pid
        self.told_to_stop = False

    def has_ended(self) -> bool:
        """Tell whether its supervisor has ended."""
        return self.process.poll() is not None

    def slots(self) -> list[int]:
        """Return its slots."""
        return children(self.pid)

    def send(self, pid: int, number: int) -> None:
        """Send a signal to one of its processes."""
        send(pid, number, self.pid)

    def stop(self) -> None:
        """Ask it to stop."""
        self.told_to_stop = True
        self.process.terminate()
