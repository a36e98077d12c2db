"""The metrics of beanstalkd: of each server, and of the tubes that pools serve."""

from collections.abc import Iterator, Sequence
from typing import Final

from prometheus_client.metrics_core import Metric as Family

from tubeherd.queue.answers import TubeStats
from tubeherd_operator.metric_table import SERVER_FIGURES, SERVER_UP, TUBE_FIGURES, TUBE_READY_AGE
from tubeherd_operator.queues.figures import ServerFigures

SERVERS_MOST: Final = 100
"""So many servers have figures."""
TUBES_MOST: Final = 250
"""So many tubes of a server have figures."""
_FIELDS: Final = {
    "current-jobs-urgent": "urgent",
    "current-jobs-ready": "ready",
    "current-jobs-reserved": "reserved",
    "current-jobs-delayed": "delayed",
    "current-jobs-buried": "buried",
    "total-jobs": "put",
    "current-using": "using",
    "current-watching": "watching",
    "current-waiting": "waiting",
    "cmd-delete": "deleted",
    "cmd-pause-tube": "pauses",
    "pause": "pause",
    "pause-time-left": "pause_left",
}
"""The fields of TubeStats, by what beanstalkd calls them."""


def families(servers: Sequence[ServerFigures]) -> Iterator[Family]:
    """Yield what is known of these servers, of which there are SERVERS_MOST at most."""
    yield SERVER_UP.of(((each.server,), each.is_up) for each in servers if each.is_up is not None)
    for stat, metric in SERVER_FIGURES.items():
        yield metric.of(((each.server,), each.stats[stat]) for each in servers if stat in each.stats)
    tubes = [((each.server, tube.name), tube) for each in servers for tube in _shown(each)]
    for stat, metric in TUBE_FIGURES.items():
        field = _FIELDS[stat]
        yield metric.of((labels, getattr(tube, field)) for labels, tube in tubes)
    yield TUBE_READY_AGE.of(
        ((each.server, tube), seconds) for each in servers for tube, seconds in sorted(each.ready_for.items())
    )


def tubes_left_out(servers: Sequence[ServerFigures]) -> int:
    """Return how many tubes `families` leaves out."""
    return sum(max(0, len(each.tubes) - TUBES_MOST) for each in servers)


def _shown(figures: ServerFigures) -> list[TubeStats]:
    """Return those whose ready jobs nobody takes, then with the most buried jobs, then with the most ready, by name."""
    most = sorted(figures.tubes.values(), key=_rank)[:TUBES_MOST]
    return sorted(most, key=lambda tube: tube.name)


def _rank(tube: TubeStats) -> tuple[bool, int, int, str]:
    return not (tube.ready and not tube.watching), -tube.buried, -tube.ready, tube.name
