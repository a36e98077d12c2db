"""How a worker's memory limit is divided among its slots."""

import math
from typing import Final, NamedTuple

MIB: Final = 1 << 20
SMALLEST_SHARE: Final = 24 * MIB
"""Bytes without which a slot could not even start."""
SUPERVISOR_RESERVE: Final = 16 * MIB
MARGIN: Final = 0.95
"""The part of a limit that is divided, so that no process comes to the limit at which the kernel would kill."""
_SOFT: Final = 0.85


class MemoryShare(NamedTuple):
    """What one slot may use, in bytes: above `soft` it is recycled between jobs, above `hard` it is killed."""

    soft: int
    hard: int


def slot_share(limit: int, concurrency: int) -> MemoryShare:
    """Divide a worker's memory limit among its slots, below the limit at which the kernel would kill.

    Raises ValueError if a slot could not even start; a pool's rule at admission says the same in CEL.
    """
    if limit * MARGIN < SMALLEST_SHARE * concurrency + SUPERVISOR_RESERVE:
        least = math.floor((SMALLEST_SHARE * concurrency + SUPERVISOR_RESERVE) / MARGIN / MIB) + 1
        raise ValueError(f"{concurrency} slots need a memory limit of at least {least}Mi, not {limit // MIB}Mi")
    hard = int((limit * MARGIN - SUPERVISOR_RESERVE) / concurrency)
    return MemoryShare(int(hard * _SOFT), hard)
