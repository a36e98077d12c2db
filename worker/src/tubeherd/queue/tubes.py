"""The commands about tubes: to watch them, to count their jobs, and to kick. `connection` has those about jobs."""

import re
import socket
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Final

from tubeherd.queue.answers import AnswerLost, NotFoundError, NotIgnoredError, QueueUnavailable, TubeStats
from tubeherd.queue.wire import Wire, unexpected_answer

PIPELINE_MOST: Final = 500
"""The most commands in one write. With more, both sides could block: each waits until the other reads."""
_WATCHED_AT_FIRST: Final = "default"
"""The tube that a new connection watches."""
# At most 19 digits are accepted, because every number of 19 digits fits into 64 bits.
_OK: Final = re.compile(rb"OK (\d{1,10})\r\n")
KICKED: Final = re.compile(rb"KICKED (\d{1,19})\r\n")
USING: Final = re.compile(rb"USING [!-~]+\r\n")
_WATCHING: Final = re.compile(rb"WATCHING \d{1,19}\r\n")
_COUNTED: Final = {
    b"current-jobs-ready": "ready",
    b"current-jobs-reserved": "reserved",
    b"current-jobs-delayed": "delayed",
    b"current-jobs-buried": "buried",
    b"total-jobs": "put",
    b"cmd-delete": "deleted",
}
_COUNT: Final = re.compile(rb"^(%b): (\d{1,19})$" % b"|".join(_COUNTED), re.MULTILINE)
_MAX_JOB_SIZE: Final = re.compile(rb"^max-job-size: (\d{1,10})$", re.MULTILINE)
LISTED: Final = re.compile(rb"^- \"?([!#-~]+)\"?$", re.MULTILINE)


class TubeConnection:
    """A connection to beanstalkd with the commands about tubes; its methods raise what those of `Connection` raise."""

    def __init__(self, sock: socket.socket) -> None:
        """Use a connected socket; raises QueueUnavailable if it is not connected any more."""
        self._wire = Wire(sock)
        self.used = ""
        """The tube into which a put goes, as far as this process knows: the last one for which it has sent a `use`."""

    @property
    def socket(self) -> socket.socket:
        """The connected socket."""
        return self._wire.socket

    def set_timeout(self, seconds: float) -> None:
        """Set how long to wait for the beginning of an answer, in every process that shares the socket.

        Before the first call it is REPLY_SECONDS.
        """
        self._wire.set_timeout(seconds)

    def close(self) -> None:
        """Close the connection in this process. If other processes share it, beanstalkd keeps its leases."""
        self._wire.close()

    def abandon(self) -> None:
        """Close the connection in every process that shares it; beanstalkd makes its reserved jobs ready again."""
        self._wire.shut_down()

    def watch_only(self, tubes: Sequence[str]) -> None:
        """Watch these tubes, and not `default`, which every new connection watches."""
        for tube in tubes:
            self._wire.write(b"watch %b\r\n" % tube.encode("ascii"))
            self._wire.take_line(_WATCHING)
        if _WATCHED_AT_FIRST not in tubes:
            with suppress(NotIgnoredError):
                self._ignore(_WATCHED_AT_FIRST)

    def ignore_others(self, tubes: Sequence[str]) -> None:
        """Ignore every tube but these. The slot that used this connection before may have watched other tubes."""
        self._wire.write(b"list-tubes-watched\r\n")
        for tube in LISTED.findall(self._take_document()):
            if tube.decode() not in tubes:
                self._ignore(tube.decode())

    def stats_tubes(self, tubes: Iterable[str]) -> dict[str, TubeStats]:
        """Return how many jobs each tube has in each state, by the names of the tubes."""
        names = list(dict.fromkeys(tubes))
        stats: dict[str, TubeStats] = {}
        for start in range(0, len(names), PIPELINE_MOST):
            batch = names[start : start + PIPELINE_MOST]
            self._wire.write(b"".join(b"stats-tube %b\r\n" % name.encode() for name in batch))
            stats.update({name: self.take_tube_stats(name) for name in batch})
        return stats

    def max_job_size(self) -> int:
        """Return how many bytes the body of a job may have."""
        self._wire.write(b"stats\r\n")
        if (found := _MAX_JOB_SIZE.search(self._take_document())) is None:
            raise unexpected_answer("counters")
        return int(found[1])

    def kick_buried(self, tube: str, bound: int) -> int:
        """Kick up to `bound` buried jobs of a tube and return how many.

        If no job is buried, beanstalkd's `kick` makes delayed jobs ready, which is not wanted here. So the buried jobs
        are counted first, and no more are kicked. Delayed jobs are still made ready if another client kicks the tube
        between these two commands. Raises AnswerLost if the kick was sent, but not answered; after any other
        QueueUnavailable nothing was kicked.
        """
        buried = min(bound, self.stats_tubes([tube])[tube].buried)
        if buried <= 0:
            return 0
        self._use(tube)
        try:
            self._wire.write(b"kick %d\r\n" % buried)
            return int(self._wire.take_line(KICKED)[1])
        except QueueUnavailable as error:
            raise AnswerLost(str(error)) from error

    def take_tube_stats(self, name: str) -> TubeStats:
        """Take the counters of a tube for which a `stats-tube` was sent."""
        try:
            document = self._take_document()
        except NotFoundError:
            return TubeStats(name)
        counts = {_COUNTED[name]: int(count) for name, count in _COUNT.findall(document)}
        if len(counts) != len(_COUNTED):
            raise unexpected_answer("counters of a tube")
        return TubeStats(name, **counts)

    def _use(self, tube: str) -> None:
        self._wire.write(b"use %b\r\n" % tube.encode("ascii"))
        self._wire.take_line(USING)
        self.used = tube

    def _ignore(self, tube: str) -> None:
        self._wire.write(b"ignore %b\r\n" % tube.encode("ascii"))
        self._wire.take_line(_WATCHING)

    def _take_document(self) -> bytes:
        """Take an answer that is a list or a set of counters, and return its text."""
        document = self._wire.take_body(int(self._wire.take_line(_OK)[1]))
        if document is None:
            raise unexpected_answer("a body")
        return document
