"""Runs errands on the connection of a poller: finds the buried jobs that a kick is about, and puts them back.

Jobs that are chosen one by one are asked for just before, and kicked only if they are buried in a tube of the pool.
"""

from collections.abc import Iterable
from typing import Final

from tubeherd.burials.reader import read_burials
from tubeherd.burials.record import Burials
from tubeherd.by_hand.changing.choice import Choice, error_of, why_not
from tubeherd.by_hand.changing.pace import Clock, Comebacks
from tubeherd.queue.answers import AnswerLost, QueueUnavailable, RefusedError
from tubeherd.queue.changing import ChangingConnection
from tubeherd.queue.tubes import PIPELINE_MOST
from tubeherd_operator.decisions.errands import Found, PutBack
from tubeherd_operator.decisions.kick_value import Kick
from tubeherd_operator.objects import Key

_NAMED: Final = 5
"""So many of the errors that there are a message names."""


class Runner:
    """Finds and kicks jobs of one beanstalkd; its methods raise QueueUnavailable or RefusedError."""

    def __init__(self, server: str) -> None:
        self._server = server
        self._chosen: dict[Key, tuple[str, dict[str, list[int]]]] = {}
        """By pool: the error of its kick, and by tube the jobs with it that are still to be kicked, the oldest last."""
        self._comebacks: dict[Key, Comebacks] = {}
        """By pool: what became of the jobs of its slow kick."""

    def forget(self, key: Key) -> None:
        """Forget what was found for a pool."""
        self._chosen.pop(key, None)
        self._comebacks.pop(key, None)

    def find(self, connection: ChangingConnection, key: Key, kick: Kick) -> Found:
        """Count the buried jobs that a kick is about, by tube."""
        self.forget(key)
        if kick.job is not None:
            return _find_job(connection, kick.job, kick.tubes)
        if kick.error is not None:
            return self._find_error(key, kick.error, kick.tubes)
        return Found({name: stats.buried for name, stats in connection.stats_tubes(kick.tubes).items()})

    def why_stop(self, connection: ChangingConnection, key: Key) -> str | None:
        """Return why a slow kick is to be stopped; None if it may go on."""
        if (comebacks := self._comebacks.get(key)) is None:
            return None
        comebacks.look(connection.jobs)
        if not comebacks.are_most:
            return None
        return f"{comebacks.buried_again} of the jobs were buried again, and {comebacks.done} were done"

    def put_back(self, connection: ChangingConnection, key: Key, work: PutBack, tube: str) -> int:
        """Put buried jobs of a tube back, and return how many; raises AnswerLost if more may have been."""
        most = work.most[tube]
        if work.job is not None:
            return len(_kick_jobs(connection, [work.job], tube))
        if work.error is None:
            return self._kick_slowly(connection, key, most, tube) if work.slowly else connection.kick_buried(tube, most)
        error, chosen = self._chosen.get(key, (None, {}))
        if error != work.error:  # another process has begun the kick, or the connection broke in the step before
            chosen = self._choose(key, work.error, work.most, read_burials(self._server))
        ids = chosen.get(tube, [])
        batch = [ids.pop() for _ in range(min(most, len(ids)))]
        return self._kick_chosen(connection, key, work, batch, tube)

    def _kick_chosen(self, connection: ChangingConnection, key: Key, work: PutBack, ids: list[int], tube: str) -> int:
        kicked = 0
        try:
            for start in range(0, len(ids), PIPELINE_MOST):
                done = _kick_jobs(connection, ids[start : start + PIPELINE_MOST], tube)
                kicked += len(done)
                if work.slowly:
                    self._note(key, done)
        except (QueueUnavailable, RefusedError) as error:
            self._chosen.pop(key, None)  # those of the jobs that are still buried are found anew
            raise _lost_if(kicked, error) from error
        return kicked

    def _kick_slowly(self, connection: ChangingConnection, key: Key, most: int, tube: str) -> int:
        """Kick one job after the other, so that it can be looked at what becomes of each."""
        kicked = 0
        try:
            while kicked < most:
                job = connection.first(tube, "buried")
                if job is None or self._came_back(key, job):  # the next one is the first that came back
                    break
                done = _kick_jobs(connection, [job], tube)
                kicked += len(done)
                self._note(key, done)
        except (QueueUnavailable, RefusedError) as error:
            raise _lost_if(kicked, error) from error
        return kicked

    def _came_back(self, key: Key, job: int) -> bool:
        return key in self._comebacks and self._comebacks[key].has(job)

    def _note(self, key: Key, jobs: Iterable[int]) -> None:
        comebacks = self._comebacks.setdefault(key, Comebacks(Clock()))
        for job in jobs:
            comebacks.note(job)

    def _find_error(self, key: Key, error: str, tubes: Iterable[str]) -> Found:
        burials = read_burials(self._server)
        chosen = self._choose(key, error, tubes, burials)
        if any(chosen.values()):
            return Found({tube: len(ids) for tube, ids in chosen.items()})
        others = dict.fromkeys(error_of(record) for record in burials.records if record.tube in chosen)
        return Found({}, refused=_no_such_error(list(others), burials.read_elsewhere))

    def _choose(self, key: Key, error: str, tubes: Iterable[str], burials: Burials) -> dict[str, list[int]]:
        choice = Choice(error=error)
        chosen: dict[str, list[int]] = {tube: [] for tube in tubes}
        for record in burials.records:  # those that were buried last come first
            if record.tube in chosen and choice.suits_record(record):
                chosen[record.tube].append(record.job)
        self._chosen[key] = error, chosen
        return chosen


def _find_job(connection: ChangingConnection, job: int, tubes: tuple[str, ...]) -> Found:
    (seen,) = connection.jobs([job])
    if seen is None or seen.state != "buried":
        return Found({}, refused=why_not(seen, ["buried"]))
    if seen.tube not in tubes:
        return Found({}, refused=f"the job is in tube {seen.tube}, not in {' or '.join(tubes)}")
    return Found({seen.tube: 1})


def _lost_if(kicked: int, error: Exception) -> Exception:
    """Return the error that is to be raised after so many jobs were kicked."""
    return AnswerLost(str(error)) if kicked else error


def _kick_jobs(connection: ChangingConnection, ids: list[int], tube: str) -> list[int]:
    """Kick those of the jobs that are buried in this tube, and return them."""
    seen = connection.jobs(ids)
    buried = [job.id for job in seen if job is not None and (job.tube, job.state) == (tube, "buried")]
    try:
        return [job for job, done in zip(buried, connection.kick_jobs(buried), strict=True) if done]
    except QueueUnavailable as error:
        raise AnswerLost(str(error)) from error


def _no_such_error(others: list[str], unseen: int) -> str:
    message = "no buried job has this error"
    if unseen:
        return f"{message} in the records that could be read; {unseen} are being read elsewhere: try again"
    named = [*others[:_NAMED], *(["others"] if len(others) > _NAMED else [])]
    return f"{message}; there are {', '.join(named)}" if named else f"{message}, nor is any record of a burial there"
