"""Runs errands on the connection of a poller: finds the buried jobs that a request is about, and kicks or deletes them.

Each job that is deleted, or kicked by its id, is asked for just before: it must be buried in a tube of the pool.
"""

from collections.abc import Iterable
from typing import Final

from tubeherd.burials.reader import read_burials
from tubeherd.burials.record import Burials
from tubeherd.by_hand.changing.changer import Changer
from tubeherd.by_hand.changing.choice import Choice, error_of, why_not
from tubeherd.by_hand.changing.pace import Clock, Comebacks, Pace
from tubeherd.by_hand.changing.whole_tubes import delete_tubes, kick_tubes_by_id
from tubeherd.queue.answers import QueueUnavailable, RefusedError, TubeCounters
from tubeherd.queue.changing import ChangingConnection
from tubeherd.queue.tubes import PIPELINE_MOST
from tubeherd_operator.decisions.errands import Done, Found, Step
from tubeherd_operator.decisions.request_value import Wanted
from tubeherd_operator.decisions.tubes import PoolTubes
from tubeherd_operator.objects import Key

_NAMED: Final = 5
"""So many of the errors that there are a message names."""

_READINGS_MOST: Final = 3
"""How often records are read for one request, if others read them too. Each time takes five seconds then."""


class Runner:
    """Finds, kicks and deletes jobs of one beanstalkd."""

    def __init__(self, server: str) -> None:
        self._server = server
        self._clock = Clock()
        self._chosen: dict[Key, tuple[str, dict[str, list[int]]]] = {}
        """By pool: the error of its request, and by tube the jobs with it that are still to be changed, oldest last."""
        self._comebacks: dict[Key, Comebacks] = {}
        """By pool: what became of the jobs of its slow kick."""

    def forget(self, key: Key) -> None:
        """Forget what was found for a pool."""
        self._chosen.pop(key, None)
        self._comebacks.pop(key, None)

    def forget_all(self) -> None:
        """Forget the jobs of all pools: after a restart of beanstalkd their ids may be those of others."""
        self._chosen, self._comebacks = {}, {}

    def find(self, connection: ChangingConnection, key: Key, wanted: Wanted) -> Found:
        """Count the buried jobs that a request is about, by tube; raises QueueUnavailable or RefusedError."""
        self.forget(key)
        if wanted.job is not None:
            return _find_job(connection, wanted.job, wanted.tubes)
        tubes = wanted.tubes.among(connection.tube_names() if wanted.tubes.has_globs else ()).tubes
        if wanted.error is not None:
            return self._find_error(key, wanted.error, tubes)
        return Found({name: stats.buried for name, stats in connection.stats_tubes(tubes).items()})

    def run(self, connection: ChangingConnection, key: Key, step: Step) -> Done:
        """Kick or delete buried jobs. After an answer with an error, the connection is of no use any more."""
        done: dict[str, int] = {}
        comebacks = self._comebacks_of(key, step)
        for tube in step.most:
            pace = Pace(None, self._clock)  # the plan has steps rest
            changer = Changer(connection, "kicked" if step.deed == "kick" else "deleted", pace, comebacks)
            changer.left = step.most[tube]
            try:
                changer.look()
                self._change(changer, key, step, tube)
            except (QueueUnavailable, RefusedError) as error:
                lost = tube if changer.done or changer.unsure else None
                return Done(done, lost, describe(self._server, error))
            done[tube] = changer.done
            if comebacks and changer.stopped is not None:
                why = f"{comebacks.buried_again} of the jobs were buried again, and {comebacks.done} were done"
                return Done(done, stopped=why)
        return Done(done)

    def _comebacks_of(self, key: Key, step: Step) -> Comebacks | None:
        is_slow_kick = step.slowly and step.deed == "kick"
        return self._comebacks.setdefault(key, Comebacks(self._clock)) if is_slow_kick else None

    def _change(self, changer: Changer, key: Key, step: Step, tube: str) -> None:
        most = step.most[tube]
        if changer.stopped is not None:
            return
        if step.job is not None:
            _change_buried(changer, [step.job], tube)
        elif step.error is not None:
            ids = self._chosen_in(tube, key, step.error, step.most)
            _change_buried(changer, [ids.pop() for _ in range(min(most, len(ids)))], tube)
        elif step.deed == "discard":
            delete_tubes(changer, [TubeCounters(tube, buried=most)], ["buried"], in_order=step.in_order)
        elif step.slowly:
            kick_tubes_by_id(changer, [TubeCounters(tube, buried=most)])
        else:
            changer.kick(tube, most)

    def _chosen_in(self, tube: str, key: Key, error: str, tubes: Iterable[str]) -> list[int]:
        """Return the jobs of a tube that are still to be changed; `tubes` are all of the present step."""
        known, chosen = self._chosen.get(key, (error, {}))
        if known != error:
            chosen = {}
        if tube not in chosen:  # another process began it, or the connection broke since
            chosen = chosen | _choose(error, [each for each in tubes if each not in chosen], self._read())
            self._chosen[key] = error, chosen
        return chosen[tube]

    def _find_error(self, key: Key, error: str, tubes: Iterable[str]) -> Found:
        burials = self._read()
        chosen = _choose(error, tubes, burials)
        self._chosen[key] = error, chosen
        if any(chosen.values()):
            return Found({tube: len(ids) for tube, ids in chosen.items()})
        others = dict.fromkeys(error_of(record) for record in burials.records if record.tube in chosen)
        return Found({}, refused=_no_such_error(list(others), burials.read_elsewhere))

    def _read(self) -> Burials:
        """Read the records, a few times if others hold some of them, as this operator does itself at its start."""
        for _ in range(_READINGS_MOST):
            burials = read_burials(self._server, with_tracebacks=False)  # those of 10,000 records take 30 MiB
            if not burials.read_elsewhere:
                break
        return burials


