"""Events that happen again, against an HTTP server that keeps them as the API server does."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.support.waiting import PATIENCE
from tubeherd_operator.cluster import client, events
from tubeherd_operator.cluster.client import Cluster
from tubeherd_operator.cluster.events import Events
from tubeherd_operator.decisions.burials import Reason
from tubeherd_operator.decisions.findings import PoolEvent

PATH = "/api/v1/namespaces/shop/events"


class StoredEvents(BaseHTTPRequestHandler):
    """Keeps Events by their paths."""

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        event = self.body()
        self.server.received.set()
        self.server.goes_on.wait(PATIENCE)
        if event["reason"] == "Refused":
            return self.answer(403, {"message": "namespace is terminating"})
        path = f"{PATH}/{event['metadata']['name']}"
        if path in self.server.stored:
            return self.answer(409)
        self.server.stored[path] = event
        return self.answer(201)

    def do_GET(self):
        stored = self.server.stored.get(self.path)
        self.answer(200 if stored else 404, stored)

    def do_PATCH(self):
        patch, stored = self.body(), self.server.stored.get(self.path.partition("?")[0])
        if stored is None:
            return self.answer(404)
        stored |= patch
        return self.answer(200)

    def body(self):
        return json.loads(self.rfile.read(int(self.headers["Content-Length"])))

    def answer(self, status, found=None):
        self.server.asked.append((self.command, status))
        data = json.dumps(found or {}).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        """Log nothing."""


@pytest.fixture
def api():
    server = ThreadingHTTPServer(("127.0.0.1", 0), StoredEvents)
    server.stored, server.asked, server.goes_on = {}, [], threading.Event()
    server.received = threading.Event()
    server.goes_on.set()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def cluster(api, client_of):
    return client_of(f"http://127.0.0.1:{api.server_port}")


def event(name="mail.1", time="12:00"):
    return {"metadata": {"namespace": "shop", "name": name}, "reason": "Kicked", "lastTimestamp": time, "count": 1}


def test_event_that_happens_again_is_counted_by_one_request(api, cluster):
    for minute in range(3):
        cluster.write_event(event(time=f"12:0{minute}"))
    stored = api.stored[f"{PATH}/mail.1"]
    assert (stored["count"], stored["lastTimestamp"]) == (3, "12:02")
    assert api.asked == [("POST", 201), ("PATCH", 200), ("PATCH", 200)]


def test_another_process_goes_on_counting(api, cluster):
    Cluster(lambda *_: None).write_event(event())
    cluster.write_event(event())
    cluster.write_event(event())
    assert api.stored[f"{PATH}/mail.1"]["count"] == 3


def test_event_that_the_api_server_has_dropped_is_created_anew(api, cluster):
    cluster.write_event(event())
    api.stored.clear()
    cluster.write_event(event())
    assert api.stored[f"{PATH}/mail.1"]["count"] == 1
    cluster.write_event(event())
    assert api.stored[f"{PATH}/mail.1"]["count"] == 2


def test_however_many_events_there_are_few_are_remembered(api, cluster, monkeypatch):
    monkeypatch.setattr(client, "_EVENTS_MOST", 3)
    for name in ("a", "b", "c", "d", "a"):
        cluster.write_event(event(name))
    assert api.stored[f"{PATH}/a"]["count"] == 2
    assert len(cluster._events) <= 3


def write(written, message, reason=Reason.BURIED, in_log=None):
    pool = {"metadata": {"namespace": "shop", "name": "mail", "uid": "1"}}
    written.write(pool, PoolEvent("Warning", reason, message, in_log=in_log), "2026-11-29T12:00:00Z")


def test_nothing_waits_until_an_event_is_written(api, cluster):
    written = Events(cluster)
    api.goes_on.clear()
    for number in range(3):
        write(written, f"{number} jobs are buried")
    assert api.asked == []
    api.goes_on.set()
    written.finish(PATIENCE)
    assert [stored["message"] for stored in api.stored.values()] == [f"{number} jobs are buried" for number in range(3)]


def test_event_that_is_refused_is_logged_and_the_next_is_written(api, cluster, logged):
    written = Events(cluster)
    write(written, "cannot be stored", "Refused")
    write(written, "can be stored")
    written.finish(PATIENCE)
    assert [stored["message"] for stored in api.stored.values()] == ["can be stored"]
    assert "an Event could not be written: namespace is terminating" in [line["event"] for line in logged()]


def test_events_about_burials_are_written_after_all_others(api, cluster):
    written = Events(cluster)
    api.goes_on.clear()
    write(written, "begun before the others")
    api.received.wait(PATIENCE)
    for number in range(2):
        write(written, f"{number} jobs are buried")
        write(written, f"{number} jobs put back", "Kicked")
    api.goes_on.set()
    written.finish(PATIENCE)
    messages = [stored["message"] for stored in api.stored.values()]
    assert messages[1:] == ["0 jobs put back", "1 jobs put back", "0 jobs are buried", "1 jobs are buried"]


def test_of_very_many_events_the_oldest_are_left_out_and_that_is_logged(api, cluster, logged, monkeypatch):
    monkeypatch.setattr(events, "_MOST", 2)
    written = Events(cluster)
    api.goes_on.clear()
    write(written, "0 jobs are buried")
    api.received.wait(PATIENCE)
    write(written, "5 jobs put back", "Kicked")
    for number in range(1, 9):
        write(written, f"{number} jobs are buried")
    api.goes_on.set()
    written.finish(PATIENCE)
    messages = [stored["message"] for stored in api.stored.values()]
    assert messages == ["0 jobs are buried", "5 jobs put back", "7 jobs are buried", "8 jobs are buried"]
    left_out = [line for line in logged() if line["event"] == "an Event is not written, because 2 newer ones wait"]
    assert [line["pool"] for line in left_out] == ["shop/mail"] * 6


def test_how_many_events_are_lost_at_the_end_is_logged(api, cluster, logged):
    written = Events(cluster)
    api.goes_on.clear()
    write(written, "jobs are buried")
    written.finish(0.01)
    api.goes_on.set()
    assert logged()[-1]["count"] == 1


def test_log_says_of_an_event_nothing_that_a_job_has_said(api, cluster, logged):
    written = Events(cluster)
    write(written, "jobs are buried: ValueError: secret", in_log="jobs are buried: ValueError")
    written.finish(PATIENCE)
    assert [line["event"] for line in logged()] == ["jobs are buried: ValueError"]
    assert [stored["message"] for stored in api.stored.values()] == ["jobs are buried: ValueError: secret"]
