"""How a worker's memory limit is divided among its slots."""

from typing import Final, NamedTuple

MIB: Final = 1 << 20
SMALLEST_SHARE: Final = 24 * MIB
_SUPERVISOR_RESERVE: Final = 16 * MIB
_MARGIN: Final = 0.95
_SOFT: Final = 0.85


class MemoryShare(NamedTuple):
    """What one slot may use, in bytes: above `soft` it is recycled between jobs, above `hard` it is killed."""

    soft: int
    hard: int


def slot_share(limit: int, concurrency: int) -> MemoryShare:
    """Divide a worker's memory limit among its slots, below the limit at which the kernel would kill.

    Raises ValueError if a slot could not even start.
    """
    hard = int((limit * _MARGIN - _SUPERVISOR_RESERVE) / concurrency)
    if hard < SMALLEST_SHARE:
        least = int((SMALLEST_SHARE * concurrency + _SUPERVISOR_RESERVE) / _MARGIN / MIB) + 1
        raise ValueError(f"{concurrency} slots need a memory limit of at least {least}Mi, not {limit // MIB}Mi")
    return MemoryShare(int(hard * _SOFT), hard)
