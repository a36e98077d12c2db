"""Foresees the ids of the jobs that beanstalkd will give, so that their counters can be asked for with the reserve."""


class Foresight:
    """What the ids of the jobs that one process has reserved say about the next one.

    Jobs that are put one after the other have consecutive ids. A process that is alone with such jobs gets each id one
    greater than the last, whichever of its connections reserves; and if several processes take turns, an id is greater
    than the last by their number.
    """

    def __init__(self) -> None:
        self.next_id = 0
        """The id that the next job is likely to have; 0 if nothing can be said about it."""
        self._last_id = 0
        self._last_step = 0
        """By how much the last id was greater than the one before."""

    def note(self, job_id: int) -> None:
        """Note the id of a reserved job. The next one is foreseen if the last three ids are equal steps apart."""
        step, self._last_id = job_id - self._last_id, job_id
        self.next_id = max(0, job_id + step) if step == self._last_step else 0
        self._last_step = step
