"""The watches of ConfigMaps, against an HTTP server: what they ask for, and what becomes of the answers."""

import asyncio
import json

import aiohttp
import aiohttp.web
import pytest

from tests.support.network import free_port
from tests.support.waiting import PATIENCE
from tubeherd_operator.cluster import config_maps
from tubeherd_operator.cluster.cache import Cache
from tubeherd_operator.cluster.config_maps import ConfigMapWatches, scopes
from tubeherd_operator.cluster.kinds import POOLS
from tubeherd_operator.cluster.session import Session
from tubeherd_operator.objects import Key

JOBS = Key("shop", "jobs")


@pytest.mark.parametrize(
    ("named", "everywhere", "watched"),
    [
        ([], True, []),
        ([JOBS, Key("other", "jobs")], True, [JOBS, Key("other", "jobs")]),
        ([Key("shop", f"{number}") for number in range(10)], True, [Key("shop", f"{number}") for number in range(10)]),
        ([*(Key("shop", f"{number}") for number in range(11)), JOBS], True, [Key("shop", "")]),
        ([Key(f"{number}", "jobs") for number in range(50)], True, [Key(f"{number}", "jobs") for number in range(50)]),
        ([Key(f"{number}", "jobs") for number in range(51)], True, [Key("", "")]),
        ([Key(f"{number}", "jobs") for number in range(51)], False, [Key(f"{number}", "") for number in range(51)]),
    ],
)
def test_what_is_watched(named, everywhere, watched):
    assert scopes(named, everywhere=everywhere) == {*watched}


def item(number, name="jobs", namespace="shop"):
    return {"metadata": {"namespace": namespace, "name": name, "resourceVersion": str(number)}}


class ApiServer:
    """Answers listings with `items`, and watches with what a test sends."""

    def __init__(self):
        self.items = [item(3)]
        self.asked = []
        self.status = 200
        self.watches = []
        self.opened = asyncio.Event()

    async def answer(self, request):
        kind = "watch" if "watch" in request.query else "list"
        selector, version = request.query.get("fieldSelector"), request.query.get("resourceVersion")
        self.asked.append((kind, request.path, selector, version, request.headers["Accept"]))
        if self.status != 200:
            return aiohttp.web.json_response({}, status=self.status)
        if kind == "list":
            return aiohttp.web.json_response({"metadata": {"resourceVersion": "7"}, "items": self.items})
        events = asyncio.Queue()
        self.watches.append(events)
        response = aiohttp.web.StreamResponse()
        await response.prepare(request)
        self.opened.set()
        while (event := await events.get()) is not None:
            line = json.dumps(event).encode() + b"\n"
            for part in (line[:10], line[10:]):
                await response.write(part)
                await asyncio.sleep(0.01)
        return response

    async def next_watch(self):
        """Wait until another watch is open, and return what sends its events; None ends it."""
        await self.opened.wait()
        self.opened.clear()
        return self.watches[-1]


async def until(condition):
    while not condition():
        await asyncio.sleep(0.01)


@pytest.fixture
def run(monkeypatch):
    """Run a test beside the watches of a pool with the ConfigMap shop/jobs: `run(test)` calls `test(api, cache)`."""
    monkeypatch.setattr(config_maps, "_LOOK_SECONDS", 0.01)
    monkeypatch.setattr(config_maps, "_AGAIN_SECONDS", 0.05)
    monkeypatch.setattr(config_maps, "_FORBIDDEN_SECONDS", 0.05)

    async def beside_watches(test, everywhere):
        api, port, changed = ApiServer(), free_port(), []
        app = aiohttp.web.Application()
        app.router.add_get("/{path:.*}", api.answer)
        runner = aiohttp.web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        await aiohttp.web.TCPSite(runner, "127.0.0.1", port).start()
        cache = Cache(changed.append, changed.append)
        cache.put(POOLS, item(1, "mail") | {"spec": {"executors": {"configMap": "jobs"}}})
        cache.changed = changed
        async with aiohttp.ClientSession() as http:
            session = Session(f"http://127.0.0.1:{port}", http)
            running = asyncio.create_task(ConfigMapWatches(cache, lambda: session, everywhere=everywhere).run())
            try:
                async with asyncio.timeout(PATIENCE):
                    await test(api, cache)
            finally:
                running.cancel()
                await asyncio.wait([running])
                await runner.cleanup()
        assert not cache.watches_config_map(JOBS), "the watches have ended"

    return lambda test, everywhere=True: asyncio.run(beside_watches(test, everywhere))