def describe(server: str, error: Exception) -> str:
    """Return why a beanstalkd could not be asked."""
    message = str(error) or f"beanstalkd answered {type(error).__name__}"
    return message if server in message else f"{server}: {message}"


def _find_job(connection: ChangingConnection, job: int, tubes: PoolTubes) -> Found:
    (seen,) = connection.jobs([job])
    if seen is None or seen.state != "buried":
        return Found({}, refused=why_not(seen, ["buried"]))
    if seen.tube not in tubes:
        return Found({}, refused=f"the job is in tube {seen.tube}, not in {tubes.in_words}")
    return Found({seen.tube: 1})


def _choose(error: str, tubes: Iterable[str], burials: Burials) -> dict[str, list[int]]:
    """Return the buried jobs of each tube that have this error, those that were buried last first."""
    choice = Choice(error=error)
    chosen: dict[str, list[int]] = {tube: [] for tube in tubes}
    for record in burials.records:
        if record.tube in chosen and choice.suits_record(record):
            chosen[record.tube].append(record.job)
    return chosen


def _change_buried(changer: Changer, ids: list[int], tube: str) -> None:
    """Kick or delete those of the jobs that are buried in this tube."""
    for start in range(0, len(ids), PIPELINE_MOST):
        seen = changer.connection.jobs(ids[start : start + PIPELINE_MOST])
        changer.change({job.id: tube for job in seen if job and (job.tube, job.state) == (tube, "buried")})


def _no_such_error(others: list[str], unseen: int) -> str:
    message = "no buried job has this error"
    if unseen:
        return f"{message} in the records that could be read; {unseen} are being read elsewhere: try again"
    named = [*others[:_NAMED], *(["others"] if len(others) > _NAMED else [])]
    if not named:
        return f"{message}, nor is any record of a burial there"
    return f"{message}; known errors: {', '.join(named)}"
