"""Does a tube's jobs by HTTP: each job is sent by POST to a URL, and the answer is its verdict.

The job is done when an answer of 2xx has come to its end. So a server may send its answer while it works. Redirects are
not followed, because the user has named the URL, and a job may hold secrets. Connections are kept from job to job.
"""

import asyncio
import math
import os
import ssl
import time
from base64 import b64encode
from email.utils import parsedate_to_datetime
from typing import Any, Final, NamedTuple
from urllib.parse import unquote, urlsplit

import httpcore

from tubeherd.builtin.errors import HttpFailed, HttpUnanswered
from tubeherd.builtin.facts import headers, text_of_bytes
from tubeherd.executors import ExecutorError, Reschedule
from tubeherd.formats.text import shortened
from tubeherd.job import Job, current_job
from tubeherd.job_options import unix_time

AGAIN: Final = (409, 429, 503)
"""The answers after which a job is sent again later, without having failed."""
AGAIN_MOST: Final = 3600
"""The longest time for which a server can put a job off, in seconds."""
OLDEST: Final = 86400
"""From this age on, in seconds, a job has failed by such an answer: it would be put off for ever."""
OUTPUT_MAX: Final = 4096
"""So much of an answer is kept, in bytes."""
_QUOTED_MAX: Final = 400
_PLACE_MAX: Final = 200
_CONNECT_SECONDS: Final = 10.0
_REASON_SECONDS: Final = 2.0
"""How long to wait for the body of an answer that is no success, in seconds: its status says enough."""
_KEEP_SECONDS: Final = 30.0
"""How long a connection without a job is kept, in seconds."""
_STALE_SECONDS: Final = 1.0
"""If a kept connection breaks later than this, in seconds, the server may have begun the job: it had not closed it."""
_BROKEN: Final = (httpcore.NetworkError, httpcore.ProtocolError, httpcore.TimeoutException, ssl.SSLError, OSError)


class Answer(NamedTuple):
    """The answer of a server."""

    status: int
    headers: list[tuple[bytes, bytes]]
    text: str
    """The beginning of its body; empty if it is a success."""

    def header(self, name: bytes) -> str:
        """Return a header, whose name is given in lower case; empty if there is none."""
        return next((value.decode("latin-1") for key, value in self.headers if key.lower() == name), "")


class Client:
    """Sends the jobs of one slot. All their URLs share it."""

    def __init__(self, ca_file: str | None) -> None:
        """Take a file with certificates to trust beside the system's; raises ExecutorError if it cannot be read."""
        self._context = _context(ca_file)
        self._pool: httpcore.AsyncConnectionPool | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def post(self, url: str, sent: dict[str, str], body: bytes) -> Answer:
        """Send a request and return the answer; raises an exception of httpcore, SSLError or OSError.

        If a kept connection turns out to have been closed, the request is sent again at once. It is not if the
        connection breaks later, because the server may still do the job then.
        """
        pool = self._pool_of_loop()
        while True:
            progress, began = _Progress(), time.monotonic()
            extensions = {"timeout": {"connect": _CONNECT_SECONDS}, "trace": progress.note}
            try:
                async with pool.stream(
                    "POST", url, headers=list(sent.items()), content=body, extensions=extensions
                ) as response:
                    return await _read(response)
            except (httpcore.NetworkError, httpcore.RemoteProtocolError):
                if progress.connected or progress.answered or time.monotonic() >= began + _STALE_SECONDS:
                    raise

    def _pool_of_loop(self) -> httpcore.AsyncConnectionPool:
        """Return the connections of the running event loop: a slot has another loop if code of a job closed the one."""
        loop = asyncio.get_running_loop()
        if self._pool is None or self._loop is not loop:
            self._loop = loop
            self._pool = httpcore.AsyncConnectionPool(
                ssl_context=self._context,
                max_connections=None,
                max_keepalive_connections=None,
                keepalive_expiry=_KEEP_SECONDS,
                network_backend=_Network(),
            )
        return self._pool


class Endpoint:
    """The URL that does the jobs of one tube."""

    def __init__(self, url: str, client: Client, reschedule_delay: float) -> None:
        parts = urlsplit(url)
        host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
        origin = f"{parts.scheme}://{host}" + (f":{parts.port}" if parts.port else "")
        self._url = f"{origin}{parts.path or '/'}" + (f"?{parts.query}" if parts.query else "")
        self._sent = {
            "Content-Type": "application/json",
            "Accept": "*/*",
            "Accept-Encoding": "identity",
            "User-Agent": "tubeherd",
        }
        if parts.username is not None:
            login = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            self._sent["Authorization"] = f"Basic {b64encode(login.encode()).decode()}"
        self._client = client
        self._delay = reschedule_delay
        self.place = shortened(origin + parts.path, _PLACE_MAX)
        """The URL without what may be secret: user, password and query."""

    async def run(self, body: bytes, job: Job) -> None:
        """Do one job; raises HttpFailed, HttpUnanswered or Reschedule."""
        try:
            answer = await self._client.post(self._url, self._sent | headers(job), body)
        except _BROKEN as error:
            raise HttpUnanswered(_why(error), self.place) from None
        self._check(answer, job.age)

    def _check(self, answer: Answer, age: int) -> None:
        """Raise what an answer means, unless the job is done. `age` is that of the job, in seconds."""
        status = answer.status
        if 200 <= status < 300:
            return
        words = f"answered {status}"
        if status in AGAIN and age < OLDEST:
            delay = retry_after(answer.header(b"retry-after"), time.time(), self._delay)
            raise Reschedule(delay, message=_with_text(words, answer.text))
        if status in AGAIN:
            words = f"{words}, and the job is older than {OLDEST // 3600} hours"
        elif target := answer.header(b"location") if 300 <= status < 400 else "":
            words = f"{words}, a redirect to {_without_secrets(target)}: name the right URL, none is followed"
        raise HttpFailed(status, _with_text(words, answer.text), self.place, answer.text)


