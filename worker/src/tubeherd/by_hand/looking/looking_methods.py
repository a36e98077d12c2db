"""The methods of `QueueManager` that look at tubes and jobs. They need only the address of the server.

Each imports what it needs, because the process of an executor may never look.
"""

from tubeherd.by_hand.looking.looked import Stats
from tubeherd.by_hand.looking.looked_jobs import Inspected, InspectedJob, NextJobs


class LooksByHand:
    """Looks at tubes and jobs, each time on a connection of its own. Nothing about a job changes.

    Each method raises QueueUnavailable if beanstalkd cannot be reached, and RefusedError if it refuses a command.
    """

    _server: str

    def stats(self, *tubes: str) -> Stats:
        """Return how many jobs the tubes have in each state, and how many workers wait.

        `tubes` are names, or patterns such as `news*`; if there is none, all tubes are counted but Tubeherd's own. Each
        takes beanstalkd from 20 microseconds to some milliseconds, the longer the more tubes it has.

        Raises ValueError for a pattern that can match no tube.
        """
        from tubeherd.by_hand.looking.counting import server_stats

        return server_stats(self._server, tubes)

    def peek(self, tube: str) -> NextJobs:
        """Return the first ready, delayed and buried job of a tube, without their burial records.

        Raises ValueError for a name that is no tube's.
        """
        from tubeherd.by_hand.looking.inspecting import peek

        return peek(self._server, tube)

    def inspect(
        self, tube: str, state: str = "buried", *, count: int = 100, skip: int = 0, walk: int = 100_000
    ) -> Inspected:
        """Return up to `count` jobs of a tube that are ready, reserved, delayed or buried, but for the first `skip`.

        Buried jobs are found by their burial records, the newest burial first; to read the records reserves and
        releases the records. Other jobs are looked for among `walk` ids near those that are known, and come in no
        order.

        Raises ValueError for a name that is no tube's, for a state that there is not, and for a negative number.
        """
        from tubeherd.by_hand.looking.inspecting import inspect

        return inspect(self._server, tube, state, count=count, skip=skip, walk=walk)

    def inspect_job(self, job_id: int) -> InspectedJob | None:
        """Return all that is known of a job, with its burial record if it is buried; None if there is no such job.

        Raises ValueError for what is no id of a job.
        """
        from tubeherd.by_hand.looking.inspecting import inspect_job

        return inspect_job(self._server, job_id)
