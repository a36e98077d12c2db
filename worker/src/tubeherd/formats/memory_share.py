"""Divides a worker's memory limit among its slots, which execute jobs, and their parent process, the supervisor."""

import math
from typing import Final, NamedTuple

MIB: Final = 1 << 20
SMALLEST_SHARE: Final = 24 * MIB
"""With fewer bytes a slot could not even start."""
SUPERVISOR_RESERVE: Final = 16 * MIB
"""The bytes for the supervisor."""
MARGIN: Final = 0.95
"""Only this part of the limit is divided: at the whole limit the kernel would kill a process of the worker."""
_SOFT: Final = 0.85
"""The part of its share above which a slot is replaced."""


class MemoryShare(NamedTuple):
    """What one slot may use, in bytes: above `soft` it is replaced between two jobs, above `hard` it is killed."""

    soft: int
    hard: int


def slot_share(limit: int, concurrency: int) -> MemoryShare:
    """Return what each of `concurrency` slots may use of a worker's memory limit, which is in bytes.

    Raises ValueError if that is too little to start a slot; the operator's `admission` has a copy of this condition.
    """
    if limit * MARGIN < SMALLEST_SHARE * concurrency + SUPERVISOR_RESERVE:
        least = math.floor((SMALLEST_SHARE * concurrency + SUPERVISOR_RESERVE) / MARGIN / MIB) + 1
        raise ValueError(f"{concurrency} slots need a memory limit of at least {least}Mi, not {limit // MIB}Mi")
    hard = int((limit * MARGIN - SUPERVISOR_RESERVE) / concurrency)
    return MemoryShare(int(hard * _SOFT), hard)
