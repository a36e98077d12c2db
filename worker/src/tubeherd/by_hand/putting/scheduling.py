"""Puts the jobs of the command `tubeherd schedule`, and puts into words what was put and how to go on."""

import time
from collections.abc import Callable
from typing import Any, Final

from tubeherd.by_hand.putting.feeding import Feed, Item, put_in_words, refusal_in_words
from tubeherd.by_hand.putting.lines import Lines, WrongLine
from tubeherd.by_hand.putting.putting import put_options
from tubeherd.by_hand.putting.unwatched import unwatched_in_words
from tubeherd.formats.tubes import check_tube
from tubeherd.job_options import parse_delay
from tubeherd.queue.answers import BuriedError
from tubeherd.queue.connection import connect
from tubeherd.queue.looking import connect_to_look

_WRONG_SHOWN: Final = 20
"""So many wrong lines are named by a dry run."""


class Schedule:
    """One call of the command: one payload, or the lines of a file, for one tube."""

    def __init__(
        self, server: str, tube: str, *, delay: str, priority: int, ttr: str, skip: int = 0, dry_run: bool = False
    ) -> None:
        """Connect to `server`, which is `host:port`. The first `skip` lines are left out.

        Raises QueueUnavailable, RefusedError, and ValueError for a value that makes no sense.
        """
        self.tube: Final = check_tube(tube)
        options = put_options(delay, priority, ttr)
        looking = connect_to_look(server)
        try:
            self.warning: Final = unwatched_in_words(looking, tube)
            """Why the jobs may wait for ever; None if they should not."""
        finally:
            looking.close()
        connection = connect(server)
        if not dry_run:
            connection.begin_puts(tube)
        self._last_id: int | None = None
        self._feed = Feed(
            connection,
            priority=options.priority,
            delay=lambda: parse_delay(options.delay, time.time()),
            ttr=options.ttr,
            note=self._note,
        )
        self._skip = skip
        self._dry_run = dry_run
        self._one = False
        self._fitting = 0
        """How many payloads a dry run has found that would be put."""
        self._wrong: list[str] = []
        self._wrong_count = 0

    @property
    def put(self) -> int:
        """How many jobs were put, as beanstalkd has answered; in a dry run, how many would be put."""
        return self._fitting if self._dry_run else self._feed.put

    def put_one(self, body: bytes) -> None:
        """Put one payload, which is JSON; raises QueueUnavailable, and in a dry run ValueError if it is too big."""
        self._one = True
        if self._dry_run:
            self._fitting = int(len(body) <= self._feed.max_job_size)
            if not self._fitting:
                raise ValueError(f"the payload is too big: this beanstalkd takes {self._feed.max_job_size} bytes")
        else:
            self._feed.run([Item(1, body)])

    def put_lines(self, fd: int, stop_fd: int, note: Callable[[int], object]) -> None:
        """Put a job for each line that a descriptor gives; see `Lines` for `stop_fd` and `note`.

        Raises QueueUnavailable, Stopped, Unreadable and WrongLine; a dry run goes on after a wrong line.
        """
        most = self._feed.max_job_size
        if self._dry_run:
            lines = Lines(fd, most, self._skip, stop_fd, wrong=self._note_wrong, note=note)
            self._fitting = 0
            for item in lines:
                if not self._wrong:  # the first wrong line would stop a real run
                    self._fitting += item is not None
            if self._wrong:
                more = self._wrong_count - len(self._wrong)
                raise WrongLine("\n".join([*self._wrong, *([f"and {more} more lines"] if more else [])]))
        elif (raised := self._feed.run(Lines(fd, most, self._skip, stop_fd, note=note))) is not None:
            raise raised

    # What became of it, in words

    def refused(self) -> str | None:
        """Return why beanstalkd has refused a job, in words; None if it has refused none."""
        if not self._feed.refused:
            return None
        position, error = self._feed.refused[0]
        what = "the job" if self._one else f"the job of line {position}"
        return f"{what} was refused: {refusal_in_words(error, self._feed.max_job_size)}"

    def done(self) -> str:
        """Return what was done, if nothing has stopped it."""
        if self._dry_run:
            return f"{_jobs(self.put)} would be put into tube {self.tube}"
        if self._one:
            return f"job {self._last_id} put into tube {self.tube}"
        return f"{_jobs(self.put)} put into tube {self.tube}"

    def rest(self) -> str:
        """Return what was done until something has stopped it, and how to go on."""
        if self._dry_run:
            return f"{_jobs(self.put)} would be put" + (" before the first of these lines" if self._wrong else "")
        feed = self._feed
        if self._one and feed.put < feed.at_most:
            return "the job may have been put or not"
        words = put_in_words(feed)
        if not feed.at_most or self._one:
            return words
        if feed.put < feed.at_most:
            more = feed.at_most - feed.put
            return (
                f"{words}. To go on, --skip {feed.last_sent} puts none of them twice, but may leave out up to {more}; "
                f"--skip {self._go_on()} leaves out none, but may put up to {more} twice"
            )
        left_out = "".join(f"; line {line} has to be put by itself" for line in self._left_out())
        return f"{words}. Go on with --skip {self._go_on()}{left_out}"

    def as_json(self, stopped: str | None) -> dict[str, Any]:
        """Return all of that for a program."""
        return {
            "tube": self.tube,
            "dry_run": self._dry_run,
            "put": self._feed.put,
            "at_most": self._feed.at_most,
            "would": self._fitting if self._dry_run else None,
            "job": self._last_id if self._one else None,
            "skip": None if self._one or self._dry_run else self._go_on(),
            "left_out": self._left_out(),
            "error": stopped,
            "warning": self.warning,
        }

    def _go_on(self) -> int:
        return max(self._skip, self._feed.last_put)

    def _left_out(self) -> list[int]:
        """Return the lines of jobs that were refused, though a job behind them was put."""
        refused = self._feed.refused
        return [line for line, error in refused if line < self._feed.last_put and not isinstance(error, BuriedError)]

    def _note(self, job_id: int) -> None:
        self._last_id = job_id

    def _note_wrong(self, error: WrongLine) -> None:
        self._wrong_count += 1
        if len(self._wrong) < _WRONG_SHOWN:
            self._wrong.append(str(error))


def _jobs(count: int) -> str:
    return "1 job" if count == 1 else f"{count} jobs"
