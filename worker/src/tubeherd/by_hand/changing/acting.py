"""Kicks or deletes the jobs of a choice, or counts them in a dry run.

Each job that is not chosen by its tube alone is asked for just before it is changed, because a worker or another person
may have changed it meanwhile.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import islice
from typing import Final

from tubeherd.burials.reader import read_burials
from tubeherd.by_hand.changing.acted import Acted, BrokenOff, Deed, Refused, TubeChange
from tubeherd.by_hand.changing.changer import Changer, never, show_nothing
from tubeherd.by_hand.changing.choice import Choice, error_of, why_not
from tubeherd.by_hand.changing.pace import Clock, Comebacks, Pace
from tubeherd.by_hand.changing.whole_tubes import IN_ORDER, delete_tubes, jobs_in, kick_tubes, kick_tubes_by_id
from tubeherd.by_hand.looking.finding import Search
from tubeherd.formats.tubes import RESERVED
from tubeherd.queue.answers import QueueUnavailable, RefusedError, TubeCounters
from tubeherd.queue.changing import connect_to_change

_WALK_MOST: Final = 1_000_000
"""How many ids are looked at to find the jobs of a tube that are old enough. They take about ten seconds."""


def show_no_count(counted: int, of: int) -> None:
    """Show nothing."""


class Acting:
    """Kicks or deletes the jobs of one choice."""

    def __init__(
        self,
        server: str,
        choice: Choice,
        deed: Deed,
        *,
        rate: float | None = None,
        dry_run: bool = False,
        most: int | None = None,
        stop: Callable[[], bool] = never,
        show: Callable[[Acted], object] = show_nothing,
        show_count: Callable[[int, int], object] = show_no_count,
        clock: Clock | None = None,
    ) -> None:
        """Connect to the beanstalkd at `host:port`, where it is to be done; raises QueueUnavailable.

        `rate` is how many jobs are kicked in a second, for a kick only; None for as fast as possible. `most` is a
        further bound of their number. Once `stop`
        returns true, the rest is left alone. `show` is called now and then with what was done so far, and before that
        `show_count` with how many tubes were counted of how many.
        """
        self._server = server
        self._choice = choice
        self._rate = rate
        self._show_count = show_count
        self._connection = connect_to_change(server)
        clock = clock or Clock()
        comebacks = None if rate is None else Comebacks(clock)
        self._changer = Changer(
            self._connection, deed, Pace(rate, clock), comebacks, dry_run=dry_run, stop=stop, show=show
        )
        self._changer.left = min((bound for bound in (choice.count, most) if bound is not None), default=None)
        self._before: dict[str, TubeCounters] = {}
        """The tubes concerned, as they were at the beginning."""
        self._after: dict[str, TubeCounters] = {}
        self._errors: tuple[str, ...] | None = None
        self._unseen = 0
        self._unfound = 0

    def run(self) -> Acted:
        """Do it, and return what was done; raises BrokenOff. Whatever is raised, `acted` has what was done before."""
        try:
            self._count_tubes()
            if self._changer.stopped is None:
                self._act()
            self._changer.end()
            concerned = [name for name in self._before if self._is_concerned(name)]
            self._after = {tube.name: tube for tube in self._connection.tubes(concerned)}
        except (QueueUnavailable, RefusedError, OSError) as error:
            raise BrokenOff(self.acted(), error) from error
        finally:
            self._connection.abandon()
        return self.acted()

    def acted(self) -> Acted:
        """Return what was done so far."""
        tubes = tuple(
            TubeChange(name, self._changer.done_in[name], before, self._after.get(name))
            for name, before in self._before.items()
            if self._is_concerned(name)
        )
        acted = self._changer.acted()
        return replace(acted, tubes=tubes, errors=self._errors, unseen=self._unseen, unfound=self._unfound)

    def _is_concerned(self, tube: str) -> bool:
        return tube == self._choice.tube or self._changer.done_in[tube] > 0

    def _count_tubes(self) -> None:
        """Count the jobs of the tubes in which jobs can be chosen."""
        choice = self._choice
        if choice.jobs:
            return
        names = self._names()
        for number, tube in enumerate(self._connection.tubes(names), 1):
            self._show_count(number, len(names))
            if self._changer.should_stop():  # with 100,000 tubes it takes minutes to count them
                return
            if tube.name == choice.tube or jobs_in(tube, choice.states):
                self._before[tube.name] = tube

    def _names(self) -> list[str]:
        """Return the names of the tubes in which jobs can be chosen: none if the server has no such job at all."""
        if self._choice.tube is not None:
            return [self._choice.tube]
        server = self._connection.server()
        if not any(getattr(server, state) for state in self._choice.states):
            return []
        return [name for name in self._connection.tube_names() if not name.startswith(RESERVED)]

    def _act(self) -> None:
        choice, changer, tubes = self._choice, self._changer, self._before.values()
        if choice.jobs:
            changer.plan(len(choice.jobs))
            self._change_listed(choice.jobs)
        elif choice.error is not None:
            ids = self._with_error()
            changer.plan(len(ids))
            self._change_listed(ids)
        elif choice.older_than:
            self._change_listed(self._old_enough())
        else:
            changer.plan(sum(jobs_in(tube, choice.states) for tube in tubes))
            if changer.dry_run:
                self._count_whole(tubes)
            elif changer.deed == "deleted":
                delete_tubes(changer, tubes, choice.states, in_order=choice.count is not None)
            elif self._rate is None:
                kick_tubes(changer, tubes)
            else:
                kick_tubes_by_id(changer, tubes)

    def _count_whole(self, tubes: Iterable[TubeCounters]) -> None:
        for tube in tubes:
            self._changer.count(tube.name, min(jobs_in(tube, self._choice.states), self._changer.left or 0))

    def _with_error(self) -> list[int]:
        """Return the ids of the jobs that were buried because of the chosen error, those buried first at the beginning.

        If there is none, though jobs are buried, note the errors that there are.
        """
        burials = read_burials(self._server, self._choice.tube)
        self._unseen = burials.read_elsewhere
        ids = [record.job for record in reversed(burials.records) if self._choice.suits_record(record)]
        if not ids and any(jobs_in(tube, self._choice.states) for tube in self._before.values()):
            self._errors = tuple(dict.fromkeys(error_of(group.sample) for group in burials.groups))
        return ids

    def _old_enough(self) -> Iterator[int]:
        """Yield the ids of the jobs that are old enough."""
        for tube in list(self._before.values()):
            for state in IN_ORDER:
                if state not in self._choice.states or not jobs_in(tube, [state]):
                    continue
                search = Search(self._connection, tube.name, state, None, _WALK_MOST)
                yield from (job.counters.id for job in search if self._choice.suits(job.counters))
                self._unfound += max(0, search.counted - search.found)

    def _change_listed(self, job_ids: Iterable[int]) -> None:
        """Change the jobs with these ids, as far as they still are such as were chosen."""
        ids = iter(job_ids)
        while (most := self._changer.may_change()) and (batch := list(islice(ids, most))):
            self._change_chosen(batch)

    def _change_chosen(self, job_ids: list[int]) -> None:
        choice, changer = self._choice, self._changer
        chosen: dict[int, str] = {}
        for job_id, seen in zip(job_ids, self._connection.jobs(job_ids), strict=True):
            if seen is not None and choice.suits(seen):
                chosen[job_id] = seen.tube
            elif choice.jobs:
                changer.refused.append(Refused(job_id, why_not(seen, choice.states)))
            else:
                changer.missed += 1
        new = [tube for tube in dict.fromkeys(chosen.values()) if tube not in self._before]
        self._before |= {tube.name: tube for tube in self._connection.tubes(new)}
        changer.change(chosen, by_id=bool(choice.jobs))
