"""Leaves out of a watch what the cache has already, before kopf reads it.

It also has kopf list anew after each error that a watch brings: after most of them kopf would end.

The API server answers each write of the operator with the object as it is from then on, and sends the same object to
the watch, as a line of JSON. For each line that kopf reads it starts a task, which takes a millisecond of processor
time: half of what a status costs the operator. So a line about a version that the cache has never reaches it.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from http import HTTPStatus
from typing import Any, Final

import aiohttp

from tubeherd.logs import log

_CHANGES: Final = (b'{"type":"ADDED",', b'{"type":"MODIFIED",')
"""How the lines begin that say how an object is; others say that it was deleted, or nothing of an object."""
_ERROR: Final = b'{"type":"ERROR",'
_GONE: Final = b'{"type":"ERROR","object":{"code":410}}'
"""Says that the API server has forgotten the version from which the watch began. kopf lists then."""
_PAUSE_SECONDS: Final = 15.0
"""How long to wait before all is listed again, so that an API server in trouble is not asked without a pause."""
_SAID_MOST: Final = 500
_VERSION: Final = b'"resourceVersion":"'
_VERSION_DIGITS: Final = 20


class KnownLeftOut:
    """The body of the answer to a watch. kopf reads it with `iter_chunked`; all else is that of `body`."""

    def __init__(self, body: aiohttp.StreamReader, is_known: Callable[[int], bool]) -> None:
        """`is_known` returns whether the cache has the object that has this version."""
        self._body = body
        self._is_known = is_known

    def __getattr__(self, name: str) -> Any:
        return getattr(self._body, name)

    async def iter_chunked(self, size: int) -> AsyncIterator[bytes]:
        """Yield whole lines, without those that are known, as they come in parts of up to `size` bytes."""
        begun = b""
        async for part in self._body.iter_chunked(size):
            *lines, begun = (begun + part).split(b"\n")
            unknown = [line for line in lines if not self._says_what_is_known(line)]
            errors = [line for line in unknown if line.startswith(_ERROR)]
            if others := [line for line in unknown if line not in errors]:
                yield b"\n".join((*others, b""))
            for error in errors:
                yield await _survived(error) + b"\n"
        if begun:
            yield await _survived(begun) if begun.startswith(_ERROR) else begun

    def _says_what_is_known(self, line: bytes) -> bool:
        version = version_of(line)
        return version is not None and self._is_known(version)


async def _survived(error: bytes) -> bytes:
    """Return the line of an error, or if kopf would end after it, a while later one after which it lists."""
    if _is_of_a_version_that_is_gone(error):
        return error
    said = error[:_SAID_MOST].decode(errors="replace")
    log.warning(f"a watch broke off by an error, and what it watches is listed again: {said}")
    await asyncio.sleep(_PAUSE_SECONDS)
    return _GONE


def _is_of_a_version_that_is_gone(line: bytes) -> bool:
    try:
        return bool(json.loads(line)["object"]["code"] == HTTPStatus.GONE)
    except (ValueError, LookupError, TypeError, RecursionError):
        return False


def version_of(line: bytes) -> int | None:
    """Return which version of an object a line of a watch brings; None if it brings none, or if that is not certain.

    A field of a user may have the same name as the version. If there are two, it is not certain.
    """
    if not line.startswith(_CHANGES):
        return None
    _, _, behind = line.partition(_VERSION)
    digits, quote, _ = behind[: _VERSION_DIGITS + 1].partition(b'"')
    return int(digits) if quote and digits.isdigit() and _VERSION not in behind else None
