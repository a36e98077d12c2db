"""What is known of the jobs in a pool's tubes, and when a pool's status is to show newer counts."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from tubeherd.queue.answers import TubeStats

COUNTS_SECONDS: Final = 30.0


@dataclass(frozen=True, slots=True)
class Counts:
    """The jobs of a pool's tubes, or why they are not known."""

    tubes: Mapping[str, TubeStats] = field(default_factory=dict)
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Kicked:
    """How many jobs of each tube were kicked, and why the rest could not be."""

    tubes: Mapping[str, int]
    error: str | None = None


def is_due(shown: Counts | None, found: Counts, seconds: float) -> bool:
    """Tell whether new counts take the place of those that a pool was given `seconds` ago, None if it has none.

    Buried jobs and the loss or return of the server are due at once. Other counts change all the time, and each change
    is a write to the API server, so they are due every 30 seconds at most.
    """
    if shown is None or _urgent(shown) != _urgent(found):
        return True
    return shown != found and seconds >= COUNTS_SECONDS


def _urgent(counts: Counts) -> tuple[str | None, dict[str, int]]:
    return counts.error, {name: stats.buried for name, stats in counts.tubes.items()}
