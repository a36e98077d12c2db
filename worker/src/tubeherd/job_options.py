"""What people write about a job, as the whole numbers that beanstalkd takes: delay, priority, TTR, and retry delays.

Each kind of value has one function here, which all that takes such a value from a user calls. A duration is text such
as "10 minutes", a number of seconds, or a timedelta. Fractions of a second are rounded up.
"""

import math
from collections.abc import Iterable
from datetime import datetime, timedelta
from operator import index
from typing import Final

from tubeherd.formats.durations import parse_duration
from tubeherd.policy import MAX_DELAY, MAX_PRIORITY, RetrySchedule

MAX_RETRIES: Final = 20
"""The most retry delays that users may give."""


def parse_delay(delay: str | float | timedelta | datetime, now: float) -> int:
    """Return a delay in whole seconds; a datetime is counted from `now`, a Unix time, and is 0 if it is past.

    A datetime without a time zone is local time, as everywhere in Python. Raises ValueError for a negative delay, for
    one that beanstalkd cannot hold, and for anything else.
    """
    if isinstance(delay, datetime):
        seconds = unix_time(delay) - now
        return _whole("a delay", 0.0 if seconds < 0 else seconds, 0)
    return _whole("a delay", parse_duration(delay), 0)


def parse_ttr(ttr: str | float | timedelta) -> int:
    """Return a TTR in whole seconds; raises ValueError for 0, for one that beanstalkd cannot hold, and for no duration.

    beanstalkd itself would take 0 and silently make it 1.
    """
    return _whole("a TTR", parse_duration(ttr), 1)


def parse_pause(duration: str | float | timedelta) -> int:
    """Return the duration of a pause in whole seconds; raises ValueError for 0, for too long, and for no duration."""
    return _whole("a pause", parse_duration(duration), 1)


def parse_timeout(timeout: str | float | timedelta) -> float:
    """Return how long a job may run, in seconds; raises ValueError for 0, for more than a TTR, and for no duration."""
    seconds = parse_duration(timeout)
    if not 0 < seconds <= MAX_DELAY:
        raise ValueError(f"a timeout is a time longer than 0 and of at most {MAX_DELAY} seconds, not {seconds:g}")
    return seconds


def check_job_id(job_id: int) -> int:
    """Return the id of a job as it is; raises ValueError for what cannot be one."""
    if isinstance(job_id, bool) or not isinstance(job_id, int) or not 0 < job_id < 2**64:
        raise ValueError(f"the id of a job is a whole number from 1 to {2**64 - 1}, not {repr(job_id)[:60]}")
    return job_id


def check_priority(priority: int) -> int:
    """Return a priority as an int; raises ValueError for one that beanstalkd cannot hold, and for no whole number."""
    try:
        whole = -1 if isinstance(priority, bool) else index(priority)
    except TypeError:
        whole = -1
    if not 0 <= whole <= MAX_PRIORITY:
        raise ValueError(
            f"a priority is from 0 (most urgent) to {MAX_PRIORITY}, a whole number, not {_short(priority)}"
        )
    return whole


def check_reason(reason: str) -> str:
    """Return the reason of a burial as it is; raises ValueError for what is no text, which no record could keep."""
    if not isinstance(reason, str):
        raise ValueError(f"a reason is a text, such as str(error), not {_short(reason)}")
    return reason


def make_schedule(delays: Iterable[str | float | timedelta]) -> RetrySchedule:
    """Return the schedule of these delays; raises ValueError for more than MAX_RETRIES, or for one out of range."""
    if isinstance(delays, str) or not isinstance(delays, Iterable):
        raise ValueError(f"retry delays are a list, such as ['10s', '10m'], not {_short(delays)}")
    seconds = [parse_duration(delay) for delay in delays]
    if len(seconds) > MAX_RETRIES:
        raise ValueError(f"there may be at most {MAX_RETRIES} retry delays, not {len(seconds)}")
    return RetrySchedule.of(seconds)


def unix_time(moment: datetime) -> float:
    """Return a datetime as a Unix time; infinite if it is too near to an end of the calendar to be converted."""
    try:
        return moment.timestamp()
    except (OverflowError, ValueError, OSError):
        return math.inf if moment.year > 1970 else -math.inf


def _whole(what: str, seconds: float, least: int) -> int:
    if not math.isfinite(seconds) or not least <= math.ceil(seconds) <= MAX_DELAY:
        raise ValueError(f"{what} is a time from {least} to {MAX_DELAY} seconds (136 years), not {seconds:g}")
    return math.ceil(seconds)


def _short(value: object) -> str:
    return repr(value)[:60]
