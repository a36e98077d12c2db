"""A real beanstalkd for each test that asks for one."""

import json
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tubeherd.logs import log
from tubeherd.queue.answers import QueueUnavailable
from tubeherd.queue.connection import Connection, connect
from tubeherd.shared_memory.page import Page


def wait_for(condition: Callable[[], object], what: str, seconds: float = 10.0) -> None:
    """Poll until the condition holds; fail the test where it does not within the limit."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        time.sleep(0.01)


class Beanstalkd:
    """One beanstalkd on loopback that can be killed and started again on the same port, with its binlog."""

    def __init__(self, binlog: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port: int = free.getsockname()[1]
        self.server = f"127.0.0.1:{self.port}"
        self._binlog = binlog
        self._process: subprocess.Popen[bytes] | None = None
        self._clients: list[Connection] = []
        self.start()

    def start(self) -> None:
        """Start the server and wait until it answers."""
        self._binlog.mkdir(exist_ok=True)
        command = ["beanstalkd", "-l", "127.0.0.1", "-p", str(self.port), "-b", str(self._binlog), "-f", "0"]
        self._process = subprocess.Popen(command)
        wait_for(self._answers, "beanstalkd answers")

    def kill(self) -> None:
        """End the server with SIGKILL, as a crash would."""
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Stop the server with SIGSTOP for a while: its connections stay open and say nothing."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)

    def client(self) -> Connection:
        """Return a connection of its own, closed after the test."""
        self._clients.append(connect(self.server))
        return self._clients[-1]

    def close(self) -> None:
        """Close the clients and end the server."""
        for client in self._clients:
            client.close()
        self.kill()

    def count(self, tube: str) -> dict[str, int]:
        """Return the number of jobs of a tube by state."""
        stats = self.client().stats_tubes([tube])[tube]
        return {state: getattr(stats, state) for state in ("ready", "reserved", "delayed", "buried")}

    def _answers(self) -> bool:
        try:
            self.client()
        except QueueUnavailable:
            return False
        return True


@pytest.fixture
def logged(capfd: pytest.CaptureFixture[str]) -> Iterator[Callable[[], list[dict[str, Any]]]]:
    """Return the lines that this process logs: `logged()` gives those since the last time."""
    log.configure("json", "debug")
    yield lambda: [json.loads(line) for line in capfd.readouterr().err.splitlines()]
    log.configure("text", "info")


@pytest.fixture
def is_locked() -> Callable[[Page], bool]:
    """Tell whether any process holds the lock of a page, which itself lets the one in that does."""

    def ask(page: Page) -> bool:
        if free := page._lock.acquire(False):
            page._lock.release()
        return not free

    return ask


@pytest.fixture
def beanstalkd(tmp_path: Path) -> Iterator[Beanstalkd]:
    """A running beanstalkd with a binlog, ended after the test."""
    server = Beanstalkd(tmp_path / "binlog")
    yield server
    server.close()
