"""The session through which kopf reaches the API server. It reports how watches and listings are answered.

kopf tries again for ever if a request fails, and keeps that to itself. If it is told that a resource does not exist, it
fails, and then neither works nor ends. So its requests are traced here, and such an answer never reaches it.
"""

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, Final

import aiohttp
import kopf

from tubeherd.logs import log
from tubeherd_operator.cluster.kinds import WATCHED, Kind
from tubeherd_operator.health import Health

_BY_PATH: Final = {kind.path(): kind for kind in WATCHED}
_TRIED_AGAIN: Final = (401, 403, 429)
"""The answers with a status from 400 to 499 after which kopf tries again."""


class TracedSession:
    """Makes sessions for kopf and traces their requests."""

    def __init__(self, health: Health, listed: Callable[[], None], stop: Callable[[], object]) -> None:
        """`listed` is called when kopf has listed objects; `stop` is called when kopf cannot go on."""
        self._health = health
        self._listed = listed
        self._stop = stop

    async def log_in(self, **arguments: Any) -> kopf.AiohttpSession:
        """Return a session that asks for each kind in the form that is wanted; `arguments` are those of kopf."""
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
            middlewares=[_in_the_form_wanted],
        )
        return kopf.AiohttpSession(server=login.server, aiohttp_session=session)

    async def _answered(
        self, _: aiohttp.ClientSession, __: SimpleNamespace, seen: aiohttp.TraceRequestEndParams
    ) -> None:
        kind, status = _BY_PATH.get(seen.url.path), seen.response.status
        if kind is None:
            return
        if status != 200:
            await self._refused(kind, status)
        elif "watch" in seen.url.query:
            self._health.opened(kind.plural)
        else:
            self._listed()

    async def _refused(self, kind: Kind, status: int) -> None:
        self._note_failure(kind, f"is answered with HTTP status {status}")
        if 400 <= status <= 499 and status not in _TRIED_AGAIN:
            self._stop()
            await asyncio.Event().wait()  # kopf is stopped here, and cancels its request

    async def _broken(
        self, _: aiohttp.ClientSession, __: SimpleNamespace, seen: aiohttp.TraceRequestExceptionParams
    ) -> None:
        if kind := _BY_PATH.get(seen.url.path):
            self._note_failure(kind, f"fails: {str(seen.exception) or type(seen.exception).__name__}")

    def _note_failure(self, kind: Kind, why: str) -> None:
        if self._health.failed(kind.plural, why):
            log.warning(f"the watch of {kind.plural} {why}; it is tried again until it works")


async def _in_the_form_wanted(
    request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    if kind := _BY_PATH.get(request.url.path):
        request.headers["Accept"] = kind.accept(listing="watch" not in request.url.query)
    return await send(request)
