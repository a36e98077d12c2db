"""Says of a tube without a job in the states that were asked for what it does hold, or that it does not exist."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Final

from tubeherd.formats.columns import left
from tubeherd.formats.tubes import no_tube
from tubeherd.queue.answers import QueueUnavailable, RefusedError, TubeCounters
from tubeherd.queue.looking import LookingConnection, connect_to_look

INSPECT: Final = "tubeherd inspect {tube} --state {state} shows"
"""What shows the jobs in another state, for commands that themselves do not."""


def note_on_tube(server: str, tube: str, states: Sequence[str], pointer: str = INSPECT) -> str | None:
    """Return a line about a tube that has no job in these states; None if it has, or if beanstalkd does not answer.

    `pointer` says how to get at the jobs in another state, with `{tube}` and `{state}` in it: "--state {state} shows".
    """
    with suppress(QueueUnavailable, RefusedError):
        connection = connect_to_look(server)
        try:
            (counters,) = connection.tubes([tube])
            return in_words(counters, _next_delayed(connection, counters), states, pointer)
        finally:
            connection.close()
    return None


def in_words(tube: TubeCounters, next_delayed: int | None, states: Sequence[str], pointer: str) -> str | None:
    """Return that line. The first of the delayed jobs is ready in `next_delayed` seconds; None if that is not known."""
    if any(getattr(tube, state) for state in states):
        return None
    if not (tube.jobs or tube.watching):
        job = f"; tubeherd inspect --job {tube.name} shows the job with that id" if tube.name.isdecimal() else ""
        return no_tube(tube.name) + job
    if not tube.jobs:
        return None
    others = [state for state in ("delayed", "ready", "reserved", "buried") if getattr(tube, state)]
    how = (INSPECT if others[0] == "reserved" else pointer).format(tube=tube.name, state=others[0])
    them = "it" if getattr(tube, others[0]) == 1 else "them"
    return "; ".join([*_parts(tube, next_delayed), f"{how} {them}"])


def _parts(tube: TubeCounters, next_delayed: int | None) -> Iterator[str]:
    if tube.delayed:
        when = "" if next_delayed is None else f" in {left(next_delayed)}"
        one, many = f"becomes ready by itself{when}", f"become ready by themselves{when and ', the next' + when}"
        yield _said(tube.delayed, "delayed", f"and {one}", f"and {many}")
    if tube.ready:
        who = "a worker takes" if tube.watching else "no worker takes"
        yield _said(tube.ready, "ready", f"and {who} it", f"and {who} them")
    if tube.reserved:
        yield _said(tube.reserved, "reserved", "because a worker is at it", "because workers are at them")
    if tube.buried:
        why = f"and tubeherd why {tube.name} says why"
        yield _said(tube.buried, "buried", why, why)


def _said(count: int, state: str, of_one: str, of_many: str) -> str:
    return f"1 job is {state}, {of_one}" if count == 1 else f"{count:,} jobs are {state}, {of_many}"


def _next_delayed(connection: LookingConnection, tube: TubeCounters) -> int | None:
    """Return in how many seconds the first delayed job is ready; None if there is none any more."""
    peeked = connection.peek_next(tube.name, "delayed") if tube.delayed else None
    if peeked is None:
        return None
    (counters,) = connection.jobs([peeked.id])
    return None if counters is None else counters.time_left
