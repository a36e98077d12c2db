"""Counts the jobs executed since the last `worker.flush`."""

from tubeherd import events


class Batch:
    """Counts executed jobs and sends `worker.flush` for them."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._count = 0

    @property
    def full(self) -> bool:
        """Whether the batch is complete and the flush has listeners."""
        return bool(self._count >= self._size and events.flush.receivers)

    @property
    def empty(self) -> bool:
        """Whether nothing was executed since the last `worker.flush`."""
        return self._count == 0

    def add(self) -> bool:
        """Count one executed job, and return whether the batch is full."""
        self._count += 1
        return self.full

    def send(self, reason: events.FlushReason) -> None:
        """Publish `worker.flush`, unless nothing was executed since the last one; raises what a listener raises."""
        count, self._count = self._count, 0
        if count and events.flush.receivers:
            events.flush.send(reason, count=count)
