"""What the supervisor gives a slot before it forks the slot's process."""

import socket
from collections.abc import Sequence
from typing import NamedTuple

from tubeherd.metrics import Metrics
from tubeherd.processing.reporting import Burial
from tubeherd.shared_memory.slot_page import SlotPage
from tubeherd.shared_memory.tally import Tally
from tubeherd.slot.lane import Lane
from tubeherd.slot.limits import Progress


class SlotContext(NamedTuple):
    """A slot's place in the worker, which the next slot takes when this one ends."""

    number: int
    """The place's own; names the files of the metrics that executors define."""
    supervisor: int
    """The process id of the supervisor."""
    page: SlotPage
    lanes: Sequence[Lane]
    """One, or as many as there may be coroutines at a time, with the connections that an earlier slot left at rest."""
    control: socket.socket
    """Carries each new connection to the supervisor; what comes back on it is the wish to stop."""
    metrics: Metrics | None
    tally: Tally | None
    progress: Progress
    burials: Sequence[Burial]
    """Burials by the supervisor, which this slot publishes before it takes a job."""
