"""Talks to one beanstalkd: counts the jobs in its tubes, and has `running` find, kick and delete buried jobs.

Each beanstalkd has a thread of its own, so that one that hangs holds up nothing but its own pools. Whoever wants
jobs kicked or deleted leaves an errand, and is called when the answer is there.
"""

import random
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from tubeherd.logs import log
from tubeherd.queue.answers import QueueUnavailable, RefusedError, TubeStats
from tubeherd.queue.changing import ChangingConnection, connect_to_change
from tubeherd.queue.server import whole_address
from tubeherd_operator.decisions.autoscale import Moment, Rule, Scaling, begin
from tubeherd_operator.decisions.counts import Counts, is_due
from tubeherd_operator.decisions.errands import Done, Errand, Find, Found
from tubeherd_operator.decisions.tubes import Chosen, PoolTubes
from tubeherd_operator.objects import Key
from tubeherd_operator.queues.figures import ServerFigures
from tubeherd_operator.queues.ready_ages import ReadyAges
from tubeherd_operator.queues.running import Runner, describe

_BACKOFF_MOST: Final = 15.0
_BURIED: Final = "current-jobs-buried"
_PAUSES: Final = 4
"""A pause is so many times as long as the look before it, if that is longer than the interval.

beanstalkd takes the longer for each tube the more tubes it has.
"""


@dataclass(frozen=True, slots=True)
class _Look:
    """What was found when beanstalkd was asked last, for all pools."""

    error: str | None
    known: Mapping[PoolTubes, Counts] = field(default_factory=dict)
    """What is known of the tubes of each pool. It is the very value of the look before if nothing has changed."""
    counted: Mapping[str, TubeStats] = field(default_factory=dict)
    marks: tuple[int, ...] | None = None
    """The marks of the server before the tubes were counted: while they are the same, no tube need be asked for.

    None if that does not hold, because no mark shows the end of a tube's pause, or because the server lacks one.
    """
    pools: Mapping[Key, "_Watched"] | None = None
    """The pools for which it was asked: this very dictionary."""

    def failed(self, error: str) -> "_Look":
        """Return this look after one that failed: the counts stay known, so that the status can be repaired."""
        if error == self.error:
            return self
        return replace(
            self, error=error, known={tubes: replace(each, error=error) for tubes, each in self.known.items()}
        )

    def found(self, tubes: PoolTubes) -> Counts | None:
        """Return what is known of these tubes; None if they were not counted."""
        if known := self.known.get(tubes):
            return known
        if tubes.has_globs or any(tube not in self.counted for tube in tubes.named):
            return Counts(error=self.error) if self.error else None
        return _counts(tubes.among(()), self.counted, self.error)


@dataclass(slots=True)
class _Watched:
    """The tubes of a pool, and the counts of these tubes that the pool was last given."""

    tubes: PoolTubes
    rule: Rule | None
    scaling: Scaling | None
    """None if the pool is not autoscaled."""
    given: Counts | None = None
    given_at: float = 0.0


