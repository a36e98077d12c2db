"""The session of kopf, against an HTTP server: what it asks for, and what it reports of the answers."""

import asyncio
import json

import aiohttp.web
import kopf
import pytest

from tests.support.network import free_port
from tests.support.waiting import PATIENCE
from tubeherd_operator.cluster.kinds import PODS, POOLS, WATCHED, watch_name
from tubeherd_operator.cluster.session import TracedSession
from tubeherd_operator.health import Health


class ApiServer:
    """Answers each path with the status that a test wants."""

    def __init__(self):
        self.prefix = ""
        self.hangs = False
        self.statuses = {}
        self.body = {}

    async def answer(self, request):
        if self.hangs:
            await asyncio.Event().wait()
        return aiohttp.web.json_response(self.body, status=self.statuses.get(request.path, 200), dumps=_compact)


def _compact(body):
    return json.dumps(body, separators=(",", ":")) + "\n"


class Seen:
    """What a session has reported."""

    def __init__(self, namespaces):
        self.health = Health([watch_name(kind, namespace) for kind in WATCHED for namespace in namespaces or ("",)])
        self.health.listed()
        self.listings = 0
        self.stopped = asyncio.Event()
        self.asked = []
        self.known = set()
        self.read = []

    def listed(self):
        self.listings += 1

    def is_known(self, kind, version):
        return (kind, version) in self.known

    def note(self, *asked):
        self.asked.append(asked)


@pytest.fixture
def api():
    return ApiServer()


@pytest.fixture
def run(api, monkeypatch):
    """Run a test in a session: `run(test)` calls `test(get, seen)`."""

    async def in_a_session(test, namespaces):
        seen, port = Seen(namespaces), free_port()
        app = aiohttp.web.Application()
        app.router.add_get("/{path:.*}", api.answer)
        runner = aiohttp.web.AppRunner(app)
        await runner.setup()
        await aiohttp.web.TCPSite(runner, "127.0.0.1", port).start()
        here = kopf.ConnectionInfo(server=f"http://127.0.0.1:{port}{api.prefix}")
        monkeypatch.setattr(kopf, "login_via_client", lambda **_: here)
        session = (
            await TracedSession(
                seen.health, seen.listed, seen.stopped.set, namespaces, seen.note, seen.is_known
            ).log_in()
        ).aiohttp_session

        async def get(path):
            async with session.get(f"{here.server}{path}") as answer:
                seen.read.append(b"".join([part async for part in answer.content.iter_chunked(2**20)]))
                return answer.status

        try:
            async with asyncio.timeout(PATIENCE):
                await test(get, seen)
        finally:
            await session.close()
            await runner.cleanup()

    return lambda test, namespaces=(): asyncio.run(in_a_session(test, namespaces))


def test_listings_and_watches_are_reported_each_for_what_it_is(run):
    async def test(get, seen):
        await get("/version")
        await get(PODS.path())
        assert seen.listings == 1
        for kind in WATCHED:
            assert seen.health.trouble() is not None
            await get(f"{kind.path()}?watch=true")
        assert (seen.listings, seen.health.trouble(), seen.stopped.is_set()) == (1, None, False)

    run(test)


def test_watches_of_each_chosen_namespace_are_reported(run, api):
    async def test(get, seen):
        for kind in WATCHED:
            await get(f"{kind.path('shop')}?watch=true")
        assert "in queue is not opened yet" in seen.health.trouble()
        for kind in WATCHED:
            await get(f"{kind.path('queue')}?watch=true")
        assert seen.health.trouble() is None

    run(test, namespaces=("shop", "queue"))


def test_kopf_is_stopped_before_it_learns_that_a_resource_does_not_exist(run, api):
    api.statuses[POOLS.path()] = 404

    async def test(get, seen):
        asking = asyncio.ensure_future(get(f"{POOLS.path()}?watch=true"))
        await seen.stopped.wait()
        answered, _ = await asyncio.wait([asking], timeout=0.2)
        assert not answered
        asking.cancel()
        await asyncio.wait([asking])
        assert seen.asked == [("watch", "workerpools", 404)]
        assert "HTTP status 404" in seen.health.trouble()

    run(test)


@pytest.mark.parametrize(
    ("path", "known", "status", "is_read"),
    [
        (f"{POOLS.path()}?watch=true", {(POOLS, 7)}, 200, False),
        (f"{POOLS.path()}?watch=true", {(POOLS, 8), (PODS, 7)}, 200, True),
        (POOLS.path(), {(POOLS, 7)}, 200, True),
        (f"{POOLS.path()}?watch=true", {(POOLS, 7)}, 503, True),
        (f"{POOLS.path('shop')}?watch=true", {(POOLS, 7)}, 200, True),
    ],
    ids=["known", "another version", "listing", "refusal", "not of kopf"],
)
def test_of_a_watch_kopf_reads_what_is_not_known(run, api, path, known, status, is_read):
    api.body = {"type": "MODIFIED", "object": {"metadata": {"resourceVersion": "7"}}}
    api.statuses[POOLS.path()] = status

    async def test(get, seen):
        seen.known |= known
        await get(path)
        assert seen.read == [_compact(api.body).encode() if is_read else b""]

    run(test)


def test_api_server_may_have_an_address_with_a_path(run, api):
    api.prefix = "/k8s/clusters/one"

    async def test(get, seen):
        await get(PODS.path())
        for kind in WATCHED:
            await get(f"{kind.path()}?watch=true")
        assert (seen.listings, seen.health.trouble()) == (1, None)

    run(test)


def test_request_that_is_broken_off_without_an_answer_is_a_failure(run, api):
    api.hangs = True

    async def test(get, seen):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await get(f"{POOLS.path()}?watch=true")
        assert seen.health.trouble() == "the watch of workerpools fails: no answer came in time"
        assert seen.asked == [("watch", "workerpools", 0)]

    run(test)


def test_kopf_waits_before_it_logs_in_again(monkeypatch):
    """It does so after each answer 401, without a pause of its own."""
    monkeypatch.setattr(kopf, "login_via_client", lambda **_: kopf.ConnectionInfo(server="http://127.0.0.1:1"))
    pauses = []

    async def sleep(seconds):
        pauses.append(seconds)

    async def log_in_twice():
        session = TracedSession(Seen(()).health, lambda: None, lambda: None, sleep=sleep)
        for _ in range(2):
            await (await session.log_in()).aiohttp_session.close()

    asyncio.run(log_in_twice())
    assert pauses[0] == 0
    assert 0 < pauses[1] <= 5


@pytest.mark.parametrize("status", [401, 403, 429, 500, 503])
def test_answer_after_which_kopf_tries_again_reaches_it(run, api, status):
    api.statuses[PODS.path()] = status

    async def test(get, seen):
        assert await get(f"{PODS.path()}?watch=true") == status
        assert (seen.listings, seen.stopped.is_set()) == (0, False)

    run(test)


def test_each_request_for_what_is_watched_is_counted(run, api):
    async def test(get, seen):
        await get("/version")
        await get(PODS.path())
        api.statuses[POOLS.path()] = 429
        await get(f"{POOLS.path()}?watch=true")
        assert seen.asked == [("list", "pods", 200), ("watch", "workerpools", 429)]

    run(test)
