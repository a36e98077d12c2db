"""Connections that are cut, go silent or lead to something else than beanstalkd: the worker neither hangs nor spins."""

import os
import selectors
import signal
import socket
import threading
import time
from contextlib import suppress

import pytest

NOTHING = {"ready": 0, "reserved": 0, "delayed": 0, "buried": 0}

WAITING = """
from traces import note, wait_for
from tubeherd import Job, executor
@executor("mail")
def mail(payload, job: Job):
    note(f"begun {payload} attempt {job.attempt} lost {job.lost_deliveries}")
    wait_for("go")
    note(f"done {payload}")
"""


class Proxy:
    """Forwards each connection to beanstalkd, until told to cut it after so many bytes, or to forward no answers."""

    def __init__(self, target):
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.server = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.connections = 0
        self.silent = set()
        """The numbers of the connections, from 1, whose answers are held back."""
        self.cut = {}
        """Connection number to (direction, bytes): cut as soon as that many have passed in that direction."""
        self.passed = {}
        self._sockets = []
        self._thread = threading.Thread(target=self._run)
        self._stop, self._stopped = socket.socketpair()
        self._thread.start()

    def close(self):
        self._stop.close()
        self._thread.join()
        for sock in (*self._sockets, self._listener, self._stopped):
            sock.close()

    def _run(self):
        with selectors.DefaultSelector() as selector:
            selector.register(self._listener, selectors.EVENT_READ, lambda: self._accept(selector))
            selector.register(self._stopped, selectors.EVENT_READ)
            while True:
                for key, _ in selector.select():
                    if key.data is None:
                        return
                    key.data()

    def _accept(self, selector):
        near = self._listener.accept()[0]
        self.connections += 1
        number = self.connections
        try:
            far = socket.create_connection(self._target)
        except OSError:
            near.close()
            return
        self._sockets += [near, far]
        for direction, source, sink in (("out", near, far), ("in", far, near)):
            self.passed[number, direction] = 0
            selector.register(
                source,
                selectors.EVENT_READ,
                lambda ends=(source, sink), way=(number, direction): self._forward(selector, *ends, *way),
            )

    def _forward(self, selector, source, sink, number, direction):
        if direction == "in" and number in self.silent:
            selector.unregister(source)  # whatever comes stays in the kernel's buffer
            return
        data = b""
        with suppress(OSError):
            data = source.recv(65536)
        way, limit = self.cut.get(number, ("", 0))
        passed = self.passed[number, direction]
        ends_here = way == direction and passed + len(data) >= limit
        data = data[: limit - passed] if ends_here else data
        self.passed[number, direction] += len(data)
        with suppress(OSError):
            sink.sendall(data)
        if ends_here or not data:
            for end in (source, sink):
                with suppress(KeyError):
                    selector.unregister(end)
                with suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def proxy(beanstalkd):
    proxy = Proxy(("127.0.0.1", beanstalkd.port))
    yield proxy
    proxy.close()


def put(client, count, *, ttr=60):
    return [client.put_in("mail", str(number).encode(), priority=1, delay=0, ttr=ttr) for number in range(count)]


def test_worker_starts_without_beanstalkd_and_finds_it_later(beanstalkd, run_worker):
    client = beanstalkd.client()
    put(client, 3)
    beanstalkd.kill()
    worker = run_worker(beanstalkd.server, WAITING)
    line = worker.wait_for_line("cannot reach beanstalkd")
    assert line["event"].startswith(f"cannot reach beanstalkd at {beanstalkd.server}: Connection refused; trying again")
    beanstalkd.start()
    worker.allow("go")
    worker.wait_for(lambda: beanstalkd.count("mail") == NOTHING, "all are done")
    assert [note for note in worker.notes() if note.startswith("done")] == ["done 0", "done 1", "done 2"]
    assert worker.stop() == 0


def test_idle_connection_that_is_cut_is_opened_again_for_the_same_tubes(beanstalkd, run_worker):
    worker = run_worker(
        beanstalkd.server,
        """
        from traces import note
        from tubeherd import executor
        for tube in ("mail", "news", "never"):
            executor(tube)(lambda payload, tube=tube: note(f"{tube} {payload}"))
        """,
        "--exclude", "never",
    )  # fmt: skip
    client = beanstalkd.client()
    worker.wait_for(lambda: "news" in client.tubes() and client.stats_tube("news")["current-waiting"], "it waits")
    beanstalkd.kill()
    beanstalkd.start()
    client = beanstalkd.client()
    worker.wait_for(lambda: "news" in client.tubes() and client.stats_tube("news")["current-waiting"], "it waits")
    assert len(worker.lines("connected")) == 2
    for tube in ("default", "never", "mail", "news"):
        client.put_in(tube, b"1", priority=1, delay=0, ttr=60)
    worker.wait_for_notes("mail 1", "news 1")
    assert beanstalkd.count("default") == beanstalkd.count("never") == NOTHING | {"ready": 1}
    assert worker.stop() == 0


