"""Kicks or deletes all jobs of tubes that are in some states, without their ids being known before.

beanstalkd names only the first job of a tube in each state. Never more jobs of a tube are changed than it had at the
beginning, so this comes to an end beside producers and workers.
"""

from collections.abc import Iterable, Sequence
from typing import Final

from tubeherd.by_hand.changing.changer import Changer
from tubeherd.queue.answers import TubeCounters
from tubeherd.queue.changing import State
from tubeherd.queue.tubes import PIPELINE_MOST

_MISSES_MOST: Final = 1000
"""So many times in a row others may be faster, until a tube is left as it is."""
IN_ORDER: Final[Sequence[State]] = ("delayed", "ready", "buried")
"""The order in which jobs go from state to state, so that none escapes by that."""


def jobs_in(tube: TubeCounters, states: Iterable[State]) -> int:
    """Return how many jobs of a tube are in one of these states."""
    return sum(int(getattr(tube, state)) for state in states)


def kick_tubes(changer: Changer, tubes: Iterable[TubeCounters]) -> None:
    """Kick as many jobs of each tube as are buried, those first that were buried first."""
    for tube in tubes:
        left = tube.buried
        while left > 0 and (may := changer.may_change()):
            kicked = changer.kick(tube.name, min(may, left))
            if not kicked:
                break
            left -= kicked


def kick_tubes_by_id(changer: Changer, tubes: Iterable[TubeCounters]) -> None:
    """Kick one job after the other, so that it can be looked at what becomes of each."""
    for tube in tubes:
        left = tube.buried
        while left > 0 and changer.may_change():
            job_id = changer.connection.first(tube.name, "buried")
            if job_id is None or changer.came_back(job_id):  # the next one is the first that came back
                break
            changer.change({job_id: tube.name})
            left -= 1


def delete_tubes(changer: Changer, tubes: Iterable[TubeCounters], states: Sequence[State], *, in_order: bool) -> None:
    """Delete as many jobs of each tube as are in these states; if `in_order`, always the next one of a state."""
    for tube in tubes:
        left = jobs_in(tube, states)
        for state in IN_ORDER:
            if state in states:
                left -= _delete(changer, tube.name, state, left, 1 if in_order else PIPELINE_MOST)


def _delete(changer: Changer, tube: str, state: State, most: int, widest: int) -> int:
    """Delete up to `most` jobs of a tube in one state, and return how many.

    With the first job those of the next ids are asked for, because the jobs of a tube often have ids in a row. The
    better that works, the more ids are asked for at once, `widest` at most.
    """
    deleted = misses = 0
    width = 1
    while deleted < most and misses < _MISSES_MOST and (may := changer.may_change()):
        first = changer.connection.first(tube, state)
        if first is None:
            break
        ids = range(first, first + min(width, may, most - deleted))
        seen = changer.connection.jobs(ids)
        chosen = {job.id: tube for job in seen if job is not None and job.tube == tube and job.state == state}
        now = changer.change(chosen)
        deleted += now
        misses = 0 if now else misses + 1
        width = min(widest, 2 * width) if 2 * len(chosen) >= len(ids) else max(1, width // 2)
    return deleted
