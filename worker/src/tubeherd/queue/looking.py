"""A connection that only looks: at the counters of server, tubes and jobs, and at the bodies of jobs.

None of its commands changes a job: its state, its place in its tube, and its counters stay as they are. beanstalkd
counts the commands themselves, and the connection. Many commands go in one write, because there may be 100,000 tubes.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from tubeherd.queue.answers import JobCounters, NotFoundError, ServerCounters
from tubeherd.queue.tubes import ALWAYS_WATCHED, USING, TubeConnection, batches
from tubeherd.queue.wire import REPLY_SECONDS, open_socket, unexpected_answer

PEEKS_MOST: Final = 50
"""The most bodies that are asked for in one write: each may be as large as the server allows."""
STATES: Final = ("ready", "reserved", "delayed", "buried")
_FOUND: Final = re.compile(rb"FOUND (\d{1,19}) (\d{1,10})\r\n")
_NUMBER: Final = rb"(\d{1,19})\n"
_JOB: Final = re.compile(
    rb"---\nid: " + _NUMBER + rb"tube: \"?([!#-~]{1,200})\"?\nstate: ([a-z]+)\n"
    rb"pri: (\d{1,19})\nage: (-?\d{1,19})\ndelay: (\d{1,19})\nttr: (\d{1,19})\ntime-left: (-?\d{1,19})\nfile: \d+\n"
    rb"reserves: (\d{1,19})\ntimeouts: (\d{1,19})\nreleases: (\d{1,19})\nburies: (\d{1,19})\nkicks: (\d{1,19})\n"
)
"""The answer to `stats-job`, as the same versions write it."""
_SERVER: Final = (
    b"total-jobs",
    b"current-tubes",
    b"current-workers",
    b"current-jobs-ready",
    b"current-jobs-reserved",
    b"current-jobs-delayed",
    b"current-jobs-buried",
)
_COUNTERS: Final = re.compile(rb"^(%b): (\d{1,19})$" % b"|".join(_SERVER), re.MULTILINE)


class Peeked(NamedTuple):
    """A job that was looked at."""

    id: int
    body: bytes | None
    """The bytes that were put; None if beanstalkd lost them in a crash."""


class LookingConnection(TubeConnection):
    """A connection that changes no job; its methods raise what those of `Connection` raise."""

    def server(self) -> ServerCounters:
        """Return the counters of the server."""
        self._wire.write(b"stats\r\n")
        found = {name: int(count) for name, count in _COUNTERS.findall(self._take_document())}
        try:
            return ServerCounters(*[found[name] for name in _SERVER])
        except KeyError:
            raise unexpected_answer("counters") from None

    def jobs(self, ids: Iterable[int]) -> Iterator[JobCounters | None]:
        """Yield the counters of these jobs, in the same order; None for one that does not exist."""
        for batch in batches(ids):
            self._wire.write(b"".join([b"stats-job %d\r\n" % job_id for job_id in batch]))
            yield from [self._take_job(job_id) for job_id in batch]

    def peek(self, ids: Iterable[int]) -> Iterator[Peeked | None]:
        """Yield these jobs with their bodies, in the same order; None for one that does not exist."""
        for batch in batches(ids, PEEKS_MOST):
            self._wire.write(b"".join([b"peek %d\r\n" % job_id for job_id in batch]))
            yield from [self._take_peeked() for _ in batch]

    def peek_next(self, tube: str, state: str) -> Peeked | None:
        """Return the job of a tube that is the first in this state (ready, delayed or buried); None if none is."""
        self._use(tube)
        self._wire.write(b"peek-%b\r\n" % state.encode())
        return self._take_peeked()

    def next_ready(self, tubes: Iterable[str]) -> dict[str, JobCounters]:
        """Return the counters of the ready job that is the next of each tube, for those tubes that have one.

        Afterwards the connection uses the tube `default`, so that it keeps none of these in being.
        """
        found: dict[str, int] = {}
        for batch in batches(tubes, PEEKS_MOST):
            commands = [b"use %b\r\npeek-ready\r\n" % tube.encode() for tube in batch]
            self._wire.write(b"".join([*commands, b"use %b\r\n" % ALWAYS_WATCHED.encode()]))
            for tube in batch:
                self._wire.take_line(USING)
                if peeked := self._take_peeked():
                    found[tube] = peeked.id
            self._wire.take_line(USING)
            self.used = ALWAYS_WATCHED
        jobs = zip(found, self.jobs(found.values()), strict=True)
        return {tube: job for tube, job in jobs if job and (job.tube, job.state) == (tube, "ready")}

    def leave_tube(self) -> None:
        """Use no tube but `default`, so that the connection does not keep an empty one in being."""
        if self.used not in ("", ALWAYS_WATCHED):
            self._use(ALWAYS_WATCHED)

    def _take_job(self, job_id: int) -> JobCounters | None:
        try:
            found = _JOB.match(self._take_document())
        except NotFoundError:
            return None
        if found is None or int(found[1]) != job_id:
            raise unexpected_answer("counters of that job")
        _, tube, state, *numbers = found.groups()
        # The time that is left may be a little less than nothing, until beanstalkd looks at the job, and the age is
        # less than nothing if the clock was put back.
        return JobCounters(job_id, tube.decode(), state.decode(), *[max(0, int(count)) for count in numbers])

    def _take_peeked(self) -> Peeked | None:
        try:
            found = self._wire.take_line(_FOUND)
        except NotFoundError:
            return None
        return Peeked(int(found[1]), self._wire.take_body(int(found[2])))


def connect_to_look(server: str) -> LookingConnection:
    """Connect to beanstalkd at `host:port`; raises QueueUnavailable, and ValueError for a wrong address."""
    return LookingConnection(open_socket(server, REPLY_SECONDS))