@pytest.mark.parametrize("direction", ["in", "out"])
def test_connections_cut_at_every_stage_lose_no_job(beanstalkd, proxy, run_worker, direction):
    """One connection after the other is cut, each some bytes later: in a watch, reserve, stats-job, delete, answer."""
    client = beanstalkd.client()
    total = 40
    put(client, total)
    step = 11 if direction == "out" else 53
    # The first back-off is short, but it grows while no reserve comes through: so each third connection is left whole
    # until it has got a job.
    for number in range(1, 46):
        proxy.cut[number] = (direction, 150 + step * number if number % 3 == 0 else step * number)
    worker = run_worker(
        proxy.server,
        """
        from traces import note
        from tubeherd import executor
        @executor("mail")
        def mail(payload): note(payload)
        """,
        "--max-lost-deliveries", "0", "--concurrency", "3",
    )  # fmt: skip
    worker.wait_for(lambda: beanstalkd.count("mail") == NOTHING, "all are done", seconds=40)
    assert {int(note) for note in worker.notes()} == set(range(total))
    assert proxy.connections > 5
    assert worker.stop() == 0


def test_verdict_whose_answer_never_comes(beanstalkd, proxy, run_worker):
    """The other side holds the connection open and says nothing more: noticed, logged, and left behind.

    So is, after 5 s, a peer of the health server that asks for nothing.
    """
    client = beanstalkd.client()
    put(client, 2)
    with socket.create_server(("127.0.0.1", 0)) as free:
        health = free.getsockname()
    worker = run_worker(proxy.server, WAITING, "--health", f"127.0.0.1:{health[1]}")
    worker.wait_for(worker.notes, "the job runs")
    peer = socket.create_connection(health, 1)
    proxy.silent.add(1)
    worker.allow("go")
    worker.wait_for_line("executed, but its verdict was lost")
    worker.wait_for_line("beanstalkd gave no answer within 10 s; trying again in 0.")
    with peer:
        assert peer.recv(1) == b""
    worker.wait_for(lambda: beanstalkd.count("mail") == NOTHING, "both are done")
    # The delete had reached beanstalkd, and so had the reserve of the next job.
    assert [note for note in worker.notes() if note.startswith("done")] == ["done 0", "done 1"]
    assert worker.notes()[2] == "begun 1 attempt 1 lost 1"
    assert worker.stop() == 0


def test_slot_killed_while_the_answer_to_a_command_is_out(beanstalkd, proxy, run_worker):
    client = beanstalkd.client()
    put(client, 2)
    worker = run_worker(proxy.server, WAITING)
    worker.wait_for(worker.notes, "the job runs")
    proxy.silent.add(1)
    worker.allow("go")
    worker.wait_for(lambda: beanstalkd.count("mail")["reserved"] == 1 and len(worker.notes()) == 2, "a reserve is out")
    worker.wait_for(lambda: client.stats()["cmd-delete"] == 1, "the first job is deleted")
    (slot,) = worker.slots()
    os.kill(slot, signal.SIGKILL)
    worker.wait_for_notes("begun 1 attempt 1 lost 1", "done 1", seconds=5)
    worker.wait_for(lambda: beanstalkd.count("mail") == NOTHING, "both are done")
    assert worker.lines("the slot died: signal 9 (SIGKILL)", phase="command")
    assert worker.notes().count("done 0") == 1
    assert worker.stop() == 0


class Impostor:
    """Accepts connections, counts them, and answers each line with the same bytes, or closes at once."""

    def __init__(self, answer):
        self._answer = answer
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.server = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.times = []
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def close(self):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()

    def _run(self):
        with suppress(OSError):
            while True:
                peer, _ = self._listener.accept()
                self.times.append(time.monotonic())
                with peer, suppress(OSError):
                    peer.settimeout(5)
                    while self._answer and peer.recv(65536):
                        peer.sendall(self._answer)


@pytest.mark.parametrize(
    ("answer", "line"),
    [
        (b"", ""),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "the server's answer is not beanstalkd's (WATCHING was expected)"),
        (b"INTERNAL_ERROR\r\n", "beanstalkd answered INTERNAL_ERROR"),
        (b"WATCHING 1\r\n", "the server's answer is not beanstalkd's (RESERVED was expected)"),
    ],
    ids=["closes", "http", "internal-error", "reserve"],
)
def test_server_that_is_no_beanstalkd_is_asked_less_and_less_often(run_worker, answer, line):
    impostor = Impostor(answer)
    try:
        worker = run_worker(impostor.server, WAITING)
        worker.wait_for(lambda: len(impostor.times) >= 4, "four connections")
        begin, *_, end = impostor.times[:4]
        assert end - begin >= 0.05 + 0.1 + 0.2  # the shortest pauses that the jitter allows
        last = worker.lines(line)[-1]["event"]
        assert "; trying again in 0." in last
        assert not worker.lines("the slot")
        assert worker.stop(seconds=1) == 0
    finally:
        impostor.close()
    assert len(impostor.times) <= 6
