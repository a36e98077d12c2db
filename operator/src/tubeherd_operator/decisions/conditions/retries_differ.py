"""RetriesDiffer: whether another pool serves one of this pool's tubes with another number of retry delays.

How often a job has failed is known only from the delay of its last release. The delay shows the right number only to a
worker that has as many retry delays as the one that released the job.
"""

from collections.abc import Collection, Mapping
from enum import StrEnum
from typing import Final

from tubeherd_operator.decisions.findings import Finding
from tubeherd_operator.decisions.observation import Observation
from tubeherd_operator.decisions.retries import Served, served_by, tubes_that_differ
from tubeherd_operator.objects import Key

TYPE: Final = "RetriesDiffer"
_NAMED: Final = 2
"""How many of the other pools a message names, so that it fits into a condition."""


class Reason(StrEnum):
    """In what the pools differ."""

    RETRIES_DIFFER = "RetriesDiffer"


def judge(seen: Observation) -> Finding | None:
    """Return the condition; None if no other pool of the same beanstalkd differs from this one."""
    return judge_retries(served_by(seen.pool.spec), seen.others, seen.counts.tubes if seen.counts else ())


def judge_retries(own: Served, others: Mapping[Key, Served], there: Collection[str] = ()) -> Finding | None:
    """Return the condition of a pool that serves `own`, beside the other pools of its beanstalkd.

    `there` are the tubes of the pool that exist.
    """
    differing = [
        f"pool {key} serves tube {_first(tubes)} with {_in_words(others[key].retries)}"
        for key in sorted(others)
        if (tubes := tubes_that_differ(own, others[key], there))
    ]
    if not differing:
        return None
    more = len(differing) - _NAMED
    named = [*differing[:_NAMED], *([f"{more} more pools differ"] if more > 0 else [])]
    message = (
        f"{'; '.join(named)}; this pool has {_in_words(own.retries)}: give all pools that serve a tube the same "
        "number in spec.retry.delays, otherwise its jobs may get more or fewer attempts than any pool says"
    )
    return Finding(TYPE, "True", Reason.RETRIES_DIFFER, message, event="Warning")


def _first(tubes: tuple[str, ...]) -> str:
    return f"{tubes[0]} and {len(tubes) - 1} more" if len(tubes) > 1 else tubes[0]


def _in_words(retries: int) -> str:
    return f"{retries} retry delay{'' if retries == 1 else 's'}"
