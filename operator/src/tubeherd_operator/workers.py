"""Asks workers over HTTP how many jobs they execute at the moment, many at a time."""

import asyncio
import re
from collections.abc import Mapping
from contextlib import suppress
from typing import Final

from tubeherd.pod_template.containers import HEALTH_PORT

_SECONDS: Final = 2.0
"""How long all answers together may take."""
_BYTES_MOST: Final = 16384
"""The line that is looked for stands at the beginning of the answer."""
_RUNNING: Final = re.compile(rb"^tubeherd_jobs_running (\d{1,9})\.0$", re.MULTILINE)


def running_jobs(addresses: Mapping[str, str], port: int = HEALTH_PORT, seconds: float = _SECONDS) -> dict[str, int]:
    """Return how many jobs each worker executes, by the name of its pod; those that do not answer are left out.

    `addresses` has the IP addresses by name. All are asked at the same time, and have so many seconds together.
    """
    return asyncio.run(_ask_all(addresses, port, seconds))


async def _ask_all(addresses: Mapping[str, str], port: int, seconds: float) -> dict[str, int]:
    found: dict[str, int] = {}

    async def ask(name: str, address: str) -> None:
        with suppress(OSError):
            if (running := await _ask(address, port)) is not None:
                found[name] = running

    with suppress(TimeoutError):
        async with asyncio.timeout(seconds), asyncio.TaskGroup() as tasks:
            for name, address in addresses.items():
                tasks.create_task(ask(name, address))
    return found


async def _ask(address: str, port: int) -> int | None:
    reader, writer = await asyncio.open_connection(address, port)
    try:
        writer.write(b"GET /metrics HTTP/1.0\r\n\r\n")
        answer = b""
        while len(answer) < _BYTES_MOST and (data := await reader.read(_BYTES_MOST)):
            answer += data
            if line := _RUNNING.search(answer):
                return int(line[1])
        return None
    finally:
        writer.close()
