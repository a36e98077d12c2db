"""A number that all slots of a worker share, by which each slot foresees which job comes next (`queue.foresight`)."""

import mmap


class ReserveCount:
    """How many reserves were sent that brought a job, or may still bring one.

    Nobody locks it. If two processes count at the same moment, both may get the same number. That costs a foresight
    or two, and no job.
    """

    def __init__(self, *, shared: bool = False) -> None:
        """If `shared`, share the number with the processes that are forked from this one later; raises OSError."""
        memory = mmap.mmap(-1, 8) if shared else bytearray(8)
        # Written as a whole, unlike by `struct`. Signed, because two that count at the same moment may subtract twice.
        self._count = memoryview(memory).cast("q")

    def add(self) -> int:
        """Count one more reserve, and return its number."""
        number: int = self._count[0] + 1
        self._count[0] = number
        return number

    def subtract(self) -> None:
        """Count one less, because a reserve that was counted has brought no job."""
        self._count[0] -= 1
