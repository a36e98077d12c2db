"""An HTTP server for tests, which does with each request what the test says."""

import ssl
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

from tests.support.waiting import PATIENCE, wait_for


class Request(NamedTuple):
    """A request as it was received."""

    path: str
    headers: dict[str, str]
    """By their names in lower case."""
    body: bytes
    connection: int
    """The number of the connection, from 0."""


class Handler(BaseHTTPRequestHandler):
    """Handles the requests of one connection, which is kept. A test gets it to send an answer."""

    protocol_version = "HTTP/1.1"
    server: "Server"
    number = -1

    def setup(self) -> None:
        """Count the connection."""
        super().setup()
        with self.server.lock:
            self.number = self.server.connections
            self.server.connections += 1

    def do_POST(self) -> None:
        """Note the request, and have the test answer it."""
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        headers = {name.lower(): text for name, text in self.headers.items()}
        request = Request(self.path, headers, body, self.number)
        with self.server.lock:
            self.server.requests.append(request)
        self.server.respond(self, request)

    do_GET = do_POST  # noqa: N815 - the name by which the class above calls it

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        """Send an answer; in the names of headers, _ stands for -."""
        self.send_response(status)
        for name, text in ({"Content_Length": str(len(body))} | headers).items():
            self.send_header(name.replace("_", "-"), text)
        self.end_headers()
        self.wfile.write(body)

    def handle(self) -> None:
        """Handle requests until the connection breaks."""
        try:
            super().handle()
        except OSError:  # the worker has closed it
            self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name in the class above
        """Log nothing."""


Respond = Callable[[Handler, Request], None]


class Server(ThreadingHTTPServer):
    """An HTTP server in threads of the test's own process."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, respond: Respond, certificate: str | None = None) -> None:
        """Serve on a free port; with a file of certificate and key, over TLS."""
        super().__init__(("127.0.0.1", 0), Handler)
        self.respond = respond
        self.lock = threading.Lock()
        self.connections = 0
        self.requests: list[Request] = []
        self.scheme = "http"
        if certificate is not None:
            self.scheme = "https"
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self.socket = context.wrap_socket(self.socket, server_side=True)
        self._thread = threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """The URL of the server, without a slash at its end."""
        return f"{self.scheme}://127.0.0.1:{self.server_address[1]}"

    def wait_for_requests(self, count: int, seconds: float = PATIENCE) -> list[Request]:
        """Wait until so many requests have come, and return them; raises TimeoutError."""
        wait_for(lambda: len(self.requests) >= count, f"{count} requests", seconds)
        return self.requests

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a connection that broke, such as by a certificate that the worker refuses."""

    def close(self) -> None:
        """Stop serving."""
        self.shutdown()
        self.server_close()
        self._thread.join()
