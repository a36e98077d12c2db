"""Answers that are not what was asked for, from an HTTP server in the place of the API server."""

import pytest

from tests.support.http import Server
from tubeherd_operator.cluster.client import ClusterError


@pytest.fixture
def answering(client_of):
    """Return a function that returns a server which gives each request the same answer, and its client."""
    servers = []

    def answer(*arguments, **headers):
        servers.append(Server(lambda handler, _: handler.answer(*arguments, **headers)))
        return servers[-1], client_of(servers[-1].url)

    yield answer
    for server in servers:
        server.close()


def test_request_for_a_lease_is_sent_once_because_its_time_is_short(answering):
    server, cluster = answering(503, Retry_After="30")
    with pytest.raises(ClusterError) as error:
        cluster.lease("shop", "herd")
    assert (error.value.status, len(server.requests)) == (503, 1)


def test_answer_that_is_no_json_is_an_error_of_the_cluster(answering):
    _, cluster = answering(200, b"<html>a proxy says hello")
    with pytest.raises(ClusterError, match="the answer is not that of an API server") as error:
        cluster.lease("shop", "herd")
    assert error.value.kind == "answer"
