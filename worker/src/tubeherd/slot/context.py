"""What the supervisor gives a slot before it forks the slot's process."""

import socket
from collections.abc import Sequence
from importlib.metadata import EntryPoint
from typing import NamedTuple

from tubeherd.metrics import Metrics
from tubeherd.processing.reporting import Notice
from tubeherd.shared_memory.reserve_count import ReserveCount
from tubeherd.shared_memory.slot_page import SlotPage
from tubeherd.shared_memory.tally import Tally
from tubeherd.slot.lane import Lane
from tubeherd.slot.limits import Progress
from tubeherd.sources import Sources


class SlotContext(NamedTuple):
    """What one slot is given. A worker has a place for each slot; when a slot ends, another follows in its place."""

    number: int
    """The number of the place, from 0. It is part of the file names of the metrics that executors define."""
    supervisor: int
    """The process id of the supervisor."""
    page: SlotPage
    lanes: Sequence[Lane]
    """One, or as many as coroutines may run at a time; with the connections of the slot before."""
    control: socket.socket
    """The slot sends a copy of each new connection; the supervisor sends a byte if the slot is to stop."""
    metrics: Metrics | None
    tally: Tally | None
    reserves: ReserveCount
    """Shared by all slots of the worker."""
    progress: Progress
    sources: Sources
    """The modules of executors that the arguments of the command name."""
    entry_points: Sequence[EntryPoint]
    """The modules of executors of installed packages."""
    shows_banner: bool
    """Whether this slot shows on the terminal which tubes the worker serves."""
    notices: Sequence[Notice]
    """What became of jobs of dead slots. This slot publishes it before it takes a job."""
