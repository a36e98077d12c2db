"""Counts the jobs executed since the last `worker.flush`, the event on which listeners write what they collected."""

from tubeherd import events
from tubeherd.job import current_job


class FlushFailed(Exception):
    """A listener of `worker.flush` raised, or was interrupted by SIGTERM."""


class Batch:
    """Counts executed jobs and publishes `worker.flush` for them."""

    def __init__(self, size: int) -> None:
        """Count up to `size` jobs; then the batch is full."""
        self._size = size
        self._count = 0

    @property
    def full(self) -> bool:
        """Whether `worker.flush` is due: it has listeners, and enough jobs were executed since the last one."""
        return bool(self._count >= self._size and events.flush.receivers)

    @property
    def empty(self) -> bool:
        """Whether no job was executed since the last `worker.flush`."""
        return self._count == 0

    def add(self) -> bool:
        """Count one executed job, and return whether the batch is full now."""
        self._count += 1
        return self.full

    def send(self, reason: events.FlushReason) -> None:
        """Publish `worker.flush`, unless no job was executed since the last one; raises what a listener raises."""
        count, self._count = self._count, 0
        if count and events.flush.receivers:
            current_job.set(None)
            events.flush.send(reason, count=count)