class Poller:
    """Counts the jobs of one beanstalkd, and runs errands, in its own thread, while any pool has tubes there."""

    def __init__(
        self,
        server: str,
        interval: float,
        changed: Callable[[Key], None],
        buried: Callable[[], None] = lambda: None,
    ) -> None:
        """Begin to look every `interval` seconds whether anything has changed, and to count the tubes if so.

        `changed` is called with a pool that was given new counts, or whose errand was answered. `buried` is called
        before that if more jobs are buried than at the last look.
        """
        self._server = server
        self._interval = interval
        self._changed = changed
        self._buried = buried
        # The dictionary is replaced and never changed, because the poller's thread may be iterating over it.
        self._watched: dict[Key, _Watched] = {}
        self._look: _Look | None = None
        self._at_rest: tuple[_Look, Mapping[Key, _Watched]] | None = None
        """The look and the pools after which nothing is left to be given, until there is another of either."""
        self._connection: ChangingConnection | None = None
        self._errands: dict[Key, Errand] = {}
        self._lock = threading.Lock()
        """For the errands."""
        self._runner = Runner(server)
        self._stats: Mapping[str, int] = {}
        self._ready_ages = ReadyAges()
        self._wake = threading.Event()
        self._ended = False
        threading.Thread(target=self._run, name=f"poller {server}", daemon=True).start()

    def watch(self, key: Key, tubes: PoolTubes, rule: Rule | None = None, replicas: int = 0) -> None:
        """Count these tubes for a pool, and give it at once what is already known of them.

        If there is a `rule`, the pool is autoscaled from now on, and has so many `replicas` at first.
        """
        watched = self._watched.get(key)
        if watched is None or (watched.tubes, watched.rule) != (tubes, rule):
            now = _now()
            new = _Watched(tubes, rule, begin(rule, replicas, now) if rule else None)
            new.given, new.given_at = self._found(new, now), now.clock
            self._watched = {**self._watched, key: new}
            self._wake.set()

    def forget(self, key: Key) -> bool:
        """Drop a pool, and return whether it was the last one. The poller then ends."""
        self._watched = {other: watched for other, watched in self._watched.items() if other != key}
        self.give(key, None)
        self._runner.forget(key)
        self._ended = not self._watched
        self._wake.set()
        return self._ended

    def counts(self, key: Key) -> Counts | None:
        """Return the counts that a pool was last given; None if its tubes have not been counted yet."""
        return self._watched[key].given

    def figures(self) -> ServerFigures:
        """Return what is known of the server, for the metrics."""
        look, watched, server = self._look, self._watched, whole_address(self._server)
        if look is None or look.error is not None:
            return ServerFigures(server, dict.fromkeys(watched), None if look is None else False)
        known = {tubes: tuple(counts.tubes) for tubes, counts in look.known.items()}
        pools = {key: known.get(each.tubes) for key, each in watched.items()}
        # While the server rests, the last look also has the tubes of pools that were deleted since.
        served = {tube for tubes in pools.values() for tube in tubes or ()}
        tubes = {name: tube for name, tube in look.counted.items() if name in served}
        ages = {name: age for name, age in self._ready_ages.ready_for().items() if name in served}
        return ServerFigures(server, pools, True, self._stats, tubes, ages)

    def give(self, key: Key, errand: Errand | None) -> None:
        """Have an errand run for a pool; it takes the place of the one before."""
        with self._lock:
            if errand is None:
                self._errands.pop(key, None)
            else:
                self._errands[key] = errand
                self._wake.set()

    def errand(self, key: Key) -> Errand | None:
        """Return the errand that a pool was given last."""
        with self._lock:
            return self._errands.get(key)

    def _run(self) -> None:
        backoff = self._interval
        while not self._ended:
            failure = self._run_errands() or self._failure_to_connect()
            began = time.monotonic()
            look = self._ask() if failure is None else _Look(failure)
            failure = look.error
            self._look = self._look.failed(failure) if failure and self._look else look
            pause = max(self._interval, (time.monotonic() - began) * _PAUSES)
            backoff = min(backoff * 2, _BACKOFF_MOST) if failure else pause
            self._give_counts(_now())
            if failure:
                self._refuse_errands(failure)
            self._wake.wait(random.uniform(0.5, 1) * backoff if failure else backoff)  # noqa: S311 - spreads reconnects
            self._wake.clear()  # before the next look at what there is to do, so that nothing is missed
        self._disconnect()

    def _run_errands(self) -> str | None:
        """Run what waits, one after the other; return why beanstalkd cannot be asked any more."""
        for key, errand in self._waiting():
            if self.errand(key) is not errand:
                continue  # the pool has gone, or wants something else
            answer = self._answer(key, errand)
            self._note(key, errand, answer)
            if answer.error is not None:
                return answer.error
        return None

    def _refuse_errands(self, failure: str) -> None:
        """Answer what waits, because beanstalkd cannot be asked. No command was sent for it."""
        for key, errand in self._waiting():
            self._note(key, errand, _nothing(errand, failure))

    def _waiting(self) -> list[tuple[Key, Errand]]:
        with self._lock:
            return [(key, errand) for key, errand in self._errands.items() if errand.answer is None]

    def _note(self, key: Key, errand: Errand, answer: Found | Done) -> None:
        with self._lock:
            is_wanted = self._errands.get(key) is errand
            if is_wanted:
                self._errands[key] = replace(errand, answer=answer)
        if is_wanted:
            self._changed(key)
        else:
            self._runner.forget(key)

    def _answer(self, key: Key, errand: Errand) -> Found | Done:
        try:
            connection = self._connected()
            if isinstance(errand.work, Find):
                return self._runner.find(connection, key, errand.work.wanted)
            done = self._runner.run(connection, key, errand.work)
        except (QueueUnavailable, RefusedError) as error:
            self._disconnect()
            return _nothing(errand, describe(self._server, error))
        except Exception as error:  # whatever it is, the poller goes on, and nothing is done twice because of it
            log.error(f"a request broke off: {error!r}", pool=str(key), server=self._server)
            self._disconnect()
            failure = describe(self._server, error)
            return Found({}, failure) if isinstance(errand.work, Find) else Done({}, lost="*", error=failure)
        if done.error is not None:
            self._disconnect()
        return done

    def _failure_to_connect(self) -> str | None:
        """Connect, and return why that failed. A slow resolver of names is no reason to ask beanstalkd more rarely."""
        try:
            self._connected()
        except Exception as error:  # whatever it is, the poller goes on and the pools' conditions show it
            return describe(self._server, error)
        return None

    def _ask(self) -> _Look:
        before, pools = self._look or _Look(None), self._watched
        try:
            connection = self._connected()
            connection.leave_tube()
            stats = connection.server_stats()
            if stats.figures.get(_BURIED, 0) > self._stats.get(_BURIED, 0):
                self._buried()
            self._stats, marks = stats.figures, stats.marks
            rests = marks is not None and marks == before.marks and before.error is None
            if rests and pools is before.pools:
                self._ready_ages.look(connection, before.counted, rests=True)
                return before
            wanted = {watched.tubes for watched in pools.values()}
            kept = {tubes: each for tubes, each in before.known.items() if tubes in wanted} if rests else {}
            new = wanted - kept.keys()
            names = connection.tube_names() if any(tubes.has_globs for tubes in new) else ()
            chosen = {tubes: tubes.among(names) for tubes in new}
            named = {tube for each in chosen.values() for tube in each.tubes}
            unchanged = {tube: before.counted[tube] for each in kept.values() for tube in each.tubes}
            counted = unchanged | connection.stats_tubes(named - unchanged.keys())
            self._ready_ages.look(connection, counted, rests=rests)
        except Exception as error:  # whatever it is, the poller goes on and the pools' conditions show it
            self._disconnect()
            return _Look(describe(self._server, error))
        known = {tubes: _counts(each, counted) for tubes, each in chosen.items()}
        kept |= {tubes: before.known[tubes] for tubes in known if before.known.get(tubes) == known[tubes]}
        is_paused = any(tube.pause for tube in counted.values())  # of its last second, nothing is left
        return _Look(None, known | kept, counted, None if is_paused else marks, pools)

    def _give_counts(self, now: Moment) -> None:
        """Give each pool new counts of its tubes, if `is_due` says that the pool is to show them."""
        look, pools = self._look, self._watched
        if look is None or (self._at_rest and self._at_rest[0] is look and self._at_rest[1] is pools):
            return
        rests = True
        for key, watched in pools.items():
            found = self._found(watched, now)
            if found is not watched.given and found and is_due(watched.given, found, now.clock - watched.given_at):
                watched.given, watched.given_at = found, now.clock
                self._changed(key)
            rests = rests and watched.scaling is None and found == watched.given
        self._at_rest = (look, pools) if rests else None

    def _found(self, watched: _Watched, now: Moment) -> Counts | None:
        """Return what is known of a pool's tubes, and how many replicas they want."""
        known = self._look.found(watched.tubes) if self._look else None
        if known is None or watched.scaling is None:
            return known
        watched.scaling = watched.scaling.after(None if known.error else known.tubes, now)
        return replace(known, scale=watched.scaling.scale)

    def _connected(self) -> ChangingConnection:
        if self._connection is None:
            self._connection = connect_to_change(self._server)
        return self._connection

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.abandon()
            self._connection = None
            self._runner.forget_all()
            self._ready_ages.forget()


def _counts(chosen: Chosen, counted: Mapping[str, TubeStats], error: str | None = None) -> Counts:
    return Counts({tube: counted[tube] for tube in chosen.tubes}, error, chosen.matching)


def _now() -> Moment:
    return Moment(time.monotonic(), time.time())


def _nothing(errand: Errand, failure: str) -> Found | Done:
    """Return the answer to an errand for which nothing was sent."""
    return Found({}, failure) if isinstance(errand.work, Find) else Done({}, error=failure)
