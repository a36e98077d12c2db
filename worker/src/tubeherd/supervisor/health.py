"""Answers HTTP requests for /healthz, /readyz and /metrics from the supervisor's own loop.

A peer is a client that is connected. The servers of the standard library wait for each peer or start a thread for it.
The supervisor has one thread and must not wait, so the server is written here.
"""

import os
import selectors
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from tubeherd.descriptors import NO_ROOM, moved_socket
from tubeherd.formats.addresses import parse_listener
from tubeherd.logs import ErrorDetail, log
from tubeherd.processing.reasons import describe, source_line

_REQUEST_MAX: Final = 4096
"""The most bytes of a request that are read; the requests of probes are shorter."""
_PEER_SECONDS: Final = 5.0
"""How long a peer may take to send its request and to read the answer, in seconds."""
_PEERS_MAX: Final = 64
"""The most connections at a time. If one more is opened, the oldest is closed."""
_PAUSE_SECONDS: Final = 1.0
"""How long to wait if a connection cannot be accepted at present; it goes on waiting for that."""
_METRICS_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"


class CannotListen(OSError):
    """The worker cannot listen on the address of --health."""


class HealthServer:
    """A small HTTP server without a loop of its own: the supervisor waits on `selector`, and calls what is ready."""

    def __init__(
        self,
        address: str,
        selector: selectors.BaseSelector,
        ready: Callable[[], bool],
        metrics: Callable[[], bytes],
        error_detail: ErrorDetail = "full",
    ) -> None:
        """Listen on `host:port`, or on a port of every IPv4 address; raises CannotListen.

        `ready` returns whether /readyz answers 200. `metrics` returns the text of /metrics; if it raises, the answer is
        500. `error_detail` says what is logged of that.
        """
        self._selector = selector
        self._ready = ready
        self._metrics = metrics
        self._detail: ErrorDetail = error_detail
        self._metrics_read: tuple[str, str, bytes] | None = None
        """The answer to whoever has asked for /metrics in this pass of the loop, after the first one."""
        self._peers: dict[socket.socket, tuple[bytes, float]] = {}
        """By connection: the bytes received or still to be sent, and when to close it, on the monotonic clock."""
        self._accepts_at: float | None = None
        """When to accept connections again, on the monotonic clock; None if that is done at present."""
        host, port = parse_listener(address)
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            self._listener = moved_socket(socket.create_server((host, port), family=family))
        except OSError as error:
            raise CannotListen(
                f"cannot listen on {address}: {os.strerror(error.errno) if error.errno else error}"
            ) from error
        self._listener.setblocking(False)
        selector.register(self._listener, selectors.EVENT_READ, self._accept)

    def finish_pass(self) -> None:
        """Close the connections whose peers took longer than _PEER_SECONDS; to be called in each pass of the loop."""
        self._metrics_read = None
        now = time.monotonic()
        if self._accepts_at is not None and now >= self._accepts_at:
            self._accepts_at = None
            self._selector.modify(self._listener, selectors.EVENT_READ, self._accept)
        for peer in [peer for peer, (_, deadline) in self._peers.items() if now > deadline]:
            self._drop(peer)

    def _accept(self) -> None:
        try:
            peer = moved_socket(self._listener.accept()[0])
        except OSError as error:
            if error.errno in NO_ROOM:
                self._pause(os.strerror(error.errno))
            return
        if len(self._peers) >= _PEERS_MAX:
            self._drop(next(iter(self._peers)))  # the oldest, so that idle peers cannot block the probes
        peer.setblocking(False)
        self._peers[peer] = (b"", time.monotonic() + _PEER_SECONDS)
        self._selector.register(peer, selectors.EVENT_READ, lambda: self._read(peer))

    def _pause(self, why: str) -> None:
        """Accept nothing for a while: the selector would return at once for the connection that waits."""
        log.warning(f"a request for /healthz, /readyz or /metrics has to wait: {why}")
        self._accepts_at = time.monotonic() + _PAUSE_SECONDS
        self._selector.modify(self._listener, selectors.EVENT_WRITE, self._accept)  # a listener is never ready for it

    def _read(self, peer: socket.socket) -> None:
        if peer not in self._peers:  # closed after the selector returned it
            return
        request, deadline = self._peers[peer]
        try:
            data = peer.recv(_REQUEST_MAX)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        request += data
        if data and b"\r\n\r\n" not in request and len(request) < _REQUEST_MAX:
            self._peers[peer] = (request, deadline)
            return
        self._peers[peer] = (self._answer(request), deadline)
        self._selector.modify(peer, selectors.EVENT_WRITE, lambda: self._write(peer))

    def _write(self, peer: socket.socket) -> None:
        if peer not in self._peers:
            return
        answer, deadline = self._peers[peer]
        sent = len(answer)
        with suppress(OSError):
            sent = peer.send(answer)
        if rest := answer[sent:]:
            self._peers[peer] = (rest, deadline)
        else:
            self._drop(peer)

    def _answer(self, request: bytes) -> bytes:
        kind, text = "text/plain", b"ok\n"
        match request.split(b" ", 2)[:2]:
            case [b"GET", b"/healthz"]:
                status = "200 OK"
            case [b"GET", b"/readyz"] if self._ready():
                status = "200 OK"
            case [b"GET", b"/readyz"]:
                status, text = "503 Service Unavailable", b"no slot is connected to beanstalkd\n"
            case [b"GET", b"/metrics"]:
                # Read once for all who ask in the same pass: many scrapers must not keep the loop from its slots.
                self._metrics_read = self._metrics_read or self._read_metrics()
                status, kind, text = self._metrics_read
            case _:
                status, text = "404 Not Found", b"this server has /healthz, /readyz and /metrics\n"
        head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(text)}\r\nConnection: close\r\n\r\n"
        return head.encode() + text

    def _read_metrics(self) -> tuple[str, str, bytes]:
        try:
            return "200 OK", _METRICS_TYPE, self._metrics()
        except Exception as error:  # metrics that executors define can raise anything
            log.warning(f"/metrics cannot be shown: {describe(error, self._detail)}", at=source_line(error))
            return "500 Internal Server Error", "text/plain", b"the metrics cannot be read; see the worker's log\n"

    def _drop(self, peer: socket.socket) -> None:
        self._peers.pop(peer, None)
        with suppress(KeyError):
            self._selector.unregister(peer)
        peer.close()
