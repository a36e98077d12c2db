"""The faults of a campaign: a schedule drawn from a seed."""

import random
from typing import Final, NamedTuple

KILL_SLOT: Final = "slot killed"
KILL_SUPERVISOR: Final = "supervisor killed"
KILL_BROKER: Final = "beanstalkd killed"
STOP_SLOT: Final = "slot stopped for a while"
STOP_SUPERVISOR: Final = "supervisor stopped for a while"
STOP_BROKER: Final = "beanstalkd stopped for a while"
CUT: Final = "all connections of a worker cut"
ROUGH: Final = "connections of a worker disturbed for a while"
ROLLOUT: Final = "rollout (SIGTERM, worker replaced)"

_DECK: Final = (
    *[KILL_SLOT] * 10,
    *[KILL_SUPERVISOR] * 3,
    *[KILL_BROKER] * 2,
    *[STOP_SLOT] * 6,
    *[STOP_SUPERVISOR] * 3,
    *[STOP_BROKER] * 1,
    *[CUT] * 3,
    *[ROUGH] * 8,
    *[ROLLOUT] * 3,
)
KINDS: Final = frozenset(_DECK)
_SECONDS: Final = {
    KILL_SUPERVISOR: (0.0, 0.0, 4.0),  # until what it left behind is killed too, as the end of a container would
    KILL_BROKER: (0.05, 0.3, 1.5),
    STOP_SLOT: (0.05, 0.5, 3.0, 9.0),
    STOP_SUPERVISOR: (0.05, 0.5, 3.0, 9.0),
    STOP_BROKER: (0.05, 0.5, 2.0, 11.0),  # the longest is more than a worker waits for an answer
    ROUGH: (0.5, 1.0, 3.0),
}
_SEVERAL_AT_ONCE: Final = 0.15


class Fault(NamedTuple):
    """One fault: when, what, to which of the workers and of its slots, and for how long."""

    at: float
    kind: str
    worker: int
    slot: float
    """Which slot, as a part of 1."""
    seconds: float


def schedule(dice: random.Random, seconds: float, workers: int, mean_gap: float) -> list[Fault]:
    """Return the faults of a campaign in order; every kind comes before any comes a second time round."""
    faults: list[Fault] = []
    deck: list[str] = []
    at = 0.0
    while (at := at + dice.expovariate(1 / mean_gap)) < seconds:
        for _ in range(dice.randint(2, 4) if dice.random() < _SEVERAL_AT_ONCE else 1):
            if not deck:
                deck = dice.sample(_DECK, len(_DECK))
            kind = deck.pop()
            length = dice.choice(_SECONDS.get(kind, (0.0,)))
            faults.append(Fault(at, kind, dice.randrange(workers), dice.random(), length))
    return faults
