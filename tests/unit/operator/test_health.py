"""The operator is ready while its watches work, and alive while they are opened again and again."""

import gzip
import resource
import socket
import threading
import urllib.error
import urllib.request

import pytest

from tests.support.network import free_port
from tests.support.waiting import wait_for
from tubeherd_operator import health as health_module
from tubeherd_operator.health import STUCK_SECONDS, TROUBLE_SECONDS, Health, serve


class Clock:
    """The time, in seconds."""

    now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def health(clock):
    health = Health(["workerpools", "pods"], clock)
    health.listed()
    return health


def test_it_is_not_ready_before_everything_was_listed(clock):
    health = Health(["pods"], clock)
    health.opened("pods")
    assert health.trouble() == "the first listing of all objects has not ended yet"
    health.listing_failed("failed, and is tried again: HTTP status 500")
    assert health.trouble() == "the first listing of all objects failed, and is tried again: HTTP status 500"
    health.listed()
    health.listing_failed("failed, and is tried again: HTTP status 500")
    assert health.trouble() is None, "from then on the watches bring what changes"


def test_it_is_not_ready_before_each_watch_was_opened(health):
    health.opened("workerpools")
    assert health.trouble() == "the watch of pods is not opened yet"
    health.opened("pods")
    assert health.trouble() is None


@pytest.mark.parametrize(
    ("seconds", "trouble"),
    [
        (TROUBLE_SECONDS - 1, None),
        (TROUBLE_SECONDS, "the watch of pods is answered with HTTP status 403"),
    ],
)
def test_watch_that_fails_for_a_while_makes_it_unready(health, clock, seconds, trouble):
    health.opened("workerpools")
    health.opened("pods")
    for since in (0, seconds):
        clock.now = 1000 + since
        health.failed("pods", "is answered with HTTP status 403")
    assert health.trouble() == trouble
    health.opened("pods")
    assert health.trouble() is None
    health.failed("pods", "is answered with HTTP status 403")
    assert health.trouble() is None, "an earlier failure does not count"


def test_failure_is_news_only_after_the_watch_has_worked(health):
    assert not health.failed("pods", "fails")
    health.opened("pods")
    assert [health.failed("pods", "fails") for _ in range(3)] == [True, False, False]


def test_states_say_which_watches_are_open(health):
    health.opened("pods")
    assert health.states() == {"workerpools": False, "pods": True}
    health.failed("pods", "fails")
    assert health.states() == {"workerpools": False, "pods": False}


def test_it_hangs_only_if_a_watch_is_not_even_tried_for_long(health, clock):
    assert health.hang() is None
    clock.now += STUCK_SECONDS
    health.opened("workerpools")
    health.failed("pods", "fails")
    clock.now += STUCK_SECONDS
    assert health.hang() is None
    clock.now += 1
    health.opened("workerpools")
    assert health.hang() == f"the watch of pods was not opened again for {STUCK_SECONDS + 1:.0f} s"


@pytest.fixture
def get(health):
    """Ask a server: `get(path, **headers)` returns status and body; `get.metrics` has the parts of the metrics."""

    class Get:
        def __init__(self):
            self.metrics = [b"one 1\n", b"two 2\n"]
            self.server = serve(f"127.0.0.1:{free_port()}", health, lambda: map(bytes, self.metrics))

        def __call__(self, path, **headers):
            request = urllib.request.Request(f"http://127.0.0.1:{self.server.server_port}{path}", headers=headers)
            try:
                with urllib.request.urlopen(request, timeout=30) as answer:
                    return answer.status, answer.read()
            except urllib.error.HTTPError as error:
                return error.code, error.read()

    made = Get()
    yield made
    made.server.shutdown()
    made.server.server_close()


def test_probes_are_answered(get, clock):
    assert get("/healthz") == (200, b"ok\n")
    assert get("/readyz") == (503, b"the watch of workerpools is not opened yet\n")
    assert get("/metrics-of-another")[0] == 404
    clock.now += STUCK_SECONDS + 1
    assert get("/healthz")[0] == 503


def test_metrics_are_shown_zipped_to_who_can_read_that(get):
    assert get("/metrics") == (200, b"one 1\ntwo 2\n")
    status, zipped = get("/metrics", **{"Accept-Encoding": "gzip"})
    assert (status, gzip.decompress(zipped)) == (200, b"one 1\ntwo 2\n")


def test_metrics_that_cannot_be_read_are_logged_and_are_never_half_of_them(get, logged):
    get.metrics = [b"one 1\n", "no bytes"]
    assert get("/metrics") == (500, b"the metrics cannot be read; see the operator's log\n")
    assert logged()[0]["event"].startswith("/metrics cannot be shown: TypeError")
    assert get("/healthz")[0] == 200


def test_metrics_are_made_anew_only_after_a_while(get, monkeypatch):
    assert get("/metrics") == (200, b"one 1\ntwo 2\n")
    get.metrics = [b"one 2\n"]
    monkeypatch.setattr(health_module, "_METRICS_SECONDS", 3600.0)
    assert get("/metrics") == (200, b"one 1\ntwo 2\n")
    monkeypatch.setattr(health_module, "_METRICS_SECONDS", 0.0)
    assert get("/metrics") == (200, b"one 2\n")


@pytest.fixture
def two_patient(monkeypatch):
    """Have a server that waits for its peers as long as they like, and has room for two."""
    monkeypatch.setattr(health_module, "_PEER_SECONDS", 3600.0)
    monkeypatch.setattr(health_module, "_PEERS_MOST", 2)


@pytest.mark.usefixtures("two_patient")
def test_peers_that_ask_for_nothing_keep_nobody_else_away(get):
    idle = [socket.create_connection(("127.0.0.1", get.server.server_port), timeout=30) for _ in range(3)]
    assert idle[0].recv(1) == b"", "the oldest is closed"
    assert get("/healthz") == (200, b"ok\n")
    for peer in idle:
        peer.close()


def test_peer_that_hangs_up_is_not_logged(get, logged):
    get.metrics = [b"x" * (64 << 20)]
    peer = socket.create_connection(("127.0.0.1", get.server.server_port), timeout=30)
    peer.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
    assert peer.recv(1)
    peer.close()
    wait_for(lambda: not any("process_request" in thread.name for thread in threading.enumerate()), "it was noticed")
    assert logged() == []


def test_server_pauses_while_no_more_files_can_be_opened(get, monkeypatch):
    pausing, over = threading.Event(), threading.Event()

    def pause(_):
        pausing.set()
        over.wait(30)

    monkeypatch.setattr(health_module.time, "sleep", pause)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    with socket.socket() as peer:
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, limits[1]))
        try:
            peer.connect(("127.0.0.1", get.server.server_port))
            paused = pausing.wait(5)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
            over.set()
        assert paused
        peer.settimeout(30)
        peer.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
        assert peer.recv(12) == b"HTTP/1.0 200"


def test_address_may_be_one_of_ipv6(health):
    server = serve(f"[::1]:{free_port()}", health, list)
    with urllib.request.urlopen(f"http://[::1]:{server.server_port}/healthz", timeout=30) as answer:
        assert answer.read() == b"ok\n"
    server.shutdown()
    server.server_close()