def retry_after(value: str, now: float, default: float) -> float:
    """Return in how many seconds a header Retry-After wants a job again: from 1 to AGAIN_MOST.

    `value` is a number of seconds, or a date, which is counted from `now`, a Unix time. Otherwise return `default`.
    """
    value = value.strip()
    if value.isascii() and value.isdigit():
        seconds = float(value) if len(value) < 12 else math.inf
    else:
        try:
            seconds = unix_time(parsedate_to_datetime(value)) - now
        except (ValueError, TypeError, IndexError, OverflowError):
            return default
    return min(max(1.0, seconds), AGAIN_MOST)


class _Progress:
    """How far a request has come."""

    def __init__(self) -> None:
        self.connected = False
        """Whether a connection was opened for it."""
        self.answered = False
        """Whether its answer has begun."""

    async def note(self, event: str, _info: dict[str, Any]) -> None:
        """Note an event that httpcore publishes."""
        if event.startswith("connection.connect"):
            self.connected = True
        elif event == "http11.receive_response_headers.complete":
            self.answered = True


class _Network(httpcore.AnyIOBackend):
    """Opens connections for no job: to look a name up takes a thread, which nothing can end at a job's deadline.

    That a look-up goes on beside the next attempt does no harm.
    """

    async def connect_tcp(self, *args: Any, **options: Any) -> httpcore.AsyncNetworkStream:
        token = current_job.set(None)
        try:
            return await super().connect_tcp(*args, **options)
        finally:
            current_job.reset(token)


async def _read(response: httpcore.Response) -> Answer:
    """Read an answer: a success to its end, of any other the beginning of its body."""
    if 200 <= response.status < 300:
        async for _ in response.aiter_stream():
            pass
        return Answer(response.status, response.headers, "")
    body = bytearray()
    try:
        async with asyncio.timeout(_REASON_SECONDS):
            async for part in response.aiter_stream():
                body += part
                if len(body) >= OUTPUT_MAX:
                    break
    except (*_BROKEN, TimeoutError):
        pass
    return Answer(response.status, response.headers, text_of_bytes(bytes(body[:OUTPUT_MAX])))


def _context(ca_file: str | None) -> ssl.SSLContext:
    context = ssl.create_default_context()
    system = ssl.get_default_verify_paths()
    if system.cafile is None and system.capath is None:  # an image without certificates of its own
        import certifi

        context.load_verify_locations(certifi.where())
    if ca_file is not None:
        try:
            context.load_verify_locations(ca_file)
        except (OSError, ssl.SSLError) as error:
            raise ExecutorError(
                f"the certificates of --http-ca cannot be read from {shortened(ca_file, _PLACE_MAX)}: "
                f"{os.strerror(error.errno) if error.errno and not isinstance(error, ssl.SSLError) else error}"
            ) from error
    return context


def _why(error: BaseException) -> str:
    """Return why there is no whole answer: what the innermost cause says, without a part of the request."""
    inner = _first_cause(error)
    if isinstance(error, httpcore.ConnectTimeout):
        return f"no connection within {_CONNECT_SECONDS:g} s"
    what = "no connection" if isinstance(error, httpcore.ConnectError) else "no whole answer"
    if isinstance(inner, ssl.SSLCertVerificationError):
        return f"{what}: its certificate is not trusted: {inner.verify_message}"
    if isinstance(inner, OSError) and inner.errno and inner.errno > 0 and not isinstance(inner, ssl.SSLError):
        return f"{what}: {os.strerror(inner.errno)}"
    words = getattr(inner, "strerror", None) or str(inner) or type(inner).__name__
    return f"{what}: {words[:_QUOTED_MAX]}"


def _first_cause(error: BaseException) -> BaseException:
    """Return what an exception came of in the end; of several addresses of a host, what happened at the first."""
    seen: set[int] = set()
    while id(error) not in seen:
        seen.add(id(error))
        error = error.__cause__ or error.__context__ or error
        if isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
    return error


def _with_text(words: str, text: str) -> str:
    return f"{words}: {' '.join(text[:_QUOTED_MAX].split())}" if text else words


def _without_secrets(url: str) -> str:
    """Return a URL, which a server has written, without user, password, query and fragment."""
    scheme, slashes, rest = url.partition("?")[0].partition("#")[0].rpartition("//")
    host, slash, path = rest.partition("/")
    return shortened(f"{scheme}{slashes}{host.rpartition('@')[2]}{slash}{path}", _PLACE_MAX)
