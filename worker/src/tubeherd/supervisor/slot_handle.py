"""One slot as its supervisor knows it: the process, its lanes, and the socket between the two.

A slot is killed only with the locks of its executing lanes held, so that none of them is in the middle of a command;
they are kept until it is reaped.
"""

import os
import signal
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Final, NamedTuple

from tubeherd.policy import Failed, Interrupted
from tubeherd.processing.reporting import Burial
from tubeherd.shared_memory.page import Lease, Phase
from tubeherd.shared_memory.slot_page import Request, SlotPage
from tubeherd.shared_memory.tally import Tally
from tubeherd.supervisor.lane_handle import LaneHandle

_NUMBER_BYTES: Final = 16
"""Room for the number of a lane, as a slot sends it with a socket: in decimal digits."""
_SOCKETS_MOST: Final = 8
"""Room for the sockets of one message: a slot sends one."""


class Death(NamedTuple):
    """Why a slot died, or is killed."""

    outcome: Failed | Interrupted
    """The outcome of the jobs that it executed."""
    culprit: Lease | None = None
    """The one execution for which it was killed, the others being innocent; None: all of them."""


@dataclass(eq=False, slots=True)
class SlotHandle:
    """A slot from its fork until its jobs are taken over."""

    pid: int
    control: socket.socket
    """Brings a copy of each connection that the slot opens; whatever is sent wakes the slot."""
    page: SlotPage
    lanes: Sequence[LaneHandle]
    burials: Sequence[Burial]
    """What it was given to tell its listeners, before anything else."""
    tally: Tally | None = None
    """What it counts, if anybody wants to know."""
    death: Death | None = None
    """Why it was killed, if it was: it is not looked at again before it is reaped."""

    @property
    def phase(self) -> Phase:
        """What it does with its first lane, which also tells whether it starts (STARTING) or has left (DONE)."""
        return self.lanes[0].page.phase

    @property
    def begun(self) -> int:
        """The number of the last job that it began, counted on from the slots before it; 0 where it began none."""
        return max(lane.page.begun for lane in self.lanes)

    @property
    def unannounced_burials(self) -> Sequence[Burial]:
        """The burials that a slot which has ended did not tell, as far as is known.

        Those during whose telling it died are not among them: the listener that ended it would end each slot.
        """
        never_told = self.phase is Phase.STARTING and not self.page.listening_since
        return self.burials if never_told else []

    def receive_connections(self) -> bool:
        """Take the connections that the slot has opened; returns whether more can come."""
        while True:
            try:
                number, fds, _, _ = socket.recv_fds(self.control, _NUMBER_BYTES, _SOCKETS_MOST)
            except BlockingIOError:
                return True
            except OSError:  # the slot is dead
                return False
            if not fds:
                return False
            for fd in fds:
                self.lanes[int(number)].adopt(fd)

    def ask_to_stop(self) -> None:
        """Have the slot end after its present job."""
        self.page.request = Request.STOP
        with suppress(OSError):  # it has gone
            self.control.send(b"s")

    @contextmanager
    def executions_locked(self) -> Iterator[bool]:
        """Hold the lock of every lane that executes, and tell whether none of them is just beginning a command.

        The locks are given back unless the slot was killed meanwhile.
        """
        executing = [lane for lane in self.lanes if lane.page.phase is Phase.EXECUTING]
        locked = [lane for lane in executing if lane.page.try_lock()]
        try:
            yield len(locked) == len(executing) and all(lane.page.phase is Phase.EXECUTING for lane in executing)
        finally:
            if self.death is None:
                for lane in locked:
                    lane.unlock()

    def kill(self, death: Death) -> None:
        """Kill the slot, with the locks of its executions held; the rest of its group is killed when it is reaped."""
        self.death = death
        os.kill(self.pid, signal.SIGKILL)

    def close(self) -> None:
        """Close all but the connections, which the next slot takes over."""
        self.control.close()
        self.page.close()
        for lane in self.lanes:
            lane.page.close()
        if self.tally:
            self.tally.close()
