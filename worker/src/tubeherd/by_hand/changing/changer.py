"""Kicks or deletes jobs on a connection step by step, keeps to the rate and the count, and counts what was done."""

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Final

from tubeherd.by_hand.changing.acted import Acted, Deed, Refused, Stopped
from tubeherd.by_hand.changing.pace import Comebacks, Pace
from tubeherd.queue.answers import AnswerLost, QueueUnavailable, RefusedError
from tubeherd.queue.changing import ChangingConnection
from tubeherd.queue.tubes import PIPELINE_MOST


def never() -> bool:
    """Return False: nobody asks to stop."""
    return False


def show_nothing(acted: Acted) -> None:
    """Show nothing."""


class Changer:
    """Changes jobs, and knows at any moment what was done so far."""

    def __init__(
        self,
        connection: ChangingConnection,
        deed: Deed,
        pace: Pace,
        comebacks: Comebacks | None = None,
        *,
        dry_run: bool = False,
        stop: Callable[[], bool] = never,
        show: Callable[[Acted], object] = show_nothing,
    ) -> None:
        """Change jobs no faster than `pace`; with `comebacks`, kick no further ones if most are buried again."""
        self.connection: Final = connection
        self.deed: Final = deed
        self.dry_run: Final = dry_run
        self._stop = stop
        self._show = show
        self._pace = pace
        self._comebacks = comebacks
        self.left: int | None = None
        """How many more jobs may be changed; None for any number."""
        self.of: int | None = None
        """How many jobs are to be changed; None if that is not known."""
        self.done = 0
        self.done_in: Counter[str] = Counter()
        """By tube, how many jobs were changed."""
        self.unsure = 0
        """How many jobs were sent a command whose answer was not read yet."""
        self.missed = 0
        self.refused: list[Refused] = []
        self.stopped: Stopped | None = None

    def plan(self, jobs: int) -> None:
        """Note that so many jobs were chosen, so that no more are changed."""
        self.left = self.of = jobs if self.left is None else min(self.left, jobs)

    def may_change(self) -> int:
        """Wait until a job may be changed, and return how many may be; 0 if no further job may be."""
        if self.left == 0 or self.stopped is not None:
            return 0
        self._show(self.acted())
        if self.dry_run:
            most = PIPELINE_MOST
        elif (most := self._pace.wait(self.should_stop)) == 0 and self.stopped is None:
            self.stopped = "asked"
        return most if self.left is None else min(most, self.left)

    def change(self, tubes: Mapping[int, str], *, by_id: bool = False) -> int:
        """Kick or delete jobs, given by their ids with their tubes; return how many were.

        If `by_id`, a job that somebody else has changed meanwhile is noted by its id.
        """
        if self.dry_run:
            for tube in tubes.values():
                self.count(tube, 1)
            return len(tubes)
        command = self.connection.kick_jobs if self.deed == "kicked" else self.connection.delete_jobs
        self.unsure = len(tubes)
        done = 0
        for (job_id, tube), is_done in zip(tubes.items(), command(list(tubes)), strict=True):
            if is_done:
                done += 1
                self.count(tube, 1)
                if self._comebacks is not None:
                    self._comebacks.note(job_id)
            elif by_id:
                self.refused.append(Refused(job_id, "somebody else was faster"))
            else:
                self.missed += 1
            self.unsure -= 1  # last, because a signal may end this at any line: a job that was changed must not be lost
        return done

    def kick(self, tube: str, most: int) -> int:
        """Kick up to so many buried jobs of a tube by one command, and return how many were kicked."""
        self.unsure = most
        try:
            kicked = self.connection.kick_buried(tube, most)
        except AnswerLost:
            raise
        except (QueueUnavailable, RefusedError):  # nothing was kicked
            self.unsure = 0
            raise
        self.count(tube, kicked)
        self.unsure = 0
        return kicked

    def count(self, tube: str, jobs: int) -> None:
        """Count changed jobs."""
        self.done += jobs
        self.done_in[tube] += jobs
        self._pace.spend(jobs)
        if self.left is not None:
            self.left -= jobs

    def came_back(self, job_id: int) -> bool:
        """Return whether a job that is buried is one of those that were kicked lately."""
        return self._comebacks is not None and self._comebacks.has(job_id)

    def end(self) -> None:
        """Look a last time at what became of the kicked jobs."""
        if self._comebacks is not None and not self.dry_run:
            self._comebacks.look(self.connection.jobs)

    def acted(self) -> Acted:
        """Return what was done so far."""
        return Acted(
            self.deed,
            done=self.done,
            unsure=self.unsure,
            missed=self.missed,
            buried_again=0 if self._comebacks is None else self._comebacks.buried_again,
            of=self.of,
            refused=tuple(self.refused),
            stopped=self.stopped,
            dry_run=self.dry_run,
        )

    def should_stop(self) -> bool:
        """Return whether the rest is left alone, and note why."""
        if self._stop():
            self.stopped = "asked"
        elif self._comebacks is not None and self._comebacks.is_due():
            self.look()
            self._show(self.acted())
        return self.stopped is not None

    def look(self) -> None:
        """Look what became of the kicked jobs, and note if the rest is left alone because of that."""
        if self._comebacks is not None and not self.dry_run:
            self._comebacks.look(self.connection.jobs)
            if self._comebacks.are_most:
                self.stopped = "buried again"