def version(cache, key=JOBS):
    found = cache.config_map(key)
    return found and found["metadata"]["resourceVersion"]


def test_of_one_config_map_names_and_versions_are_listed_and_watched(run):
    async def test(api, cache):
        await api.next_watch()
        assert cache.watches_config_map(JOBS)
        assert not cache.watches_config_map(Key("shop", "other"))
        path, form = "/api/v1/namespaces/shop/configmaps", "application/json;as=PartialObjectMetadata"
        assert api.asked == [
            ("list", path, "metadata.name=jobs", None, f"{form}List;g=meta.k8s.io;v=v1"),
            ("watch", path, "metadata.name=jobs", "7", f"{form};g=meta.k8s.io;v=v1"),
        ]

    run(test)


def test_what_a_watch_reports_reaches_the_cache_and_its_pools(run):
    async def test(api, cache):
        events = await api.next_watch()
        assert version(cache) == "3"
        cache.changed.clear()
        await events.put({"type": "MODIFIED", "object": item(8)})
        await until(lambda: version(cache) == "8")
        await events.put({"type": "DELETED", "object": item(9)})
        await until(lambda: version(cache) is None)
        await events.put({"type": "ADDED", "object": item(10)})
        await until(lambda: version(cache) == "10")
        assert cache.changed == [Key("shop", "mail")] * 3

    run(test)


def test_watch_that_ends_goes_on_where_it_was(run):
    async def test(api, cache):
        events = await api.next_watch()
        await events.put({"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "12"}}})
        await events.put(None)
        await api.next_watch()
        assert [(kind, since) for kind, _, _, since, _ in api.asked] == [
            ("list", None),
            ("watch", "7"),
            ("watch", "12"),
        ]
        assert cache.watches_config_map(JOBS)

    run(test)


@pytest.mark.parametrize(
    "event", [{}, {"type": "BOOKMARK", "object": {"metadata": {}}}, {"type": "ADDED", "object": 5}]
)
def test_watch_whose_answer_makes_no_sense_is_begun_anew(run, event):
    async def test(api, cache):
        events = await api.next_watch()
        api.items = [item(8)]
        await events.put(event)
        await api.next_watch()
        assert version(cache) == "8"
        assert cache.watches_config_map(JOBS)

    run(test)


def test_watch_that_is_too_far_behind_is_begun_anew_and_what_was_deleted_meanwhile_is_noticed(run):
    async def test(api, cache):
        events = await api.next_watch()
        api.items = []
        await events.put({"type": "ERROR", "object": {"code": 410}})
        await api.next_watch()
        assert version(cache) is None
        assert cache.watches_config_map(JOBS)

    run(test)


@pytest.mark.parametrize("status", [401, 403, 500])
def test_config_map_that_cannot_be_watched_counts_as_such_until_it_can(run, status, capfd):
    async def test(api, cache):
        events = await api.next_watch()
        api.status = status
        await events.put(None)
        await until(lambda: not cache.watches_config_map(JOBS))
        api.status = 200
        await api.next_watch()
        assert cache.watches_config_map(JOBS)

    run(test)
    assert f"HTTP status {status}" in capfd.readouterr().err


def test_pools_that_name_many_share_a_watch_of_their_namespace(run):
    async def test(api, cache):
        await api.next_watch()
        for number in range(11):
            pool = {"spec": {"executors": {"configMap": f"jobs-{number}"}}}
            cache.put(POOLS, item(1, f"pool-{number}") | pool)
        await until(lambda: cache.watches_config_map(Key("shop", "whatever")))
        assert api.asked[-1][2] is None, "no name"

    run(test)


def test_nothing_is_watched_that_no_pool_names(run):
    async def test(api, cache):
        await api.next_watch()
        cache.drop(POOLS, item(2, "mail"))
        await until(lambda: not cache.watches_config_map(JOBS))

    run(test)
