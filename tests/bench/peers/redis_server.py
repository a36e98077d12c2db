"""A Redis of its own for each measurement, which keeps nothing on disk, as the beanstalkd beside it."""

import os
import shutil
import socket
import subprocess
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from typing import Final, NamedTuple

from tests.bench.broker import ALL_CORES
from tests.support.network import free_port
from tests.support.waiting import wait_for

_NAME: Final = "redis-server"


class Redis(NamedTuple):
    """A running Redis."""

    port: int
    pid: int


@contextmanager
def redis(cores: Collection[int] = ALL_CORES) -> Iterator[Redis]:
    """Run a Redis on these cores."""
    port = free_port()
    options = {"--bind": "127.0.0.1", "--port": str(port), "--save": "", "--appendonly": "no"}
    command = [_NAME, *(word for option in options.items() for word in option)]
    with subprocess.Popen(
        command,
        executable=_program(),
        stdout=subprocess.DEVNULL,
        preexec_fn=lambda: os.sched_setaffinity(0, cores),
    ) as process:
        try:
            wait_for(lambda: _answers(port), "Redis answers", pause=0.005)
            yield Redis(port, process.pid)
        finally:
            process.kill()


def version() -> str:
    """Return the version of Redis."""
    said = subprocess.run([_NAME, "--version"], executable=_program(), capture_output=True, text=True, check=True)
    return said.stdout.split("v=")[1].split()[0]


def _program() -> str:
    # The same program under two names: Debian installs the second without a service, which would be started.
    for name in (_NAME, "redis-check-rdb"):
        if path := shutil.which(name):
            return path
    raise FileNotFoundError("Redis is not installed: run `make redis`, which installs it with apt-get")


def _answers(port: int) -> bool:
    with suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(b"PING\r\n")
        return connection.recv(64).startswith(b"+PONG")
    return False
