"""The address of a beanstalkd, as people write it."""

from collections.abc import Mapping
from typing import Final

from tubeherd.formats.addresses import ADDRESS_LENGTH, ADDRESS_PATTERN, split_address
from tubeherd.formats.text import TextFormat

DEFAULT_PORT: Final = 11300
DEFAULT_SERVER: Final = f"127.0.0.1:{DEFAULT_PORT}"
SERVER: Final = TextFormat(
    name="server",
    pattern=ADDRESS_PATTERN,
    max_length=ADDRESS_LENGTH,
    examples="beanstalkd:11300 or [::1]:11300",
)
PORT_WHY: Final = "the port is from 1 to 65535"
SERVER_VARIABLE: Final = "TUBEHERD_SERVER"
SERVER_MEANING: Final = "host:port of beanstalkd."


def parse_server(server: str) -> tuple[str, int]:
    """Return host and port of `host`, `host:port` or `[v6]:port`. Raises ValueError for anything else."""
    found = split_address(server, DEFAULT_PORT)
    if not found:
        advice = PORT_WHY if SERVER.matches(server) else f"write it like {SERVER.examples}"
        raise ValueError(f"{server[:80]!r} is no server: {advice}")
    return found


def whole_address(server: str) -> str:
    """Return host:port, which is the same for all ways to write an address. Raises ValueError if it is none."""
    host, port = parse_server(server)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def server_or_default(server: str | None, environ: Mapping[str, str]) -> str:
    """Return the server that was given; if that is None, the variable's; if that is not set or empty, the default.

    Raises ValueError if it is no address; the message names the variable if the address is from there.
    """
    address = (environ.get(SERVER_VARIABLE) or DEFAULT_SERVER) if server is None else server
    try:
        parse_server(address)
    except ValueError as error:
        raise ValueError(f"{SERVER_VARIABLE}: {error}" if server is None else str(error)) from None
    return address
