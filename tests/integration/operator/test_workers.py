"""Workers are asked how many jobs they execute: real ones, and others that answer wrongly or never."""

import socket
import threading
import time
from contextlib import ExitStack

import pytest

from tests.support.executors import WAITING
from tests.support.network import free_port
from tests.support.worker import Worker
from tubeherd_operator.workers import running_jobs

HERE = "127.0.0.1"
GAUGE = b"# TYPE tubeherd_jobs_running gauge\ntubeherd_jobs_running 3.0\n"


def test_worker_says_how_many_jobs_it_executes(tmp_path, beanstalkd):
    port = free_port(HERE)
    with ExitStack() as stack:
        worker = Worker(tmp_path / "worker", beanstalkd.server, WAITING, ("--health", f"{HERE}:{port}"))
        stack.callback(worker.end)
        worker.wait_for(lambda: running_jobs({"one": HERE}, port) == {"one": 0}, "it is idle")
        beanstalkd.put("mail", "1")
        worker.wait_for_notes("begun 1 attempt 1 lost 0")
        assert running_jobs({"one": HERE}, port) == {"one": 1}
        worker.allow("go")


@pytest.fixture
def answering():
    """Listen on a port, and answer each connection with these pieces; None answers nothing, and does not close."""
    with ExitStack() as stack:

        def listen(*pieces, address=HERE, port=0):
            server = stack.enter_context(socket.create_server((address, port)))
            held = []

            def serve():
                while True:
                    try:
                        peer, _ = server.accept()
                    except OSError:
                        return
                    held.append(peer)
                    with peer:
                        peer.recv(1024)
                        for piece in pieces:
                            if piece is None:
                                threading.Event().wait(30)
                            else:
                                peer.sendall(piece)

            threading.Thread(target=serve, daemon=True).start()
            return server.getsockname()[1]

        yield listen


@pytest.mark.parametrize(
    ("pieces", "found"),
    [
        ([b"HTTP/1.1 200 OK\r\n\r\n" + GAUGE], {"one": 3}),
        ([b"HTTP/1.1 200 OK\r\n\r\n" + GAUGE[:50], GAUGE[50:]], {"one": 3}),
        ([b"HTTP/1.1 500 Internal Server Error\r\n\r\nno\n"], {}),
        ([b"tubeherd_jobs_running NaN\n"], {}),
        ([b"tubeherd_jobs_running 99999999999999999999999.0\n"], {}),
        ([], {}),
        ([b"x" * 100_000, b"\n" + GAUGE], {}),
    ],
    ids=["whole", "in pieces", "refused", "no number", "too large", "closed", "too long"],
)
def test_answer_counts_only_if_it_is_one(answering, pieces, found):
    assert running_jobs({"one": HERE}, answering(*pieces)) == found


def test_those_that_do_not_answer_in_time_are_left_out_and_delay_nobody_longer(answering):
    port = answering(None)
    for address in ("127.0.0.2", "127.0.0.3"):
        answering(GAUGE, address=address, port=port)
    addresses = {"hangs": HERE, "two": "127.0.0.2", "three": "127.0.0.3", "refuses": "127.0.0.4", "wrong": "nowhere."}
    before = time.monotonic()
    assert running_jobs(addresses, port, seconds=1.0) == {"two": 3, "three": 3}
    assert time.monotonic() - before < 20, "the one that hangs would have taken half a minute"


def test_nobody_is_asked_if_there_is_nobody():
    assert running_jobs({}) == {}
