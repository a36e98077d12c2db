"""When a slot takes no further job: its limits, the wish of its supervisor, and what user code did."""

import os
import time
from typing import NamedTuple

from tubeherd.exits import Exit
from tubeherd.processing.processor import Processor
from tubeherd.settings import WorkerSettings
from tubeherd.shared_memory.slot_page import Request, SlotPage


class Progress(NamedTuple):
    """How far the slots of one place have come towards their limits."""

    begun: int
    """Jobs that were begun."""
    ends: float | None
    """When `maxTime` is over, on the monotonic clock."""


class Limits:
    """Decides whether a slot may take another job, or how it is to end."""

    def __init__(
        self, settings: WorkerSettings, progress: Progress, page: SlotPage, supervisor: int, processor: Processor
    ) -> None:
        """Count on from `progress`; `supervisor` is the process id of the slot's parent."""
        self._max_jobs = settings.max_jobs
        self._at_limit = Exit.LIMIT if settings.on_limit == "stop" else Exit.RECYCLE
        self._page = page
        self._supervisor = supervisor
        self._processor = processor
        self._ends = progress.ends
        self.begun = progress.begun
        """Jobs that were begun, by this slot and those before it in its place."""
        self.stopped_by_user_code = False
        """Whether a job or a listener ends the worker."""

    def exit_wanted(self, coming: int = 0) -> Exit | None:
        """Return how the slot is to end before it takes another job, None if it may; `coming` jobs count as begun."""
        request = self._page.request
        if self.stopped_by_user_code:
            return Exit.STOPPED_BY_JOB
        if request == Request.STOP or os.getppid() != self._supervisor:
            return Exit.OK
        if self._processor.broken_off:
            return Exit.RECYCLE
        if (
            0 < self._max_jobs <= self.begun + coming
            or (self._ends is not None and time.monotonic() >= self._ends)
            or (request == Request.RECYCLE and self.begun > 0)  # a limit that no slot keeps must not stop all work
        ):
            return self._at_limit
        return None

    def seconds_to_wait(self, seconds: int) -> int:
        """Return for how many whole seconds a reserve may wait: `seconds`, or until `maxTime` is over."""
        if self._ends is None:
            return seconds
        return min(seconds, max(0, int(self._ends - time.monotonic()) + 1))
