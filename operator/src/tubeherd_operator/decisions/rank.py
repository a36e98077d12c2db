"""Which of the pools that are due are looked at first."""

from enum import IntEnum

from tubeherd_operator.decisions.observation import has_request
from tubeherd_operator.objects import Object


class Rank(IntEnum):
    """The lowest comes first."""

    REQUEST = 0
    """The pool has a kick or a discard that is not closed yet, and for which somebody waits."""
    NEW = 1
    """It has no Deployment yet."""
    OTHER = 2


def rank_of(pool: Object | None, deployment: Object | None) -> Rank:
    """Return the rank of a pool as it is stored, and its Deployment; None for what does not exist."""
    if pool is None:
        return Rank.OTHER
    if has_request(pool):
        return Rank.REQUEST
    return Rank.NEW if deployment is None else Rank.OTHER
