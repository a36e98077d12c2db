"""Addresses as people write them: `host`, `host:port` or `[v6]:port`."""

import re
from typing import Final

from tubeherd.formats.text import TextFormat

ADDRESS: Final = TextFormat(
    name="address",
    pattern=r"^(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+)(:[0-9]{1,5})?$",
    max_length=260,
    examples="0.0.0.0:8080 or [::]:8080",
)


def parse_address(text: str, default_port: int | None = None) -> tuple[str, int]:
    """Return host and port; raises ValueError if the text is no address, or has no port and there is no default."""
    match = re.fullmatch(ADDRESS.pattern, text)
    port = int(match[2][1:] if match[2] else default_port or 0) if match else 0
    if not match or not 0 < port < 65536:
        raise ValueError(f"{text[:80]!r} is no address: write it like {ADDRESS.examples}")
    return match[1].strip("[]"), port
