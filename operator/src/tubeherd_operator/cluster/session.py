"""The session through which kopf reaches the API server. It reports how watches and listings are answered.

kopf tries again for ever if a request fails, and keeps that to itself. If it is told that a resource does not exist, it
fails, and then neither works nor ends. So its requests are traced here, and such an answer never reaches it. Nor do
those lines of a watch that say what is known already.
"""

import asyncio
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from types import SimpleNamespace
from typing import Any, Final, NamedTuple

import aiohttp
import kopf
from yarl import URL

from tubeherd.logs import log
from tubeherd_operator.cluster.kinds import WATCHED, Kind, watch_name
from tubeherd_operator.cluster.known_lines import KnownLeftOut
from tubeherd_operator.health import Health

_LOGIN_SECONDS: Final = 5.0
"""The least time from one login to the next: after each answer 401 kopf logs in and tries again without a pause."""
_TRIED_AGAIN: Final = (401, 403, 429)
"""The answers with a status from 400 to 499 after which kopf tries again."""


class Session(NamedTuple):
    """How the API server is reached at present."""

    server: str
    """Its address, such as https://10.0.0.1."""
    http: aiohttp.ClientSession


class _Watch(NamedTuple):
    kind: Kind
    name: str


class TracedSession:
    """Makes sessions for kopf and traces their requests."""

    def __init__(
        self,
        health: Health,
        listed: Callable[[], None],
        stop: Callable[[], object],
        namespaces: Sequence[str] = (),
        asked: Callable[[str, str, int], None] = lambda *_: None,
        is_known: Callable[[Kind, int], bool] = lambda *_: False,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        """`listed` is called when kopf has listed objects; `stop` is called when kopf cannot go on.

        `namespaces` are those in which kopf watches; if there are none, it watches in all. `asked` is called after each
        request with its verb, what it was about, and the status of HTTP, which is 0 if there was no answer. `is_known`
        returns whether nobody needs to be told of this version of an object of a kind.
        """
        self._health = health
        self._listed = listed
        self._stop = stop
        self._asked = asked
        self._is_known = is_known
        self._sleep = sleep
        self._next_login_at = -math.inf
        """On the clock of the event loop."""
        self._ends = False
        """Whether kopf was stopped, which cancels its requests."""
        self._prefix = ""
        """The path of the API server's address, with which the paths of all requests begin."""
        self.present: Session | None = None
        """The session that was made last."""
        self._by_path = {
            kind.path(namespace): _Watch(kind, watch_name(kind, namespace))
            for kind in WATCHED
            for namespace in namespaces or ("",)
        }

    async def log_in(self, **arguments: Any) -> kopf.AiohttpSession:
        """Return a session; `arguments` are those of kopf, which asks for another if its token is valid no more."""
        clock = asyncio.get_running_loop().time
        await self._sleep(max(0.0, self._next_login_at - clock()))
        self._next_login_at = clock() + _LOGIN_SECONDS
        login = kopf.login_via_client(**arguments)
        if login is None:
            raise kopf.LoginError("the package kubernetes is not installed")
        trace = aiohttp.TraceConfig()
        trace.on_request_end.append(self._answered)
        trace.on_request_exception.append(self._broken)
        session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ssl=login.as_ssl_context()),
            headers=login.as_http_headers(),
            trust_env=login.trust_env,
            trace_configs=[trace],
            middlewares=[self._leave_known_out],
        )
        self.present = Session(login.server, session)
        self._prefix = URL(login.server).path.rstrip("/")
        return kopf.AiohttpSession(server=login.server, aiohttp_session=session)

    async def _answered(
        self, _: aiohttp.ClientSession, __: SimpleNamespace, seen: aiohttp.TraceRequestEndParams
    ) -> None:
        watch, status = self._watch_of(seen.url), seen.response.status
        if watch is None:
            return
        self._asked(_verb(seen.url.query), watch.kind.plural, status)
        if status != 200:
            await self._refused(watch, status)
        elif "watch" in seen.url.query:
            self._health.opened(watch.name)
        else:
            self._listed()

    async def _leave_known_out(
        self, request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        answer = await send(request)
        watch = self._watch_of(request.url)
        if watch and "watch" in request.url.query and answer.status == 200:
            # Not a StreamReader, but kopf only iterates over its parts.
            answer.content = KnownLeftOut(answer.content, partial(self._is_known, watch.kind))  # type: ignore[assignment]
        return answer

    async def _refused(self, watch: _Watch, status: int) -> None:
        self._note_failure(watch, f"is answered with HTTP status {status}")
        if 400 <= status <= 499 and status not in _TRIED_AGAIN:
            self._ends = True
            self._stop()
            await asyncio.Event().wait()  # kopf is stopped here, and cancels its request

    async def _broken(
        self, _: aiohttp.ClientSession, __: SimpleNamespace, seen: aiohttp.TraceRequestExceptionParams
    ) -> None:
        watch, is_cancelled = self._watch_of(seen.url), isinstance(seen.exception, asyncio.CancelledError)
        if watch is None or (is_cancelled and self._ends):
            return
        self._asked(_verb(seen.url.query), watch.kind.plural, 0)
        why = "no answer came in time" if is_cancelled else str(seen.exception) or type(seen.exception).__name__
        self._note_failure(watch, f"fails: {why}")

    def _watch_of(self, url: URL) -> _Watch | None:
        return self._by_path.get(url.path.removeprefix(self._prefix))

    def _note_failure(self, watch: _Watch, why: str) -> None:
        if self._health.failed(watch.name, why):
            log.warning(f"the watch of {watch.name} {why}; it is tried again until it works")


def _verb(query: Mapping[str, str]) -> str:
    return "watch" if "watch" in query else "list"
