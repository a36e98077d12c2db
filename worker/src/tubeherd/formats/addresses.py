"""Addresses as people write them: `host`, `host:port` or `[v6]:port`; and where to listen, `port` or `host:port`."""

import re
from typing import Final

from tubeherd.formats.text import TextFormat

ADDRESS_PATTERN: Final = r"^(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+)(:[0-9]{1,5})?$"
ADDRESS_LENGTH: Final = 260
LISTENER: Final = TextFormat(
    name="address",
    pattern=r"^:?[0-9]{1,5}$|^(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+):[0-9]{1,5}$",
    max_length=ADDRESS_LENGTH,
    examples="8080, 0.0.0.0:8080 or [::]:8080",
)
_EVERY_ADDRESS: Final = "0.0.0.0"  # noqa: S104 - a user who names only a port asks for this


def parse_listener(text: str) -> tuple[str, int]:
    """Return host and port of where to listen; a port alone means every IPv4 address of this machine.

    Raises ValueError if the text is neither a port nor an address with a port.
    """
    found = split_address(f"{_EVERY_ADDRESS}:{text.removeprefix(':')}") if re.fullmatch(r":?[0-9]+", text) else None
    found = found or split_address(text)
    if not found:
        raise ValueError(
            f"{text[:80]!r} is neither a port nor an address with a port: write it like {LISTENER.examples}"
        )
    return found


def split_address(text: str, default_port: int = 0) -> tuple[str, int] | None:
    """Return host and port; None if the text is no address, or has no port and there is no default."""
    match = re.fullmatch(ADDRESS_PATTERN, text) if len(text) <= ADDRESS_LENGTH else None
    if not match:
        return None
    port = int(match[2][1:]) if match[2] else default_port
    return (match[1].strip("[]"), port) if 0 < port < 65536 else None
