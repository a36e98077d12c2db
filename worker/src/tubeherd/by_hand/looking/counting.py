"""Counts the jobs of tubes, and how fast they come and go: two looks at the same counters, some time apart."""

import re
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fnmatch import translate
from typing import Final

from tubeherd.by_hand.looking.looked import Stats
from tubeherd.formats.tubes import RESERVED, TUBE
from tubeherd.queue.answers import TubeCounters
from tubeherd.queue.looking import LookingConnection, connect_to_look
from tubeherd.queue.tubes import ALWAYS_WATCHED

_BATCH: Final = 100
"""How many tubes are counted between two looks at the clock."""


@dataclass(frozen=True, slots=True)
class Rate:
    """How many jobs a second were put into a tube, and deleted from it, as all are that are done."""

    put: float
    deleted: float


def count_tubes(
    connection: LookingConnection,
    patterns: Sequence[str] = (),
    seconds: float | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Stats:
    """Count the tubes whose names match one of the patterns; if there is none, all but Tubeherd's own.

    After so many seconds the rest is not counted: each command takes beanstalkd the longer the more tubes it has, with
    100,000 of them some milliseconds. Raises QueueUnavailable or RefusedError.
    """
    at = clock()
    names = sorted(_chosen(connection.tube_names(), patterns))
    tubes: list[TubeCounters] = []
    while len(tubes) < len(names) and (not tubes or seconds is None or clock() < at + seconds):
        tubes += connection.tubes(names[len(tubes) : len(tubes) + _BATCH])
    counted = tuple(tube for tube in tubes if patterns or not _is_unused(tube))
    return Stats(at, counted, len(names) - len(tubes), connection.server())


def rates(before: Stats, now: Stats) -> dict[str, Rate]:
    """Return the rates of the tubes that were counted both times, by name."""
    seconds = now.at - before.at
    known = {tube.name: tube for tube in before.tubes}
    found = {}
    for tube in now.tubes:
        old = known.get(tube.name)
        # The counters of a tube begin anew if it did not exist for a moment.
        if old is not None and seconds > 0 and tube.total_jobs >= old.total_jobs and tube.deleted >= old.deleted:
            put, deleted = tube.total_jobs - old.total_jobs, tube.deleted - old.deleted
            found[tube.name] = Rate(put / seconds, deleted / seconds)
    return found


def busiest_first(tubes: Iterable[TubeCounters]) -> list[TubeCounters]:
    """Return the tubes sorted by the number of their jobs; of equal ones, first those with workers that wait."""
    return sorted(tubes, key=lambda tube: (-tube.jobs, -tube.waiting, tube.name))


def check_patterns(patterns: Iterable[str]) -> tuple[str, ...]:
    """Return the patterns as they are; raises ValueError for one that can match no tube."""
    checked = tuple(patterns)
    for pattern in checked:
        if not isinstance(pattern, str) or not TUBE.matches(pattern.replace("*", "x").replace("?", "x")):
            raise ValueError(
                f"{str(pattern)[:60]!r} matches no tube: write the name of a tube, or a pattern like 'news*', where * "
                "is any text and ? is any letter"
            )
    return checked


def server_stats(server: str, patterns: Iterable[str] = (), seconds: float | None = None) -> Stats:
    """Count the tubes on the beanstalkd at `host:port`, as `count_tubes` does, on a connection of its own.

    Raises QueueUnavailable or RefusedError, and ValueError for a wrong address or a pattern that can match no tube.
    """
    checked = check_patterns(patterns)
    connection = connect_to_look(server)
    try:
        return count_tubes(connection, checked, seconds)
    finally:
        connection.close()


def _chosen(names: Iterable[str], patterns: Sequence[str]) -> Iterable[str]:
    if not patterns:
        return (name for name in names if not name.startswith(RESERVED))
    # A pattern that does not begin with the reserved word does not match the names that do.
    regex = re.compile("|".join(f"(?:{_regex(pattern)})" for pattern in patterns))
    return (name for name in names if regex.fullmatch(name))


def _regex(pattern: str) -> str:
    words = translate(pattern)
    return words if pattern.startswith(RESERVED) else f"(?!{re.escape(RESERVED)}){words}"


def _is_unused(tube: TubeCounters) -> bool:
    """Return whether this is the tube that always exists, and nobody has used it."""
    return tube.name == ALWAYS_WATCHED and not (tube.jobs or tube.total_jobs or tube.waiting)
