"""The commands about tubes: to watch them, to count their jobs, and to kick. `connection` has those about jobs."""

import re
import socket
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Final, NamedTuple, TypeVar

from tubeherd.queue.answers import AnswerLost, NotFoundError, QueueUnavailable, RefusedError, TubeCounters, TubeStats
from tubeherd.queue.wire import Wire, unexpected_answer

Item = TypeVar("Item")
PIPELINE_MOST: Final = 500
"""The most commands in one write. With more, both sides could block: each waits until the other reads."""
ALWAYS_WATCHED: Final = "default"
"""Every connection watches and uses this tube at first, so that says nothing about workers."""
# At most 19 digits are accepted, because every number of 19 digits fits into 64 bits.
_OK: Final = re.compile(rb"OK (\d{1,10})\r\n")
_DOCUMENT_MAX: Final = 1 << 24
"""The most bytes of a list or of counters: 80,000 tubes with the longest names. Whoever names a server to an operator
could otherwise fill its memory."""
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
    b"current-jobs-urgent": "urgent",
    b"current-using": "using",
    b"current-watching": "watching",
    b"current-waiting": "waiting",
    b"cmd-pause-tube": "pauses",
    b"pause": "pause",
    b"pause-time-left": "pause_left",
}
_COUNT: Final = re.compile(rb"^(%b): (\d{1,19})$" % b"|".join(_COUNTED), re.MULTILINE)
MARKS: Final = (
    *("current-jobs-ready", "current-jobs-reserved", "current-jobs-delayed", "current-jobs-buried"),
    *("cmd-delete", "cmd-release", "cmd-use", "cmd-watch", "cmd-ignore", "cmd-bury", "cmd-kick"),
    *("cmd-pause-tube", "job-timeouts", "total-jobs"),
    *("current-tubes", "current-connections", "total-connections"),
)
"""The counters of the server that `ServerStats.marks` returns.

What none of the other counters shows is a job that is kicked or reserved by its id, whose delay ends, or that a waiting
connection is given. Each of these brings a job from delayed or buried to ready, or from one of them to reserved, and
none brings one back: that takes a release, a burial, a timeout, a put or the end of a connection, which are counted. So
they show in the numbers of jobs by state. Commands to put or reserve are counted before there is a job, so they tell
nothing.
"""
_FIGURE: Final = re.compile(rb"^([a-z-]{1,40}): (\d{1,19}|true|false)$", re.MULTILINE)
_FIGURES_MOST: Final = 200
"""So many figures of a server are read; beanstalkd has about fifty."""
_MAX_JOB_SIZE: Final = re.compile(rb"^max-job-size: (\d{1,10})$", re.MULTILINE)
_LISTED: Final = re.compile(rb"^- \"?([!#-~]{1,200})\"?$", re.MULTILINE)

_NUMBER: Final = rb"(\d{1,19})\n"
_TUBE: Final = re.compile(
    rb"---\nname: \"?[!#-~]{1,200}\"?\ncurrent-jobs-urgent: \d+\n"
    + b"".join(
        [
            rb"%b: " % name + _NUMBER
            for name in (
                b"current-jobs-ready",
                b"current-jobs-reserved",
                b"current-jobs-delayed",
                b"current-jobs-buried",
                b"total-jobs",
                b"current-using",
                b"current-watching",
                b"current-waiting",
                b"cmd-delete",
                b"cmd-pause-tube",
                b"pause",
                b"pause-time-left",
            )
        ]
    )
)
"""The answer to `stats-tube`, as beanstalkd 1.10 to 1.13 write it (prot.c, STATS_TUBE_FMT)."""


