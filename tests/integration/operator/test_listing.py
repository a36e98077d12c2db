"""Listings, against an HTTP server that hands objects out page by page, as the API server does."""

import json
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.support.http import Server
from tubeherd_operator.cluster.client import ClusterError
from tubeherd_operator.cluster.kinds import DEPLOYMENTS, POOLS

LIST = {"apiVersion": "apps/v1", "kind": "DeploymentList"}


class Pages:
    """Hands out so many Deployments, at most `limit` at a time; from the number `gone` on it answers with `failure`."""

    def __init__(self, count):
        self.count = count
        self.gone = None
        self.failure = 410
        self.asked = []

    def __call__(self, handler, request):
        path, query = urlsplit(request.path).path, parse_qs(urlsplit(request.path).query)
        if path == DEPLOYMENTS.path("shop"):
            return handler.answer(403, json.dumps({"message": "deployments is forbidden"}).encode())
        if path != DEPLOYMENTS.path():
            return handler.answer(404, b"{}")
        first, limit = int(query.get("continue", ["0"])[0]), int(query["limit"][0])
        self.asked.append((first, query["labelSelector"]))
        if self.gone is not None and first >= self.gone:
            return handler.answer(self.failure, json.dumps({"message": "the token is too old"}).encode())
        end = min(first + limit, self.count)
        items = [{"metadata": {"name": f"pool-{number}"}} for number in range(first, end)]
        metadata = {"continue": str(end)} if end < self.count else {}
        return handler.answer(200, json.dumps(LIST | {"metadata": metadata, "items": items}).encode())


@pytest.fixture
def pages():
    return Pages(500)


@pytest.fixture
def cluster(pages, client_of):
    server = Server(pages)
    yield client_of(server.url)
    server.close()


def test_many_objects_are_listed_page_by_page_and_each_comes_once(pages, cluster):
    found = list(cluster.objects(DEPLOYMENTS))
    assert [item["metadata"]["name"] for item in found] == [f"pool-{number}" for number in range(500)]
    assert {(item["apiVersion"], item["kind"]) for item in found} == {("apps/v1", "Deployment")}
    assert pages.asked == [(first, [DEPLOYMENTS.selector]) for first in (0, 200, 400)]


def test_no_page_is_asked_for_before_the_one_before_was_used(pages, cluster):
    next(cluster.objects(DEPLOYMENTS))
    assert len(pages.asked) == 1


@pytest.mark.parametrize("status", [410, 404])
def test_listing_that_breaks_off_fails(pages, cluster, status):
    pages.gone, pages.failure = 400, status
    found = cluster.objects(DEPLOYMENTS)
    assert len([next(found) for _ in range(400)]) == 400
    with pytest.raises(ClusterError, match="the token is too old") as error:
        next(found)
    assert error.value.status == status


def test_namespace_in_which_nothing_may_be_listed_fails_alone(cluster):
    with pytest.raises(ClusterError, match="deployments is forbidden") as error:
        list(cluster.objects(DEPLOYMENTS, "shop"))
    assert error.value.status == 403
    assert len(list(cluster.objects(DEPLOYMENTS))) == 500


def test_no_objects_are_found_without_their_definition(cluster):
    assert list(cluster.objects(POOLS)) == []
