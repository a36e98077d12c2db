"""A slot as the supervisor handles it: the process, its lanes, and the control socket.

The supervisor kills a slot only while it holds the locks of all lanes that execute, so that none of them is in the
middle of a command, and keeps these locks until the slot is reaped.
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
"""Room for the number of a lane in decimal digits, which a slot sends with each socket."""
_SOCKETS_MOST: Final = 8
"""Room for sockets in one message; a slot sends one."""


class Death(NamedTuple):
    """Why a slot died, or is to be killed."""

    outcome: Failed | Interrupted
    """The outcome of the jobs that the slot was executing."""
    culprit: Lease | None = None
    """The execution that caused it, so that the others spend no attempt; None if all of them count as failed."""


@dataclass(eq=False, slots=True)
class SlotHandle:
    """One slot, from its fork until its jobs are taken over."""

    pid: int
    control: socket.socket
    """The slot sends a copy of each connection that it opens; a byte from the supervisor ends a wait of the slot."""
    page: SlotPage
    lanes: Sequence[LaneHandle]
    burials: Sequence[Burial]
    """The burials that the slot was given to publish before it takes a job."""
    tally: Tally | None = None
    """What the slot counts; None without --health."""
    death: Death | None = None
    """Why the supervisor killed it, if it did; it is not watched any more and will be reaped."""

    @property
    def phase(self) -> Phase:
        """The phase of the first lane, which also says whether the slot still starts (STARTING) or has left (DONE)."""
        return self.lanes[0].page.phase

    @property
    def jobs_begun(self) -> int:
        """How many jobs the slots of this place have begun, this one included; 0 if this one began none."""
        return max(lane.page.jobs_begun for lane in self.lanes)

    @property
    def unpublished_burials(self) -> Sequence[Burial]:
        """The burials that a slot which has ended was given and has certainly not published.

        None if it died while listeners ran: a listener that ends its slot would end each next slot as well.
        """
        never_published = self.phase is Phase.STARTING and not self.page.listening_since
        return self.burials if never_published else []

    def receive_connections(self) -> bool:
        """Receive copies of the connections that the slot has opened; return whether more can come."""
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
        """Ask the slot to end after its present job."""
        self.page.request = Request.STOP
        with suppress(OSError):  # the slot has gone
            self.control.send(b"s")

    @contextmanager
    def executions_locked(self) -> Iterator[bool]:
        """Take the locks of all lanes that execute for the `with` block, which gets whether all were free.

        Gives the locks back afterwards, unless the slot was killed in the block.
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
        """Kill the slot, inside `executions_locked`; what its jobs started is killed when the slot is reaped."""
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
