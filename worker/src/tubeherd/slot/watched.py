"""Which tubes a slot watches. If there are globs, it looks every five seconds which tubes the server has.

A tube exists while it has jobs, or while a connection watches or uses it. So a tube that workers have once found by a
glob would never vanish. Therefore a tube that nobody has used for a minute is not watched until it is used again.
"""

import math
import time
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Final, NamedTuple

from tubeherd.formats.text import some_of
from tubeherd.processing.tube_choice import TUBES_MOST, TubeChoice
from tubeherd.queue.answers import TubeCounters
from tubeherd.queue.connection import Connection
from tubeherd.shared_memory.control import Remark
from tubeherd.shared_memory.tally import Tally

_LOOK_SECONDS: Final = 5.0
"""How often to look which tubes there are, in seconds."""
_UNUSED_SECONDS: Final = 60.0
"""For how long a tube has to be unused until it is not watched any more, in seconds."""
_COUNTED_MOST: Final = 50
"""So many of the watched tubes are counted in one look. If there are more, they take turns."""
_COUNTED_IF_FULL: Final = 500
"""The same if too many tubes match: others are found sooner when those that nobody uses vanish sooner."""
_LACKING_MOST: Final = 20
"""So many tubes without an executor a slot names in the log: there may be new ones for as long as it lives."""


class _Use(NamedTuple):
    """When a tube was last seen in use."""

    total_jobs: int
    """How many jobs had been put into it by then; -1 before it was counted."""
    at: float
    """On the monotonic clock."""
    ended: bool = False
    """Whether that is so long ago that the tube is not watched."""

    def after(self, counters: TubeCounters, now: float) -> "_Use":
        """Return what is known after the tube was counted."""
        if counters.jobs or counters.using or counters.total_jobs != self.total_jobs:
            return _Use(counters.total_jobs, now)
        return _Use(self.total_jobs, self.at, now >= self.at + _UNUSED_SECONDS)


class WatchedTubes:
    """The tubes of one slot, which all of its lanes watch."""

    def __init__(
        self,
        choice: TubeChoice,
        remark: Callable[[Remark], None],
        tally: Tally | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`remark` passes on what is to be logged once for the whole worker, `tally` counts the jobs by tube."""
        self.tubes: Sequence[str] = choice.always
        """The tubes to watch now. The sequence is replaced and never changed."""
        self.looks: Final = bool(choice.globs)
        """Whether it depends on the server which tubes are watched."""
        self.timeouts: dict[str, float] = {}
        """By tube, the timeouts of the executors that have one of their own, in seconds."""
        self._choice = choice
        self._remark = remark
        self._tally = tally
        self._clock = clock
        self._looked = -math.inf
        self._lacking: set[str] = set()
        """The tubes without an executor that were named in the log."""
        self._uses: dict[str, _Use] = {}
        """By tube that the globs have found; those that were counted last are last."""
        self._note_executors()

    @property
    def due(self) -> bool:
        """Whether it is time to look."""
        return self.looks and self._clock() >= self._looked + _LOOK_SECONDS

    def seconds_to_wait(self, most: int) -> int:
        """Return how many whole seconds a reserve may wait, at most so many, and no longer than until the next look."""
        if not self.looks:
            return most
        return min(most, max(1, math.ceil(self._looked + _LOOK_SECONDS - self._clock())))

    def look(self, connection: Connection) -> bool:
        """Look which tubes the server has, and return whether others are to be watched than before.

        Raises QueueUnavailable, RefusedError.
        """
        chosen = self._choice.choose(connection.tube_names())
        used = self._used(connection, chosen.tubes, _COUNTED_IF_FULL if chosen.beyond else _COUNTED_MOST)
        self._looked = self._clock()
        if not chosen.tubes and not chosen.lacking:
            globs = some_of(self._choice.globs)
            event = f"no tube matches {globs} yet: the worker looks for one every {_LOOK_SECONDS:g} s"
            self._remark(Remark("none", event, is_warning=False))
        if chosen.beyond:
            count = len(self._choice.always) + len(chosen.tubes) + chosen.beyond
            event = f"{count} tubes match, and a worker takes jobs from {TUBES_MOST} at most: jobs in the others wait"
            self._remark(Remark("beyond", f"{event}; give several workers, or pools, narrower globs"))
        self._name_lacking(chosen.lacking)
        tubes = (*self._choice.always, *used)
        if tubes == self.tubes:
            return False
        self.tubes = tubes
        self._note_executors()
        return True

    def _name_lacking(self, tubes: Sequence[str]) -> None:
        for tube in tubes:
            if len(self._lacking) < _LACKING_MOST and tube not in self._lacking:
                self._lacking.add(tube)
                event = f"tube {tube} matches, and no executor does its jobs, so they wait"
                self._remark(Remark(f"lacking {tube}", f"{event}: write one, or exclude the tube"))

    def _used(self, connection: Connection, tubes: Sequence[str], most: int) -> list[str]:
        """Return these tubes without those that nobody uses; count `most` of those that are watched."""
        now, before, there = self._clock(), self._uses, set(tubes)
        self._uses = {tube: use for tube, use in before.items() if tube in there}
        self._uses |= {tube: _Use(-1, now) for tube in tubes if tube not in before}
        unused = [tube for tube, use in self._uses.items() if use.ended]
        others = (tube for tube, use in self._uses.items() if not use.ended)
        for counters in connection.tubes([*unused, *islice(others, most)]):
            self._uses[counters.name] = self._uses.pop(counters.name).after(counters, now)
        return [tube for tube in tubes if not self._uses[tube].ended]

    def _note_executors(self) -> None:
        """Note the timeouts of the tubes, and under which names their jobs are counted."""
        found = {tube: executor for tube in self.tubes if (executor := self._choice.executor_for(tube)) is not None}
        self.timeouts = {tube: executor.timeout for tube, executor in found.items() if executor.timeout is not None}
        if self._tally is not None:
            always = len(self._choice.always)
            self._tally.count_as({tube: found[tube].name for tube in self.tubes[always:]})
