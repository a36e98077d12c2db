"""Events that happen again, against an HTTP server that keeps them as the API server does."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tubeherd_operator.cluster import client
from tubeherd_operator.cluster.client import Cluster

PATH = "/api/v1/namespaces/shop/events"


class Events(BaseHTTPRequestHandler):
    """Keeps Events by their paths."""

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        event = self.body()
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
    server = ThreadingHTTPServer(("127.0.0.1", 0), Events)
    server.stored, server.asked = {}, []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def cluster(api, client_of):
    return client_of(f"http://127.0.0.1:{api.server_port}")


def event(name="mail.1", time="12:00"):
    return {"metadata": {"namespace": "shop", "name": name}, "lastTimestamp": time, "count": 1}


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
