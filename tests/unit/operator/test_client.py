"""Requests to the API server, as the metrics count them."""

import pytest

from tubeherd_operator.cluster.client import ClusterError, Conflict, _request_in_words
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
