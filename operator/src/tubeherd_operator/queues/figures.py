"""What is known of one beanstalkd, as the operator's metrics show it."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from tubeherd.queue.answers import TubeStats
from tubeherd_operator.objects import Key


@dataclass(frozen=True, slots=True)
class ServerFigures:
    """The figures of one beanstalkd, and the pools that it has."""

    server: str
    """host:port, the same however pools write it."""
    pools: Mapping[Key, tuple[str, ...] | None]
    """The tubes of each pool; None if they have not been counted yet."""
    is_up: bool | None = None
    """Whether it can be asked; None if that was not tried yet. Unless it is true, the following are empty."""
    stats: Mapping[str, int] = field(default_factory=dict)
    """Of the whole server, by the names that `stats` has."""
    tubes: Mapping[str, TubeStats] = field(default_factory=dict)
    ready_for: Mapping[str, float] = field(default_factory=dict)
    """By tube, for at least how many seconds the job has been ready that is the next one."""
