"""Pauses a tube, so that no worker gets a job of it for a time, and ends a pause."""

from datetime import timedelta
from typing import NamedTuple

from tubeherd.formats.tubes import check_tube
from tubeherd.job_options import parse_pause
from tubeherd.queue.answers import TubeCounters
from tubeherd.queue.changing import connect_to_change


class Paused(NamedTuple):
    """A tube before and after it was paused, or after its pause was ended."""

    tube: str
    exists: bool
    """False if beanstalkd has no such tube; a tube exists while it has jobs or a connection uses or watches it."""
    before: TubeCounters
    after: TubeCounters
    """`pause` says for how many seconds it was paused, `pause_left` for how many more it is."""
    dry_run: bool = False


def pause(server: str, tube: str, duration: str | float | timedelta, *, dry_run: bool = False) -> Paused:
    """Pause a tube for this long; raises ValueError for a duration out of range, QueueUnavailable and RefusedError."""
    return _pause(server, check_tube(tube), parse_pause(duration), dry_run)


def resume(server: str, tube: str, *, dry_run: bool = False) -> Paused:
    """End the pause of a tube; raises ValueError, QueueUnavailable and RefusedError."""
    return _pause(server, check_tube(tube), 0, dry_run)


def _pause(server: str, tube: str, seconds: int, dry_run: bool) -> Paused:
    connection = connect_to_change(server)
    try:
        (before,) = connection.tubes([tube])
        exists = before.jobs + before.using + before.watching > 0
        if not dry_run:
            exists = connection.pause(tube, seconds)
        (after,) = connection.tubes([tube])
    finally:
        connection.abandon()
    return Paused(tube, exists, before, after, dry_run)
