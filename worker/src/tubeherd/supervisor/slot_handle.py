"""A slot as the supervisor handles it: the process, its lanes, and the control socket.

A lane of a slot has one connection to beanstalkd at a time, and a page in shared memory with a lock. The slot holds the
lock while it waits for the answer to a command. The supervisor kills a slot only while it holds the locks of all lanes
on which jobs execute. So none of these lanes is in the middle of a command, and the supervisor can give the verdicts on
the jobs. It keeps the locks until the slot is reaped.
"""

import os
import signal
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from tubeherd.formats.globs import best_match
from tubeherd.policy import Failed, Interrupted, RetrySchedule
from tubeherd.processing.reporting import Notice
from tubeherd.shared_memory.control import MESSAGE_BYTES, decode_delays, decode_folder, decode_lane, decode_remark
from tubeherd.shared_memory.page import Lease, Phase
from tubeherd.shared_memory.slot_page import Request, SlotPage
from tubeherd.shared_memory.tally import Tally
from tubeherd.supervisor.lane_handle import LaneHandle
from tubeherd.supervisor.remarks import Remarks

_SOCKETS_MOST: Final = 8
"""Room for sockets in one message; a slot sends one."""


class Death(NamedTuple):
    """Why a slot died, or is to be killed."""

    outcome: Failed | Interrupted
    """The outcome of the jobs that were executing in the slot."""
    culprit: Lease | None = None
    """The lease of the job that is to blame; the others then spend no attempt. If None, `outcome` is that of all."""


@dataclass(eq=False, slots=True)
class SlotHandle:
    """One slot, from its fork until the verdicts on its jobs are given and its place is vacant."""

    pid: int
    control: socket.socket
    """The slot sends copies of its connections, and retry schedules; the supervisor a byte if the slot is to stop."""
    page: SlotPage
    lanes: Sequence[LaneHandle]
    notices: Sequence[Notice]
    """The notices that the slot was given to publish before it takes a job."""
    tally: Tally | None = None
    """What the slot counts for /metrics; None without the option --health."""
    schedules: dict[str, RetrySchedule | None] = field(default_factory=dict)
    """The retry schedules of the slot's executors by their names, None for one without its own.

    Complete before the first job. If no executor has a glob, those without their own are left out.
    """
    remarks: Remarks = field(default_factory=Remarks)
    """Logs what the slots find out."""
    folders: list[str] = field(default_factory=list)
    """With `--reload`, the folders from which the slot has imported modules."""
    death: Death | None = None
    """Why the supervisor has killed the slot; None if it has not."""
    draining_since: float | None = None
    """When the supervisor saw that a stopped job has left something that goes on, on the monotonic clock, or None."""

    has_lost_late_job: bool = False
    """Whether the lease of a job was lost that was stopped and has left something that goes on."""

    @property
    def phase(self) -> Phase:
        """The phase of the first lane: STARTING if the slot still starts, DONE if it has done its last job.

        Lanes whose jobs were stopped and have left something do not count, because the slot ends without them.
        """
        return next((lane.page.phase for lane in self.lanes if not lane.page.left_behind), Phase.DONE)

    @property
    def was_interrupted(self) -> bool:
        """Whether the supervisor has killed the slot for no fault of the slot's or of its jobs."""
        return self.death is not None and isinstance(self.death.outcome, Interrupted)

    @property
    def has_left_behind(self) -> bool:
        """Whether a stopped job of the slot has left something that goes on until the slot ends."""
        return any(lane.page.left_behind for lane in self.lanes)

    @property
    def jobs_begun(self) -> int:
        """How many jobs the slots of this place have begun, this slot included; 0 if this slot began none."""
        return max(lane.page.jobs_begun for lane in self.lanes)

    @property
    def unpublished_notices(self) -> Sequence[Notice]:
        """The notices that are to be published by another slot, after this slot has died.

        None of them if this slot died while listeners ran: they may have killed it, and would kill each other slot too.
        """
        never_published = self.phase is Phase.STARTING and not self.page.listening_since
        return self.notices if never_published else []

    def receive_messages(self) -> bool:
        """Receive copies of the connections that the slot has opened, and schedules; return whether more can come."""
        while True:
            try:
                message, fds, _, _ = socket.recv_fds(self.control, MESSAGE_BYTES, _SOCKETS_MOST)
            except BlockingIOError:
                return True
            except OSError:  # the slot has closed its end, or is dead
                return False
            if not message:
                return False
            if (folder := decode_folder(message)) is not None:
                self.folders.append(folder)
            elif (remark := decode_remark(message)) is not None:
                self.remarks.log(remark)
            elif (number := decode_lane(message)) is not None:
                self.lanes[number].adopt(fds[0] if fds else None)
            else:
                name, delays = decode_delays(message)
                self.schedules[name] = None if delays is None else RetrySchedule(delays)

    def schedule_for(self, tube: str) -> RetrySchedule | None:
        """Return the retry schedule of the executor of a tube; None if it has none of its own."""
        name = best_match(self.schedules, tube)
        return None if name is None else self.schedules[name]

    def ask_to_stop(self) -> None:
        """Ask the slot to end after its present job."""
        self.page.request = Request.STOP
        with suppress(OSError):  # the slot has ended
            self.control.send(b"s")

    def ask_to_reload(self) -> None:
        """Ask the slot to end after its present job, so that the next one imports the executors as they are now.

        If it still imports them, and no listener can have begun, it is killed: the import may never end.
        """
        if self.phase is Phase.STARTING and not self.notices:
            self.kill(Death(Interrupted("the executors have changed")))
        elif self.page.request != Request.STOP and self.page.request != Request.RELOAD:
            self.page.request = Request.RELOAD
            with suppress(OSError):  # the slot has ended
                self.control.send(b"r")

    @contextmanager
    def executions_locked(self) -> Iterator[bool]:
        """Try to hold, during a `with` block, the locks of all lanes on which jobs execute.

        The block gets True if all are held. Afterwards they are given back, unless the block killed the slot.
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
        """Kill the slot; only inside `executions_locked`. What its jobs started is killed before the slot is reaped."""
        self.death = death
        os.kill(self.pid, signal.SIGKILL)

    def close(self) -> None:
        """Close all but the connections, which the next slot inherits."""
        self.control.close()
        self.page.close()
        for lane in self.lanes:
            lane.page.close()
        if self.tally:
            self.tally.close()