class ServerStats(NamedTuple):
    """What beanstalkd counts of itself, of all tubes together."""

    figures: Mapping[str, int]
    """By the names that beanstalkd has for them; what is not a number is left out, and true is 1."""

    @property
    def marks(self) -> tuple[int, ...] | None:
        """Counters of the server that stand still as long as nothing happens to its tubes.

        If all are as they were at an earlier time, so is each tube: the jobs that it has in each state, was ever given
        and has had deleted, the connections that use and watch it, and whether it exists. Only a pause may have ended,
        and other connections may wait. None if the server has not all of these counters.
        """
        if any(name not in self.figures for name in MARKS):
            return None
        return tuple(self.figures[name] for name in MARKS)


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

    def break_off(self) -> None:
        """End the connection for every process that shares it, but let this one find out by its next command."""
        self._wire.break_off()

    def abandon(self) -> None:
        """Close the connection in every process that shares it; beanstalkd makes its reserved jobs ready again."""
        self._wire.shut_down()

    def watched(self) -> list[str]:
        """Return the tubes that the connection watches, in no order."""
        self._wire.write(b"list-tubes-watched\r\n")
        return self._take_list()

    def watch_only(self, tubes: Sequence[str], instead_of: Sequence[str] = (ALWAYS_WATCHED,)) -> None:
        """Watch these tubes, and no longer those that were watched until now; a new connection watches `default`.

        Every connection watches a tube. If none is given, that is `default`, and nothing should be reserved. If
        beanstalkd refuses a command, raises RefusedError when all answers to the same write are read.
        """
        wanted, before = set(tubes) or {ALWAYS_WATCHED}, set(instead_of)
        self._send_for_each(b"watch", [tube for tube in tubes or [ALWAYS_WATCHED] if tube not in before])
        self._send_for_each(b"ignore", [tube for tube in instead_of if tube not in wanted])

    def tube_names(self) -> list[str]:
        """Return the names of all tubes, in no order."""
        self._wire.write(b"list-tubes\r\n")
        return self._take_list()

    def tubes(self, names: Iterable[str]) -> Iterator[TubeCounters]:
        """Yield the counters of these tubes, in the same order."""
        for batch in batches(names):
            self._wire.write(b"".join([b"stats-tube %b\r\n" % name.encode() for name in batch]))
            yield from [self._take_tube(name) for name in batch]  # all answers are read first, so one may stop here

    def stats_tubes(self, tubes: Iterable[str]) -> dict[str, TubeStats]:
        """Return how many jobs each tube has in each state, by the names of the tubes."""
        stats: dict[str, TubeStats] = {}
        for batch in batches(dict.fromkeys(tubes)):
            self._wire.write(b"".join([b"stats-tube %b\r\n" % name.encode() for name in batch]))
            stats.update({name: self.take_tube_stats(name) for name in batch})
        return stats

    def server_stats(self) -> ServerStats:
        """Return what the server counts."""
        self._wire.write(b"stats\r\n")
        found = islice(_FIGURE.finditer(self._take_document()), _FIGURES_MOST)
        return ServerStats({each[1].decode(): _number(each[2]) for each in found})

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

    def _take_tube(self, name: str) -> TubeCounters:
        try:
            found = _TUBE.match(self._take_document())
        except NotFoundError:
            return TubeCounters(name)
        if found is None:
            raise unexpected_answer("counters of a tube")
        return TubeCounters(name, *map(int, found.groups()))

    def _use(self, tube: str) -> None:
        self._wire.write(b"use %b\r\n" % tube.encode("ascii"))
        self._wire.take_line(USING)
        self.used = tube

    def _send_for_each(self, command: bytes, tubes: Iterable[str]) -> None:
        """Send `watch` or `ignore` for each of these tubes, many in one write."""
        refused = None
        for batch in batches(tubes):
            self._wire.write(b"".join([b"%b %b\r\n" % (command, tube.encode("ascii")) for tube in batch]))
            for _ in batch:
                try:
                    self._wire.take_line(_WATCHING)
                except RefusedError as error:  # the answers to the other commands follow
                    refused = error
            if refused is not None:
                raise refused

    def _take_list(self) -> list[str]:
        """Take an answer that is a list of tubes. It is never empty, as there always is a tube `default`."""
        names = [name.decode() for name in _LISTED.findall(self._take_document())]
        if not names:
            raise unexpected_answer("a list of tubes")
        return names

    def _take_document(self) -> bytes:
        """Take an answer that is a list or a set of counters, and return its text."""
        size = int(self._wire.take_line(_OK)[1])
        document = self._wire.take_body(size) if size <= _DOCUMENT_MAX else None
        if document is None:
            raise unexpected_answer("a body")
        return document


def batches(items: Iterable[Item], most: int = PIPELINE_MOST) -> Iterator[Sequence[Item]]:
    """Yield the items in lists of at most so many."""
    left = iter(items)
    while batch := list(islice(left, most)):
        yield batch


def _number(figure: bytes) -> int:
    return int(figure) if figure.isdigit() else int(figure == b"true")
