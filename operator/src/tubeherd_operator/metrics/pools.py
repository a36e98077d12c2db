"""The metrics of pools. Several pools may serve the same tubes; each then shows all jobs of these tubes."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from prometheus_client.metrics_core import Metric as Family

from tubeherd.by_hand.changing.choice import error_of
from tubeherd.formats.columns import plain
from tubeherd.formats.text import shortened
from tubeherd.metric_table import Metric
from tubeherd.queue.answers import TubeStats
from tubeherd_operator.decisions.burials import Burials, of_tubes
from tubeherd_operator.metric_table import (
    POOL_BURIED_JOBS,
    POOL_CONDITION,
    POOL_INFO,
    POOL_JOBS,
    POOL_OLDEST_BURIAL,
    POOL_REPLICAS,
    POOL_REPLICAS_READY,
    POOL_REPLICAS_WANTED,
    POOL_SUSPENDED,
    POOL_TUBE_INFO,
)
from tubeherd_operator.objects import Key, Object
from tubeherd_operator.queues.figures import ServerFigures

TUBES_MOST: Final = 10
"""A pool with more tubes is not shown with each of them."""
_ERRORS_MOST: Final = 10
"""So many reasons why jobs of a pool are buried are shown; the others are counted together."""
_ERROR_LENGTH: Final = 100
"""In characters. Whoever fails a job chooses the name of the error."""
_OTHER: Final = ("other", "other")
_STATES: Final = ("ready", "reserved", "delayed", "buried")
_CONDITION: Final = {"True": 1, "False": 0, "Unknown": -1}


@dataclass(frozen=True, slots=True)
class KnownPool:
    """A pool, as far as it is known without asking anybody."""

    key: Key
    stored: Object
    replicas_wanted: int | None
    """Those of its Deployment; None if it has none."""
    server: str
    """host:port of its beanstalkd; empty if it has none."""
    tubes: tuple[str, ...]
    jobs: tuple[int, ...] | None
    """Ready, reserved, delayed and buried; None if they are not known at present."""
    burials: Burials | None
    """Why jobs are buried in its tubes; None if it is not known."""


def known_pools(
    pools: Iterable[tuple[Object, Object | None, Burials | None]], servers: Sequence[ServerFigures]
) -> list[KnownPool]:
    """Return what is known of pools, each given with its Deployment and its burials, if it has any."""
    figures_of = {key: figures for figures in servers for key in figures.pools}
    sums: dict[tuple[str, tuple[str, ...]], tuple[int, ...]] = {}  # many pools may have the same tubes
    known = []
    for stored, deployment, burials in pools:
        key = Key(stored["metadata"]["namespace"], stored["metadata"]["name"])
        figures = figures_of.get(key)
        tubes = figures.pools[key] if figures else None
        wanted = None if deployment is None else int(deployment["spec"].get("replicas", 1))
        jobs = None
        if figures and figures.is_up and tubes is not None:
            if (figures.server, tubes) not in sums:
                sums[figures.server, tubes] = _sum(figures.tubes, tubes)
            jobs = sums[figures.server, tubes]
            burials = burials and of_tubes(burials, [tube for tube in tubes if figures.tubes[tube].buried])
        server = figures.server if figures else ""
        known.append(KnownPool(key, stored, wanted, server, tubes or (), jobs, burials if jobs else None))
    return known


def families(pools: Sequence[KnownPool]) -> Iterator[Family]:
    """Yield what is known of these pools."""
    yield POOL_INFO.of(((*pool.key, pool.server), 1) for pool in pools)
    yield POOL_TUBE_INFO.of(((*pool.key, pool.server, tube), 1) for pool, tube in _shown_tubes(pools))
    yield POOL_JOBS.of(
        ((*pool.key, state), count)
        for pool in pools
        if pool.jobs
        for state, count in zip(_STATES, pool.jobs, strict=True)
    )
    yield _number(POOL_REPLICAS_WANTED, ((pool, pool.replicas_wanted) for pool in pools))
    yield _number(POOL_REPLICAS, ((pool, _status(pool).get("replicas", 0)) for pool in pools))
    yield _number(POOL_REPLICAS_READY, ((pool, _status(pool).get("readyReplicas", 0)) for pool in pools))
    yield _number(POOL_SUSPENDED, ((pool, _is_suspended(pool)) for pool in pools))
    yield POOL_CONDITION.of(
        ((*pool.key, condition["type"]), _CONDITION[condition["status"]])
        for pool in pools
        for condition in _status(pool).get("conditions", [])
    )
    yield POOL_BURIED_JOBS.of(
        ((*pool.key, kind, error), count)
        for pool in pools
        if pool.burials
        for (kind, error), count in _by_error(pool.burials).items()
    )
    yield POOL_OLDEST_BURIAL.of(
        (pool.key, min(group.first for group in pool.burials.groups).timestamp())
        for pool in pools
        if pool.burials and pool.burials.groups
    )


def tubes_left_out(pools: Sequence[KnownPool]) -> int:
    """Return of how many pools `families` does not show all tubes."""
    return sum(len(pool.tubes) > TUBES_MOST for pool in pools)


def _shown_tubes(pools: Sequence[KnownPool]) -> Iterator[tuple[KnownPool, str]]:
    """Yield the tubes of each pool with few, and of others those that a suspended pool with few serves too.

    Otherwise it could not be seen that such a tube is not one of suspended pools alone.
    """
    few = [pool for pool in pools if len(pool.tubes) <= TUBES_MOST]
    suspended = {(pool.server, tube) for pool in few if _is_suspended(pool) for tube in pool.tubes}
    for pool in pools:
        for tube in pool.tubes:
            if len(pool.tubes) <= TUBES_MOST or (pool.server, tube) in suspended:
                yield pool, tube


def _is_suspended(pool: KnownPool) -> bool:
    return pool.stored.get("spec", {}).get("suspend") is True


def _number(metric: Metric, values: Iterable[tuple[KnownPool, float | None]]) -> Family:
    return metric.of((pool.key, value) for pool, value in values if value is not None)


def _status(pool: KnownPool) -> Mapping[str, Any]:
    status: Mapping[str, Any] = pool.stored.get("status", {})
    return status


def _sum(counted: Mapping[str, TubeStats], tubes: Sequence[str]) -> tuple[int, ...]:
    found = [counted[tube] for tube in tubes]
    return (
        sum(tube.ready for tube in found),
        sum(tube.reserved for tube in found),
        sum(tube.delayed for tube in found),
        sum(tube.buried for tube in found),
    )


def _by_error(burials: Burials) -> dict[tuple[str, str], int]:
    """Return how many jobs are buried for the most frequent reasons, and for all others together."""
    counts: Counter[tuple[str, str]] = Counter()
    for group in burials.groups:
        counts[str(group.kind), shortened(plain(error_of(group.sample)), _ERROR_LENGTH)] += group.count
    shown = dict(counts.most_common(_ERRORS_MOST))
    others = counts.total() - sum(shown.values())
    return shown | ({_OTHER: others} if others else {})
