"""Whether all pools that serve a tube have the same number of retry delays.

How often a job has failed is known only from the delay of its last release. The delay shows the right number only to a
worker that has as many retry delays as the one that released the job.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from tubeherd.policy import DEFAULT_RETRY_DELAYS
from tubeherd.pool import WorkerPoolSpec
from tubeherd_operator.decisions.findings import ConditionType, Finding, Reason
from tubeherd_operator.objects import Key

_NAMED: Final = 2
"""How many of the other pools a message names, so that it fits into a condition."""


@dataclass(frozen=True, slots=True)
class Served:
    """The tubes that a pool serves, and its number of retry delays."""

    tubes: tuple[str, ...]
    retries: int


def served_by(spec: WorkerPoolSpec) -> Served:
    """Return what a pool serves, whether or not its pods run at present."""
    delays = spec.retry.delays if spec.retry else None
    return Served(tuple(spec.tubes), len(DEFAULT_RETRY_DELAYS if delays is None else delays))


def tubes_that_differ(one: Served, other: Served) -> tuple[str, ...]:
    """Return the tubes that two pools of the same beanstalkd serve with different numbers of retry delays."""
    if one.retries == other.retries:
        return ()
    return tuple(sorted({*one.tubes} & {*other.tubes}))


def judge_retries(own: Served, others: Mapping[Key, Served]) -> Finding | None:
    """Return the condition RetriesDiffer; None if no other pool of the same beanstalkd differs from this one."""
    differing = [
        f"pool {key} serves tube {_first(tubes)} with {_in_words(others[key].retries)}"
        for key in sorted(others)
        if (tubes := tubes_that_differ(own, others[key]))
    ]
    if not differing:
        return None
    more = len(differing) - _NAMED
    named = [*differing[:_NAMED], *([f"{more} more pools differ"] if more > 0 else [])]
    message = (
        f"{'; '.join(named)}; this pool has {_in_words(own.retries)}: give all pools that serve a tube the same "
        "number in spec.retry.delays, otherwise its jobs may get more or fewer attempts than any pool says"
    )
    return Finding(ConditionType.RETRIES_DIFFER, "True", Reason.RETRIES_DIFFER, message)


def _first(tubes: tuple[str, ...]) -> str:
    return f"{tubes[0]} and {len(tubes) - 1} more" if len(tubes) > 1 else tubes[0]


def _in_words(retries: int) -> str:
    return f"{retries} retry delay{'' if retries == 1 else 's'}"
