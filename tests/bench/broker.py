"""A beanstalkd of its own for each measurement, without a binlog."""

import os
import socket
import subprocess
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from random import Random
from typing import Final

import greenstalk

from tests.support.network import free_port
from tests.support.waiting import wait_for

ALL_CORES: Final = frozenset(os.sched_getaffinity(0))
TUBE: Final = "bench"
NOTED: Final = b'{"number": 0, "name": "abcdefgh"}'
"""A job whose executor notes when it was called."""
SILENT: Final = b'{"number": 1, "name": "abcdefgh"}'
FAILING: Final = b'{"number": 2, "name": "abcdefgh"}'
"""A job that fails."""
_BATCH: Final = 500


class Broker:
    """A running beanstalkd and a client of it."""

    def __init__(self, port: int, pid: int) -> None:
        self.port = port
        self.pid = pid
        self.server = f"127.0.0.1:{port}"
        self.client = greenstalk.Client(("127.0.0.1", port), encoding=None, use=TUBE)

    def fill(self, count: int, body: bytes = SILENT, in_order: bool = True) -> None:
        """Put `count` jobs of this body, but the first and the last noted; taken in the order of their ids or in none.

        Their priorities make the order.
        """
        bodies = [NOTED, *[body] * (count - 2), NOTED]
        places = [0] * count
        if not in_order:
            places[1:] = [*Random(1).sample(range(1, count - 1), count - 2), count]  # noqa: S311 - an order, no secret
        self.put_all(bodies, places)

    def put_all(self, bodies: Sequence[bytes], places: Sequence[int] | None = None) -> None:
        """Put these jobs in this order, or have them taken in the order of `places`."""
        priorities = [65536 + place for place in places or range(len(bodies))]
        puts = [b"put %d 0 60 %d\r\n%b\r\n" % put for put in zip(priorities, map(len, bodies), bodies, strict=True)]
        with socket.create_connection(("127.0.0.1", self.port)) as sock, sock.makefile("rb") as answers:
            sock.sendall(b"use %b\r\n" % TUBE.encode())
            answers.readline()
            for start in range(0, len(puts), _BATCH):
                batch = puts[start : start + _BATCH]
                sock.sendall(b"".join(batch))
                for _ in batch:
                    if not (line := answers.readline()).startswith(b"INSERTED"):
                        raise RuntimeError(f"beanstalkd refused a job: {line!r}")

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Hand out no job meanwhile, so that all who wait for one begin together."""
        self.client.pause_tube(TUBE, 3600)
        yield
        self.client.pause_tube(TUBE, 0)

    def waiting(self) -> int:
        """Return how many connections wait for a job of the tube."""
        return self.client.stats_tube(TUBE)["current-waiting"]

    def deleted(self) -> int:
        """Return how many jobs of the tube were deleted."""
        return self.client.stats_tube(TUBE)["cmd-delete"]

    def done(self) -> tuple[int, int]:
        """Return how many jobs of the tube were deleted, and how many are buried."""
        stats = self.client.stats_tube(TUBE)
        return stats["cmd-delete"], stats["current-jobs-buried"]


@contextmanager
def beanstalkd(cores: Collection[int] = ALL_CORES) -> Iterator[Broker]:
    """Run a beanstalkd on these cores."""
    port = free_port()
    command = ["beanstalkd", "-l", "127.0.0.1", "-p", str(port)]
    with subprocess.Popen(command, preexec_fn=lambda: os.sched_setaffinity(0, cores)) as process:
        try:
            wait_for(lambda: _answers(port), "beanstalkd answers", pause=0.005)
            broker = Broker(port, process.pid)
            yield broker
            broker.client.close()
        finally:
            process.kill()


def _answers(port: int) -> bool:
    with suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port)):
        return True
    return False
