"""What a pool serves, how it is autoscaled, and in which tubes two pools differ in their number of retry delays."""

from collections.abc import Iterable
from dataclasses import dataclass

from tubeherd.policy import DEFAULT_RETRY_DELAYS
from tubeherd.pool import WorkerPoolSpec
from tubeherd_operator.decisions.autoscale import Rule, rule_of
from tubeherd_operator.decisions.tubes import PoolTubes


@dataclass(frozen=True, slots=True)
class Served:
    """The tubes that a pool serves, and its number of retry delays."""

    tubes: PoolTubes
    retries: int
    records: bool = True
    """Whether its workers keep records of burials."""
    autoscale: Rule | None = None
    """By what the number of its replicas is chosen; None if the operator does not choose it."""


def served_by(spec: WorkerPoolSpec) -> Served:
    """Return what a pool serves, whether or not its pods run at present."""
    delays = spec.retry.delays if spec.retry else None
    retries = len(DEFAULT_RETRY_DELAYS if delays is None else delays)
    return Served(tubes_of(spec), retries, spec.burial_records is not False, rule_of(spec))


def tubes_of(spec: WorkerPoolSpec) -> PoolTubes:
    """Return the tubes that a pool serves."""
    return PoolTubes(tuple(spec.tubes), tuple(spec.exclude_tubes or ()))


def tubes_that_differ(one: Served, other: Served, there: Iterable[str] = ()) -> tuple[str, ...]:
    """Return the tubes that two pools of the same beanstalkd serve with different numbers of retry delays.

    Those that globs of both match are found among the tubes that are `there`.
    """
    if one.retries == other.retries:
        return ()
    tubes = {*one.tubes.named, *other.tubes.named, *there}
    return tuple(sorted(tube for tube in tubes if tube in one.tubes and tube in other.tubes))
