"""Foresees the ids of the jobs that beanstalkd will give, so that their counters can be asked for with the reserve.

A slot is a process that executes jobs; a worker has several. Jobs that are put one after the other have consecutive
ids, and beanstalkd gives them to the reserves in the order in which these come. So the slots of a worker number their
reserves as they send them, and a slot knows how far its next job is from its last one: as far as their two reserves
are. If several workers take turns, it is so many times as far.

What is foreseen is a guess, and a wrong one costs a command whose answer is not used. It is wrong if reserves of two
slots overtake each other, if another worker takes a job out of turn, or if the next job in the queue is not the one
that was put next, such as a retry or an urgent job.
"""

from math import floor

from tubeherd.shared_memory.reserve_count import ReserveCount


class Foresight:
    """What the jobs that one process has reserved say about the next one, whichever of its connections reserves it."""

    def __init__(self, reserves: ReserveCount) -> None:
        """`reserves` numbers the reserves of this process, and of the others that reserve jobs of the same tubes."""
        self.reserves = reserves
        self._last_number = 0
        self._last_id = 0
        self._step = 0.0
        """By how much the id of the last job was greater than the one before, for each reserve in between."""
        self._steady = False
        """Whether the step was the same twice. Otherwise nothing can be said about the next job."""
        self._empty = False
        """Whether no job was ready for the last reserve that did not wait. Then the next mostly finds none either."""

    def next_id(self, number: int) -> int:
        """Return the id that the job of the reserve of this number is likely to have; 0 if nothing can be said."""
        if self._empty or not self._steady:
            return 0
        return max(0, self._last_id + floor(self._step * (number - self._last_number) + 0.5))

    def note_none(self) -> None:
        """Note that the last reserve with a number has brought no job."""
        self.reserves.subtract()
        self._empty = True

    def note(self, number: int | None, job_id: int) -> None:
        """Note which job the reserve of this number has brought; None for a reserve that may have waited for it.

        That is numbered only now, because beanstalkd served it when the job came.
        """
        if number is None:
            number = self.reserves.add()
        else:
            self._empty = False
        step = (job_id - self._last_id) / max(1, number - self._last_number)
        self._steady = step == self._step
        self._step = step
        self._last_number, self._last_id = number, job_id
