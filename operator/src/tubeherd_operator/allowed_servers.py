"""Which servers of beanstalkd the pools of an installation may name.

The operator connects to the server of every pool. Whoever may create a pool could otherwise have it connect to any
address that it can reach.
"""

from collections.abc import Sequence

from tubeherd.queue.server import parse_server

_ANY_HOST = "*."


def check_allowed(server: str) -> str:
    """Return an entry of the list: `host:port`, or `*.domain:port` for each host of a domain. Raises ValueError."""
    parse_server(server.removeprefix(_ANY_HOST))
    return server


def is_allowed(server: str, allowed: Sequence[str] | None) -> bool:
    """Return whether a server, a valid one, is among those that are allowed; None allows all."""
    return allowed is None or any(_fits(server, entry) for entry in allowed)


def _fits(server: str, entry: str) -> bool:
    host, port = _parts(server)
    if not entry.startswith(_ANY_HOST):
        return (host, port) == _parts(entry)
    domain, entry_port = _parts(entry.removeprefix(_ANY_HOST))
    return host.endswith(f".{domain}") and port == entry_port


def _parts(server: str) -> tuple[str, int]:
    host, port = parse_server(server)
    return host.lower().rstrip("."), port
