"""Addresses on this machine that no other test takes, whichever run it belongs to."""

import itertools
import random
import socket
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from typing import Final

_FIRST: Final = 20_000
"""This port and the next ones are none of those that the kernel gives to clients, nor Kubernetes to services."""
_BLOCKS: Final = 100
_BLOCK_SIZE: Final = 100


def free_port(host: str = "127.0.0.1") -> int:
    """Return a port of this host on which nobody listens now, and which no other process of a test gets."""
    for port in itertools.islice(_own_ports(), _BLOCK_SIZE):
        with suppress(OSError), socket.create_server((host, port)):
            return port
    raise OSError("there is a listener on each port of this process")


def free_address() -> str:
    """Return an address on loopback, `host:port`, on which nobody listens now."""
    return f"127.0.0.1:{free_port()}"


@cache
def _own_ports() -> Iterator[int]:
    """Return the ports of this process, those first that were given least recently."""
    first = _FIRST + _claim_block() * _BLOCK_SIZE
    return itertools.cycle(range(first, first + _BLOCK_SIZE))


def _claim_block() -> int:
    """Return a block of ports that is this process's until its end, as long as it has a socket of this name."""
    for block in random.sample(range(_BLOCKS), _BLOCKS):
        with suppress(OSError), socket.socket(socket.AF_UNIX) as claim:
            claim.bind(f"\0tubeherd-test-ports-{block}")
            claim.detach()
            return block
    raise OSError("every block of ports is claimed")
