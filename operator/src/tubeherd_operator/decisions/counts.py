"""What is known of the jobs in a pool's tubes, and when a pool's status is to show newer counts."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from tubeherd.queue.answers import TubeStats
from tubeherd_operator.decisions.autoscale import Scale

COUNTS_SECONDS: Final = 30.0


@dataclass(frozen=True, slots=True)
class Counts:
    """The jobs of a pool's tubes, or why they are not known. They may be those of before the error."""

    tubes: Mapping[str, TubeStats] = field(default_factory=dict)
    error: str | None = None
    matching: int = 0
    """How many tubes the pool has; if they are more than `tubes`, they are too many to be counted."""
    scale: Scale | None = None
    """How many replicas they want; None if the pool is not autoscaled, or they are not known."""


def is_due(shown: Counts | None, found: Counts, seconds: float) -> bool:
    """Return whether a pool is to be given new counts in place of those that it was given `seconds` ago.

    `shown` is None if it was given none. Changes of buried jobs and of the number of replicas, and the loss and return
    of the server, are due at once. Other counts change all the time, and each change is written to the API server: they
    are due after 30 seconds.
    """
    if shown is None or _urgent(shown) != _urgent(found):
        return True
    return shown != found and seconds >= COUNTS_SECONDS


def _urgent(counts: Counts) -> tuple[str | None, int | None, dict[str, int]]:
    replicas = counts.scale.replicas if counts.scale else None
    return counts.error, replicas, {name: stats.buried for name, stats in counts.tubes.items() if stats.buried}
