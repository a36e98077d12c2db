"""The address of a beanstalkd, as people write it."""

import re
from typing import Final

DEFAULT_PORT: Final = 11300
DEFAULT_SERVER: Final = f"127.0.0.1:{DEFAULT_PORT}"
_SERVER: Final = re.compile(r"(?:\[(?P<v6>[0-9a-fA-F:.]+)\]|(?P<host>[A-Za-z0-9._-]+))(?::(?P<port>[0-9]{1,5}))?")


def parse_server(server: str) -> tuple[str, int]:
    """Return host and port of `host`, `host:port` or `[v6]:port`. Raises ValueError for anything else."""
    match = _SERVER.fullmatch(server)
    port = int(match["port"] or DEFAULT_PORT) if match else 0
    if not match or not 0 < port < 65536:
        raise ValueError(f"{server[:80]!r} is no server: write it like beanstalkd:11300 or [::1]:11300")
    return match["v6"] or match["host"], port
