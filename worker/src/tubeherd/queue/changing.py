"""A connection that also changes jobs and tubes as people do by hand: it kicks and deletes jobs, and pauses tubes.

Commands about jobs are sent many in one write, because there may be a hundred thousand jobs. None of them touches a job
that another connection has reserved.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Final, Literal

from tubeherd.queue.answers import NotFoundError
from tubeherd.queue.connection import DELETED
from tubeherd.queue.looking import LookingConnection
from tubeherd.queue.wire import REPLY_SECONDS, open_socket

State = Literal["ready", "delayed", "buried"]
"""A state of a job in which nobody holds it, as beanstalkd names it."""
_KICKED_ONE: Final = re.compile(rb"KICKED\r\n")
_PAUSED: Final = re.compile(rb"PAUSED\r\n")


class ChangingConnection(LookingConnection):
    """A connection that changes jobs; its methods raise what those of `Connection` raise."""

    def first(self, tube: str, state: State) -> int | None:
        """Return the id of the job that is next in this state, or None: of the buried jobs the one buried first."""
        if self.used != tube:
            self._use(tube)
        self._wire.write(b"peek-%b\r\n" % state.encode())
        peeked = self._take_peeked()
        return None if peeked is None else peeked.id

    def kick_jobs(self, job_ids: Sequence[int]) -> Iterator[bool]:
        """Make buried or delayed jobs ready, PIPELINE_MOST at most; yield of each whether it was one of these."""
        return self._each(b"kick-job %d\r\n", job_ids, _KICKED_ONE)

    def delete_jobs(self, job_ids: Sequence[int]) -> Iterator[bool]:
        """Delete jobs, PIPELINE_MOST at most; yield of each whether it existed and nobody held it."""
        return self._each(b"delete %d\r\n", job_ids, DELETED)

    def pause(self, tube: str, seconds: int) -> bool:
        """Have no job of a tube reserved for so many seconds; 0 ends a pause. Return whether there is such a tube."""
        self._wire.write(b"pause-tube %b %d\r\n" % (tube.encode(), seconds))
        return self._take_whether(_PAUSED)

    def _each(self, command: bytes, job_ids: Sequence[int], expected: re.Pattern[bytes]) -> Iterator[bool]:
        self._wire.write(b"".join([command % job_id for job_id in job_ids]))
        for _ in job_ids:
            yield self._take_whether(expected)

    def _take_whether(self, expected: re.Pattern[bytes]) -> bool:
        try:
            self._wire.take_line(expected)
        except NotFoundError:
            return False
        return True


def connect_to_change(server: str) -> ChangingConnection:
    """Connect to beanstalkd at `host:port`; raises QueueUnavailable, and ValueError for a wrong address."""
    return ChangingConnection(open_socket(server, REPLY_SECONDS))
