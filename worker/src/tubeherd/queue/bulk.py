"""A connection that takes all jobs of one tube out, gives them back, and asks for the states of other jobs.

Commands are sent many in one write, because there may be ten thousand jobs.
"""

import re
import socket
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Final, NamedTuple

from tubeherd.policy import Release
from tubeherd.queue.answers import DeadlineSoonError, NotFoundError, TimedOutError
from tubeherd.queue.connection import RESERVED, Connection
from tubeherd.queue.tubes import KICKED, PIPELINE_MOST
from tubeherd.queue.wire import open_socket, unexpected_answer

_EVERY_JOB: Final = 2**31
_RECORD_BYTES_MOST: Final = 1 << 15
"""No burial record has more bytes, and a thousand of them are in memory at a time."""
_COUNT: Final = re.compile(rb"^(current-jobs-(?:ready|reserved|delayed|buried)|total-jobs): (\d{1,19})$", re.MULTILINE)
_STATE: Final = re.compile(rb"^tube: \"?([!#-~]{1,200})\"?\nstate: ([a-z]+)$", re.MULTILINE)
_BURIED: Final = re.compile(rb"^(current-jobs-buried|cmd-bury): (\d{1,19})$", re.MULTILINE)


class Taken(NamedTuple):
    """A job that was taken out of its tube: it is reserved."""

    id: int
    body: bytes | None
    """The bytes that were put; None if beanstalkd lost them in a crash, or if they are too many."""


class Totals(NamedTuple):
    """How many jobs a tube has; all 0 for a tube that does not exist."""

    jobs: int = 0
    """In all states."""
    reserved: int = 0
    ever: int = 0
    """How many jobs were put into the tube since it exists. A tube exists while it has jobs or is watched."""
    ready: int = 0


class BuriedJobs(NamedTuple):
    """The buried jobs of a server. As long as both numbers stay the same, so do the jobs."""

    now: int
    """How many jobs are buried."""
    commands: int
    """How many commands to bury a job it was ever sent."""


class JobState(NamedTuple):
    """In which tube and state a job is."""

    tube: str
    state: str
    """As beanstalkd names it: ready, reserved, delayed or buried."""


class BulkConnection(Connection):
    """A connection that handles the jobs of one tube; its methods raise what those of `Connection` raise."""

    def __init__(self, sock: socket.socket, tube: str) -> None:
        """Use a connected socket, and watch only this tube."""
        super().__init__(sock)
        self.tube: Final = tube
        self.body_bytes_most = _RECORD_BYTES_MOST
        """The most bytes of a job that `take` keeps."""
        self.watch_only([tube])
        self._use(tube)

    def totals(self) -> Totals:
        """Return how many jobs the tube has."""
        self._wire.write(b"stats-tube %b\r\n" % self.tube.encode())
        try:
            found = {name: int(count) for name, count in _COUNT.findall(self._take_document())}
        except NotFoundError:
            return Totals()
        if len(found) != 5:
            raise unexpected_answer("counters of a tube")
        ever = found.pop(b"total-jobs")
        return Totals(sum(found.values()), found[b"current-jobs-reserved"], ever, found[b"current-jobs-ready"])

    def buried_jobs(self) -> BuriedJobs:
        """Return how many jobs are buried in all tubes together."""
        self._wire.write(b"stats\r\n")
        found = {name: int(count) for name, count in _BURIED.findall(self._take_document())}
        if len(found) != 2:
            raise unexpected_answer("counters")
        return BuriedJobs(found[b"current-jobs-buried"], found[b"cmd-bury"])

    def make_all_ready(self) -> None:
        """Make the buried and the delayed jobs of the tube ready."""
        for _ in range(2):  # the buried ones, then the delayed ones
            self.make_ready(_EVERY_JOB)

    def make_ready(self, most: int) -> None:
        """Make up to so many jobs of the tube ready: buried ones, or else those whose delay ends first."""
        self._wire.write(b"kick %d\r\n" % most)
        self._wire.take_line(KICKED)

    def take(self, most: int) -> list[Taken]:
        """Take up to `most` jobs out of those that are ready; of equal priority those first that were put first."""
        taken: list[Taken] = []
        while len(taken) < most:
            asked = min(PIPELINE_MOST, most - len(taken))
            self._wire.write(b"reserve-with-timeout 0\r\n" * asked)
            got = [job for job in [self._take_one() for _ in range(asked)] if job is not None]
            taken += got
            if len(got) < asked:
                break
        return taken

    def states(self, job_ids: Sequence[int]) -> Iterator[JobState | None]:
        """Yield in which tube and state each of these jobs is; None for one that does not exist."""
        left = iter(job_ids)
        while batch := list(islice(left, PIPELINE_MOST)):
            self._wire.write(b"".join([b"stats-job %d\r\n" % job_id for job_id in batch]))
            for _ in batch:
                yield self._take_state()

    def give_back(self, job_ids: Sequence[int], priority: int, delay: int = 0) -> None:
        """Release jobs that were taken out, each with this priority; they are ready after `delay` seconds."""
        # A job whose lease has ended meanwhile is ready already, or somebody else has taken it out.
        for _ in self.settle_all([(job_id, Release(delay, priority)) for job_id in job_ids]):
            pass

    def _take_one(self) -> Taken | None:
        try:
            answer = self._wire.take_line(RESERVED)
        except (TimedOutError, DeadlineSoonError):  # both mean that no job is ready
            return None
        job_id, size = int(answer[1]), int(answer[2])
        if size > self.body_bytes_most:
            self._wire.skip_body(size)
            return Taken(job_id, None)
        return Taken(job_id, self._wire.take_body(size))

    def _take_state(self) -> JobState | None:
        try:
            found = _STATE.search(self._take_document())
        except NotFoundError:
            return None
        if found is None:
            raise unexpected_answer("counters of a job")
        return JobState(found[1].decode(), found[2].decode())


def connect_to_tube(server: str, tube: str, timeout: float) -> BulkConnection:
    """Connect to beanstalkd at `host:port` within `timeout` seconds, which also is the limit for each answer."""
    sock = open_socket(server, timeout)
    try:
        connection = BulkConnection(sock, tube)
    except BaseException:
        sock.close()
        raise
    connection.set_timeout(timeout)
    return connection
