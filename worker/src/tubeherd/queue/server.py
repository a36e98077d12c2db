"""The address of a beanstalkd, as people write it."""

from dataclasses import replace
from typing import Final

from tubeherd.formats.addresses import ADDRESS, parse_address

DEFAULT_PORT: Final = 11300
DEFAULT_SERVER: Final = f"127.0.0.1:{DEFAULT_PORT}"
SERVER: Final = replace(ADDRESS, name="server", examples="beanstalkd:11300 or [::1]:11300")


def parse_server(server: str) -> tuple[str, int]:
    """Return host and port of `host`, `host:port` or `[v6]:port`. Raises ValueError for anything else."""
    try:
        return parse_address(server, DEFAULT_PORT)
    except ValueError:
        raise ValueError(f"{server[:80]!r} is no server: write it like {SERVER.examples}") from None
