"""What a pool serves, how it is autoscaled, and in which tubes two pools differ in their number of retry delays."""

from dataclasses import dataclass

from tubeherd.policy import DEFAULT_RETRY_DELAYS
from tubeherd.pool import WorkerPoolSpec
from tubeherd_operator.decisions.autoscale import Rule, rule_of


@dataclass(frozen=True, slots=True)
class Served:
    """The tubes that a pool serves, and its number of retry delays."""

    tubes: tuple[str, ...]
    retries: int
    records: bool = True
    """Whether its workers keep records of burials."""
    autoscale: Rule | None = None
    """By what the number of its replicas is chosen; None if the operator does not choose it."""


def served_by(spec: WorkerPoolSpec) -> Served:
    """Return what a pool serves, whether or not its pods run at present."""
    delays = spec.retry.delays if spec.retry else None
    retries = len(DEFAULT_RETRY_DELAYS if delays is None else delays)
    return Served(tuple(spec.tubes), retries, spec.burial_records is not False, rule_of(spec))


def tubes_that_differ(one: Served, other: Served) -> tuple[str, ...]:
    """Return the tubes that two pools of the same beanstalkd serve with different numbers of retry delays."""
    if one.retries == other.retries:
        return ()
    return tuple(sorted({*one.tubes} & {*other.tubes}))
