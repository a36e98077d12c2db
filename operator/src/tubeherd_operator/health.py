"""Whether the operator works, as its probes ask: it is blind without its watches and its first listing.

/metrics is answered here too.
"""

import socket
import sys
import threading
import time
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

from tubeherd.descriptors import NO_ROOM
from tubeherd.formats.addresses import parse_listener
from tubeherd.logs import log

STUCK_SECONDS: Final = 400.0
"""A watch is opened again at least every five minutes. If none was tried for longer, the process hangs."""
TROUBLE_SECONDS: Final = 10.0
"""How long a watch may fail before the operator is not ready, so that a restart of the API server does not show."""
_METRICS_SECONDS: Final = 1.0
"""For so long whoever asks for the metrics gets the same: those of a thousand pools take up to half of this."""
_PEER_SECONDS: Final = 5.0
"""How long a peer may take for the next part of its request, and to read the answer."""
_PEERS_MOST: Final = 64
"""The most connections at a time, each of which has a thread. If one more is opened, the oldest is closed."""
_PAUSE_SECONDS: Final = 0.5
"""How long to wait if a connection cannot be accepted at present."""
_GZIP_BITS: Final = 31
"""What has zlib write the format of gzip, with the largest window."""
_METRICS_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(slots=True)
class _Watch:
    """What is known of a watch; times are those of the monotonic clock."""

    tried_at: float
    failing_since: float | None
    why: str


class Health:
    """Knows how the watches fare; safe to use from several threads."""

    def __init__(self, watched: Collection[str], clock: Callable[[], float] = time.monotonic) -> None:
        """`watched` are the names of the kinds of objects that are watched."""
        self._clock = clock
        now = clock()
        self._watches = {name: _Watch(now, now - TROUBLE_SECONDS, "is not opened yet") for name in watched}
        self._unlisted: str | None = "has not ended yet"
        self._lock = threading.Lock()

    def listed(self) -> None:
        """Take note that everything that there is was listed. From then on the watches alone count."""
        self._unlisted = None

    def listing_failed(self, why: str) -> None:
        """Take note why the first listing failed, if none has succeeded yet.

        `why` follows "the first listing of all objects".
        """
        self._unlisted = self._unlisted and why

    def opened(self, name: str) -> None:
        """Take note that a watch was opened."""
        with self._lock:
            self._watches[name] = _Watch(self._clock(), None, "")

    def failed(self, name: str, why: str) -> bool:
        """Take note that a watch could not be opened, and return whether it worked before; `why` follows its name."""
        with self._lock:
            now, before = self._clock(), self._watches[name].failing_since
            self._watches[name] = _Watch(now, now if before is None else before, why)
        return before is None

    def trouble(self) -> str | None:
        """Return which watch has failed for a while and why, or what the first listing lacks; None if all is well."""
        now = self._clock()
        with self._lock:
            for name, watch in self._watches.items():
                if watch.failing_since is not None and now - watch.failing_since >= TROUBLE_SECONDS:
                    return f"the watch of {name} {watch.why}"
        return f"the first listing of all objects {self._unlisted}" if self._unlisted else None

    def states(self) -> dict[str, bool]:
        """Return of each watch, by its name, whether it is open."""
        with self._lock:
            return {name: watch.failing_since is None for name, watch in self._watches.items()}

    def hang(self) -> str | None:
        """Return which watch was not tried for too long, so that a restart must help; None if there is none."""
        now = self._clock()
        with self._lock:
            for name, watch in self._watches.items():
                if now - watch.tried_at > STUCK_SECONDS:
                    return f"the watch of {name} was not opened again for {now - watch.tried_at:.0f} s"
        return None


def serve(address: str, health: Health, metrics: Callable[[], Iterable[bytes]]) -> ThreadingHTTPServer:
    """Answer on `host:port` in a thread: /healthz and /readyz with 503 and the trouble if there is any, and /metrics.

    `metrics` returns the parts of its text. Raises OSError if the address cannot be listened on.
    """
    checks = {"/healthz": health.hang, "/readyz": health.trouble}
    shown = _Shown(metrics)

    class Handler(BaseHTTPRequestHandler):
        timeout = _PEER_SECONDS

        def do_GET(self) -> None:
            if self.path == "/metrics":
                self._show_metrics()
                return
            check = checks.get(self.path)
            trouble = check() if check else "only /healthz, /readyz and /metrics are answered"
            self._say(404 if check is None else 503 if trouble else 200, trouble or "ok")

        def _show_metrics(self) -> None:
            zips = "gzip" in self.headers.get("Accept-Encoding", "")
            try:
                text = shown.text(zips=zips)
            except Exception as error:  # whatever it is, the operator goes on
                log.error(f"/metrics cannot be shown: {error!r}")
                self._say(500, "the metrics cannot be read; see the operator's log")
            else:
                self._send(200, _METRICS_TYPE, text, zipped=zips)

        def _say(self, status: int, words: str) -> None:
            self._send(status, "text/plain; charset=utf-8", f"{words}\n".encode())

        def _send(self, status: int, kind: str, body: bytes, *, zipped: bool = False) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            if zipped:
                self.send_header("Content-Encoding", "gzip")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Log no line for each probe."""

    server = _Server(parse_listener(address), Handler)
    threading.Thread(target=server.serve_forever, name="health", daemon=True).start()
    return server


class _Server(ThreadingHTTPServer):
    """A server that neither many peers nor slow ones can have take more than a bounded number of threads."""

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        self._peers: dict[socket.socket, None] = {}
        """The open connections, the oldest first."""
        self._lock = threading.Lock()
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        super().__init__(address, handler)

    def get_request(self) -> Any:
        """Accept a connection; raises OSError, but at once only if the connection is gone.

        Otherwise there is no room for it, and it goes on waiting: the server would try again without an end.
        """
        try:
            return super().get_request()
        except OSError as error:
            if error.errno in NO_ROOM:
                time.sleep(_PAUSE_SECONDS)
            raise

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._lock:
            if len(self._peers) >= _PEERS_MOST:
                oldest = next(iter(self._peers))
                del self._peers[oldest]
                with suppress(OSError):
                    oldest.shutdown(socket.SHUT_RDWR)  # its thread then ends, and closes it
            self._peers[request] = None
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._lock:
            self._peers.pop(request, None)
        super().shutdown_request(request)

    def handle_error(self, *_: object) -> None:
        """Log what went wrong, unless it is that the peer has gone."""
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            log.error(f"a request could not be answered: {error!r}")


class _Shown:
    """The metrics as they were last shown, so that many who ask cost no more than one; safe to use from threads."""

    def __init__(self, metrics: Callable[[], Iterable[bytes]]) -> None:
        self._metrics = metrics
        self._kept: dict[bool, tuple[float, bytes]] = {}
        """By whether it is zipped: when the text was made, on the monotonic clock, and the text."""
        self._lock = threading.Lock()

    def text(self, *, zips: bool) -> bytes:
        """Return the whole text, so that who reads slowly keeps nobody waiting, and half is never taken for all."""
        with self._lock:
            made, text = self._kept.get(zips, (float("-inf"), b""))
            if time.monotonic() - made >= _METRICS_SECONDS:
                text = b"".join(_zipped(self._metrics()) if zips else self._metrics())
                self._kept[zips] = (time.monotonic(), text)
        return text


def _zipped(parts: Iterable[bytes]) -> Iterator[bytes]:
    """Yield these parts in the format of gzip: of the metrics of a thousand pools a twentieth is left."""
    packer = zlib.compressobj(level=1, wbits=_GZIP_BITS)
    for part in parts:
        yield packer.compress(part)
    yield packer.flush()
