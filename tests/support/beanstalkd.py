"""A real beanstalkd for a test, and clients of it that know nothing of Tubeherd."""

import json
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import greenstalk

from tests.support.network import free_port
from tests.support.waiting import wait_for
from tubeherd.queue.connection import Connection, connect

NOTHING: Final = {"ready": 0, "reserved": 0, "delayed": 0, "buried": 0}
"""The counts of a tube without jobs; those of a tube with three ready jobs are `NOTHING | {"ready": 3}`."""


class Client(greenstalk.Client[bytes]):
    """A connection to beanstalkd, as any producer or observer has one; bodies are bytes."""

    def put_in(self, tube: str, body: bytes = b"{}", *, priority: int = 1, delay: int = 0, ttr: int = 60) -> int:
        """Put a job into a tube and return its id; `delay` and `ttr` in seconds."""
        self.use(tube)
        return self.put(body, priority=priority, delay=delay, ttr=ttr)

    def bury_many(self, tube: str, count: int, body: bytes = b"{}") -> list[int]:
        """Put so many jobs into a tube of which none is ready, bury them in few writes, and return their ids."""
        self.watch(tube)
        self.use(tube)
        sock, reader = self._sock, self._reader
        ids: list[int] = []
        for start in range(0, count, 500):
            some = min(500, count - start)
            sock.sendall(b"put 1 0 60 %d\r\n%b\r\n" % (len(body), body) * some)
            ids += [int(reader.readline().split()[1]) for _ in range(some)]
            sock.sendall(b"reserve-with-timeout 0\r\n" * some)
            for _ in range(some):
                reader.readline()
                reader.read(len(body) + 2)
            sock.sendall(b"".join([b"bury %d 1\r\n" % job for job in ids[start:]]))
            assert {reader.readline() for _ in range(some)} == {b"BURIED\r\n"}
        return ids


class Beanstalkd:
    """One beanstalkd on loopback that can be killed and started again on the same port, with its binlog."""

    def __init__(self, binlog: Path, *options: str) -> None:
        """Start it, with these options besides."""
        self.port = free_port()
        self.server = f"127.0.0.1:{self.port}"
        self._binlog = binlog
        self._options = options
        self._clients: list[Client | Connection] = []
        self.start()

    def start(self) -> None:
        """Start the server and wait until it answers."""
        self._binlog.mkdir(exist_ok=True)
        # -F: what was written survives a killed process all the same, and a slow disk cannot silence the server.
        command = ["beanstalkd", "-l", "127.0.0.1", "-p", str(self.port), "-b", str(self._binlog), "-F"]
        command += self._options
        self._process = subprocess.Popen(command)
        self._own = wait_for(self._answers, "beanstalkd answers")

    def kill(self) -> None:
        """End the server with SIGKILL, as a crash would."""
        self._process.kill()
        self._process.wait()

    def binlog_files(self) -> int:
        """Return how many files its binlog has. Each start makes one more, until the jobs of the oldest are moved."""
        return len(list(self._binlog.glob("binlog.*")))

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Stop the server with SIGSTOP for a while: its connections stay open and say nothing."""
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)

    def close(self) -> None:
        """Close the clients and end the server."""
        for client in self._clients:
            client.close()
        self.kill()

    def client(self) -> Client:
        """Return a connection of its own, closed after the test."""
        client = Client(("127.0.0.1", self.port), encoding=None)
        self._clients.append(client)
        return client

    def connection(self, *tubes: str) -> Connection:
        """Return a connection of Tubeherd's that watches these tubes, closed after the test."""
        connection = connect(self.server)
        if tubes:
            connection.watch_only(tubes)
        self._clients.append(connection)
        return connection

    # What is done and asked on a connection that is opened again when the server is started again.

    def put(self, tube: str, body: bytes | str = b"{}", *, priority: int = 1, delay: int = 0, ttr: int = 60) -> int:
        """Put a job into a tube and return its id; `delay` and `ttr` in seconds."""
        data = body.encode() if isinstance(body, str) else body
        return self._own.put_in(tube, data, priority=priority, delay=delay, ttr=ttr)

    def put_json(self, tube: str, payload: Any, *, priority: int = 1, ttr: int = 60) -> int:
        """Put a job with this payload as JSON and return its id."""
        return self.put(tube, json.dumps(payload), priority=priority, ttr=ttr)

    def put_numbers(self, tube: str, count: int, *, first: int = 0, ttr: int = 60) -> list[int]:
        """Put so many jobs whose payloads are the numbers from `first` on, and return their ids."""
        return [self.put(tube, str(number), ttr=ttr) for number in range(first, first + count)]

    def put_code(self, code: str, *, ttr: int = 60) -> int:
        """Put a job for an executor that runs its payload as Python, such as `executors.CODE`, and return its id."""
        return self.put("code", code, ttr=ttr)

    def count(self, tube: str) -> dict[str, int]:
        """Return the number of jobs of a tube by state."""
        try:
            stats: Mapping[str, Any] = self._own.stats_tube(tube)
        except greenstalk.NotFoundError:
            return dict(NOTHING)
        return {state: stats[f"current-jobs-{state}"] for state in NOTHING}

    def stats_job(self, job: int) -> Mapping[str, Any]:
        """Return what beanstalkd says of a job; raises greenstalk.NotFoundError if there is none."""
        return self._own.stats_job(job)

    def stats(self) -> Mapping[str, Any]:
        """Return what beanstalkd says of itself."""
        return self._own.stats()

    def waiting(self, tube: str) -> int:
        """Return how many connections wait for a job of the tube."""
        with suppress(greenstalk.NotFoundError):
            return self._own.stats_tube(tube)["current-waiting"]
        return 0

    def delete(self, job: int) -> None:
        """Delete a job that nobody holds."""
        self._own.delete(job)

    def kick_job(self, job: int) -> None:
        """Make a buried or delayed job ready."""
        self._own.kick_job(job)

    def bury(self, tube: str, count: int = 1) -> None:
        """Put so many jobs into a tube of which none is ready, and bury them."""
        client = self.client()
        client.watch(tube)
        for _ in range(count):
            self.put(tube)
            client.bury(client.reserve(timeout=30))
        client.close()

    def bury_many(self, tube: str, count: int, body: bytes = b"{}") -> list[int]:
        """Put so many jobs into a tube of which none is ready, bury them in few writes, and return their ids."""
        with closing(self.client()) as client:
            return client.bury_many(tube, count, body)

    def exists(self, job: int) -> bool:
        """Return whether there is such a job, in any state."""
        with suppress(greenstalk.NotFoundError):
            self.stats_job(job)
            return True
        return False

    def lose(self, job: int) -> None:
        """Lose a delivery of a job: reserve it on a connection that ends, and wait until the job is ready again."""
        client = self.client()
        client.reserve_job(job)
        client.close()
        wait_for(lambda: self.stats_job(job)["state"] == "ready", "a closed connection gives its job back")

    def _answers(self) -> Client | None:
        with suppress(ConnectionError):
            return self.client()
        return None
