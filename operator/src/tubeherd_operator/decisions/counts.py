"""What is known of the jobs in a pool's tubes."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from tubeherd.queue.answers import TubeStats


@dataclass(frozen=True, slots=True)
class Counts:
    """The jobs of a pool's tubes, or why they are not known."""

    tubes: Mapping[str, TubeStats] = field(default_factory=dict)
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Kicked:
    """How many jobs of each tube were kicked, and why the rest could not be."""

    tubes: dict[str, int]
    error: str | None = None
