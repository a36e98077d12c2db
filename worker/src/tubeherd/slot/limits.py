"""Decides when a slot takes no further job: at a limit, if its supervisor asks for it, or because of user code.

A worker has a place for each slot; when a slot ends, another follows in its place.
"""

import os
import time
from typing import NamedTuple

from tubeherd.exits import Exit
from tubeherd.processing.processor import Processor
from tubeherd.settings import WorkerSettings
from tubeherd.shared_memory.slot_page import Request, SlotPage


class Progress(NamedTuple):
    """How far the slots of one place have come towards their limits."""

    jobs_begun: int
    """How many jobs they have begun."""
    ends: float | None
    """When the time set by `maxTime` is over, on the monotonic clock; None without `maxTime`."""

    def is_at_limit(self, max_jobs: int, now: float) -> bool:
        """Return whether `maxJobs` (0 for no limit) or `maxTime` is reached at the time `now`."""
        return 0 < max_jobs <= self.jobs_begun or (self.ends is not None and now >= self.ends)


class Limits:
    """Decides whether a slot may take another job, or how it is to end."""

    def __init__(
        self, settings: WorkerSettings, progress: Progress, page: SlotPage, supervisor: int, processor: Processor
    ) -> None:
        """`progress` is that of the slots before; `supervisor` is the process id of the slot's parent."""
        self._max_jobs = settings.max_jobs
        self._at_limit = Exit.LIMIT if settings.on_limit == "stop" else Exit.RECYCLE
        self._page = page
        self._supervisor = supervisor
        self._processor = processor
        self._ends = progress.ends
        self.jobs_begun = progress.jobs_begun
        """How many jobs this slot and those before it in its place have begun."""
        self.stopped_by_user_code = False
        """Whether the worker has to stop because a job asked for it or a listener of `worker.flush` failed."""
        self.draining = False
        """Whether something of a job goes on that was stopped at its deadline."""

    def exit_wanted(self, may_begin: int = 0) -> Exit | None:
        """Return the exit code if the slot may take no further job; otherwise None.

        `may_begin` is how many reserves of the slot are not answered yet. Each counts as a job that has begun.
        """
        request = self._page.request
        if self.stopped_by_user_code:
            return Exit.FAILED
        if request and request in (Request.STOP, Request.RELOAD):
            return Exit.OK if request == Request.STOP else Exit.RECYCLE
        if os.getppid() != self._supervisor:
            return Exit.OK
        if self._processor.broken_off or self.draining:
            return Exit.RECYCLE
        # The supervisor asks to recycle if the slot uses too much memory. That counts only after a job: if the limit of
        # memory is too low, jobs are done nevertheless.
        if (
            0 < self._max_jobs <= self.jobs_begun + may_begin
            or (self._ends is not None and time.monotonic() >= self._ends)
            or (request and request == Request.RECYCLE and self.jobs_begun > 0)
        ):
            return self._at_limit
        return None

    def seconds_to_wait(self, seconds: int) -> int:
        """Return how many whole seconds a reserve may wait: `seconds`, or less if `maxTime` is over before."""
        if self._ends is None:
            return seconds
        return min(seconds, max(0, int(self._ends - time.monotonic()) + 1))
