"""Requests to the API server, as the metrics count them."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import kubernetes
import pytest

from tubeherd_operator.cluster import client
from tubeherd_operator.cluster.client import Cluster, ClusterError, Conflict, _request_in_words
from tubeherd_operator.cluster.kinds import DEPLOYMENTS, PODS, POOLS


@pytest.mark.parametrize(
    ("method", "path", "words"),
    [
        ("GET", PODS.path(), ("list", "pods")),
        ("GET", PODS.path("shop"), ("list", "pods")),
        ("GET", PODS.path("shop", "mail-7d"), ("get", "pods")),
        ("GET", POOLS.path("namespaces", "namespaces"), ("get", "workerpools")),
        ("PATCH", f"{POOLS.path('shop', 'mail')}/status", ("patch", "workerpools/status")),
        ("PATCH", DEPLOYMENTS.path("shop", "mail"), ("patch", "deployments")),
        ("DELETE", DEPLOYMENTS.path("shop", "mail"), ("delete", "deployments")),
        ("POST", "/api/v1/namespaces/shop/events", ("create", "events")),
        ("PUT", "/apis/coordination.k8s.io/v1/namespaces/shop/leases/herd", ("update", "leases")),
        ("GET", f"/apis/{POOLS.group}/{POOLS.version}", ("get", "apis")),
    ],
)
def test_request_is_counted_in_the_words_of_a_cluster_role(method, path, words):
    assert _request_in_words(method, path) == words


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ClusterError(0, "no route"), "unreachable"),
        (ClusterError(403, "no right"), "refused"),
        (ClusterError(422, "not valid"), "refused"),
        (Conflict(409, "another version"), "conflict"),
        (ClusterError(429, "too many"), "overloaded"),
        (ClusterError(503, "starting"), "overloaded"),
        (ClusterError(404, "gone"), "answer"),
    ],
)
def test_failure_of_a_pass_is_counted_by_why(error, kind):
    assert error.kind == kind


class _Answers:
    """An API server on loopback that gives each request the same answer, and counts them."""

    def __init__(self, monkeypatch, status, headers, body):
        self.asked = 0
        answers = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                answers.asked += 1
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(body))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        host = f"http://127.0.0.1:{self._server.server_port}"
        monkeypatch.setattr(client, "_configuration", lambda: kubernetes.client.Configuration(host=host))

    def close(self):
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def answering(monkeypatch):
    made = []

    def answer(status=200, headers=None, body=b"{}"):
        made.append(_Answers(monkeypatch, status, headers or {}, body))
        return made[-1]

    yield answer
    for each in made:
        each.close()


def test_request_for_a_lease_is_sent_once_because_its_time_is_short(answering):
    server = answering(503, {"Retry-After": "30"})
    with pytest.raises(ClusterError) as error:
        Cluster(lambda *_: None).lease("shop", "herd")
    assert (error.value.status, server.asked) == (503, 1)


def test_answer_that_is_no_json_is_an_error_of_the_cluster(answering):
    answering(body=b"<html>a proxy says hello")
    with pytest.raises(ClusterError, match="the answer is not that of an API server") as error:
        Cluster(lambda *_: None).lease("shop", "herd")
    assert error.value.kind == "answer"
