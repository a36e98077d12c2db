"""Which jobs are meant when jobs are kicked or deleted by hand. Pure: no clock, no network."""

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from operator import index
from typing import Final, get_args

from tubeherd.burials.record import BurialRecord
from tubeherd.formats.durations import parse_duration
from tubeherd.formats.tubes import RESERVED, check_tube
from tubeherd.job_options import check_job_id
from tubeherd.policy import BurialKind
from tubeherd.queue.answers import JobCounters
from tubeherd.queue.changing import State

STATES: Final[Sequence[State]] = get_args(State)
_RATE: Final = re.compile(r"([0-9]{1,6}(?:\.[0-9]{1,3})?)/([smh])")
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600}


@dataclass(frozen=True, slots=True)
class Choice:
    """Which jobs are meant: those with these ids, or those of one tube or of all tubes that the rest fits."""

    tube: str | None = None
    """None for all tubes, or if `jobs` are given."""
    jobs: tuple[int, ...] = ()
    states: tuple[State, ...] = ("buried",)
    error: str | None = None
    """Only jobs that were buried because of this: the name of an exception's type, or a kind such as `deadline`."""
    older_than: float = 0
    """Only jobs that were put at least so many seconds ago."""
    count: int | None = None
    """At most so many jobs."""

    def suits(self, seen: JobCounters) -> bool:
        """Return whether a job is one of these, as far as beanstalkd's counters say."""
        return (
            seen.state in self.states
            and seen.age >= self.older_than
            and (self.tube is None or seen.tube == self.tube)
            and not seen.tube.startswith(RESERVED)
        )

    def suits_record(self, record: BurialRecord) -> bool:
        """Return whether a job was buried in one of these tubes because of the error."""
        return (self.tube is None or record.tube == self.tube) and self.error in (error_of(record), record.error)


def choose(
    tube: str | None,
    *,
    all_tubes: bool = False,
    jobs: Iterable[int] | None = None,
    states: Iterable[str] = ("buried",),
    error: str | None = None,
    older_than: str | float | timedelta | None = None,
    count: int | None = None,
) -> Choice:
    """Return the choice; raises ValueError for a value out of range, and for values that make no sense together."""
    if (tube is not None) + all_tubes + (jobs is not None) != 1:
        raise ValueError("say which jobs are meant by one of these alone: a tube, all tubes, or the ids of jobs")
    if jobs is not None and (error, older_than, count) != (None, None, None):
        raise ValueError("the ids name the jobs already: with them, give no error, no age and no count")
    if error is not None and not (isinstance(error, str) and error):
        raise ValueError(f"an error is the name under which tubeherd why lists it, not {repr(error)[:60]}")
    choice = Choice(
        None if tube is None else check_tube(tube),
        () if jobs is None else _ids(jobs),
        _states(states),
        error,
        0 if older_than is None else _age(older_than),
        None if count is None else _count(count),
    )
    if error is not None and choice.states != ("buried",):
        raise ValueError("only buried jobs have an error: with an error, give no other state")
    return choice


def parse_rate(rate: str) -> float:
    """Return how many jobs a second `50/s`, `50/m` or `50/h` means; raises ValueError for 0, and for anything else."""
    found = _RATE.fullmatch(rate) if isinstance(rate, str) else None
    if found is None or float(found[1]) == 0:
        raise ValueError(f"{str(rate)[:60]!r} is no rate: write a number above 0 and /s, /m or /h, such as 50/s")
    return float(found[1]) / _SECONDS[found[2]]


def error_of(record: BurialRecord) -> str:
    """Return why a job was buried, in the word under which `tubeherd why` lists it."""
    return record.error if record.error is not None and record.kind is BurialKind.EXCEPTION else str(record.kind)


def why_not(seen: JobCounters | None, states: Sequence[str]) -> str:
    """Return why a job that was chosen by its id is left alone."""
    if seen is None:
        return "there is no such job"
    if seen.tube.startswith(RESERVED):
        return f"it is in tube {seen.tube}, which is one of Tubeherd's own"
    if seen.state == "reserved":
        return "it is reserved: somebody works on it"
    return f"it is {seen.state}, not {' or '.join(states)}"


def _ids(jobs: Iterable[int]) -> tuple[int, ...]:
    if not isinstance(jobs, Iterable):
        raise ValueError(f"the ids of jobs are given as a list, not as {repr(jobs)[:60]}")
    ids = tuple(dict.fromkeys(map(check_job_id, jobs)))
    if not ids:
        raise ValueError("no ids of jobs are given")
    return ids


def _states(states: Iterable[str]) -> tuple[State, ...]:
    wanted = [states] if isinstance(states, str) else list(states)
    for state in wanted:
        if state not in STATES:
            raise ValueError(f"a state is {', '.join(STATES[:-1])} or {STATES[-1]}, not {str(state)[:60]!r}")
    if not wanted:
        raise ValueError("no states are given")
    return tuple(state for state in STATES if state in wanted)


def _age(older_than: str | float | timedelta) -> float:
    seconds = parse_duration(older_than)
    if not 0 < seconds < math.inf:
        raise ValueError(f"an age is a time longer than 0, not {str(older_than)[:60]!r}")
    return seconds


def _count(count: int) -> int:
    try:
        whole = 0 if isinstance(count, bool) else index(count)
    except TypeError:
        whole = 0
    if whole < 1:
        raise ValueError(f"a count of jobs is a whole number from 1, not {repr(count)[:60]}")
    return whole
