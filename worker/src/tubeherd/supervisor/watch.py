"""One look at a living slot: touch its leases, end jobs that are late, and kill the slot if there is cause.

What a page says is certain only while its lock is held. So a signal to a slot is decided twice: first without the
locks, which costs the slot nothing, and then again with them.
"""

import os
import signal
import time
from collections.abc import Sequence
from typing import Final

from tubeherd.formats.memory_share import MIB
from tubeherd.policy import Failed, Interrupted
from tubeherd.processing.coroutines import too_long_reason
from tubeherd.settings import WorkerSettings
from tubeherd.shared_memory.page import SHARED_PHASES, Phase, State
from tubeherd.shared_memory.slot_page import Request
from tubeherd.supervisor.lane_handle import LaneHandle, SigtermSent, Unchanged
from tubeherd.supervisor.memory import used_above
from tubeherd.supervisor.slot_handle import Death, SlotHandle

_TERM_SECONDS: Final = 5.0
"""Seconds from SIGTERM, which breaks a job off at its deadline, to SIGKILL if the job still executes."""
_LISTENER_SECONDS: Final = 600.0
"""How long listeners of a flush or a burial may run, in seconds; or as long as a job may, if that is longer."""
_COMMAND_SECONDS: Final = 1.0
"""How long a slot that is to stop may wait for an answer of beanstalkd, in seconds."""
_PROMPT_SECONDS: Final = 0.01
"""How long to wait for answers right after the touches, in seconds; a healthy beanstalkd needs less."""


class Watch:
    """Looks at the slots of one worker and enforces its limits."""

    def __init__(self, settings: WorkerSettings) -> None:
        self._job_timeout = settings.job_timeout
        self._grace_period = settings.grace_period
        self._share = settings.memory_share()
        self._listener_seconds = max(settings.job_timeout or 0.0, _LISTENER_SECONDS)

    def look(self, slot: SlotHandle, stopping_since: float | None) -> None:
        """Do what is due for a slot; `stopping_since` is when the worker began to stop, on the monotonic clock."""
        if slot.death is not None:
            return
        now = time.monotonic()
        used = used_above(slot.pid, self._share.soft) if self._share else None
        if self._kill_for_cause(slot, now, stopping_since, used):
            return
        if used is not None and slot.page.request == Request.NOTHING:
            slot.page.request = Request.RECYCLE
        for lane in slot.lanes:
            if lane.page.phase in SHARED_PHASES:
                state = lane.page.read()
                self._enforce_deadline(slot, lane, state, now)
                lane.touch(state, now)
            elif stopping_since is not None:
                _break_off_command(lane, now)

    def take_answers(self, slots: Sequence[SlotHandle]) -> None:
        """Read the answers to touches, waiting a moment for those just sent: one wait for all slots together."""
        until = time.monotonic() + _PROMPT_SECONDS
        for slot in slots:
            for lane in slot.lanes if slot.death is None else ():
                lane.take_answers(max(0.0, until - time.monotonic()))

    # SIGTERM

    def _enforce_deadline(self, slot: SlotHandle, lane: LaneHandle, state: State, now: float) -> None:
        """Send SIGTERM once for each job that is past its deadline."""
        warned = lane.sigterm_sent is not None and lane.sigterm_sent.lease == state.last_begun
        late = state.phase is Phase.EXECUTING and now >= state.last_begun.since + self._timeout(state)
        if not late or warned or _is_held_up(slot):
            return
        with lane.locked_if_still(state) as same:
            if same:
                lane.sigterm_sent = SigtermSent(state.last_begun, now)
                slot.page.clear_loop_holder()
                os.kill(slot.pid, signal.SIGTERM)

    def _timeout(self, state: State) -> float:
        return self._job_timeout or state.last_begun.ttr

    # SIGKILL

    def _kill_for_cause(self, slot: SlotHandle, now: float, stopping_since: float | None, used: int | None) -> bool:
        """Kill the slot if there is cause, and return whether it was killed.

        If the slot holds the lock of a lane, because it sends a command, the next look tries again.
        """
        if self._cause_to_kill(slot, now, stopping_since, used) is not None:
            with slot.executions_locked() as locked:
                if locked and (death := self._cause_to_kill(slot, now, stopping_since, used)):
                    slot.kill(death)
        return slot.death is not None

    def _cause_to_kill(
        self, slot: SlotHandle, now: float, stopping_since: float | None, used: int | None
    ) -> Death | None:
        """Return why the slot is to be killed, or None."""
        listening_since = slot.page.listening_since
        if stopping_since is not None and slot.phase is Phase.STARTING:
            return Death(Interrupted("the worker stopped before the executors were imported"))
        if stopping_since is not None and now >= stopping_since + self._grace_period:
            return Death(Interrupted("the worker had to stop before the job was done"))
        if listening_since and now >= listening_since + self._listener_seconds:
            words = "listeners of worker.flush or worker.job.buried took longer than"
            return Death(Failed(f"{words} {self._listener_seconds:g} s"))
        return self._deadline_missed(slot, now) or self._share_exceeded(slot, used)

    def _deadline_missed(self, slot: SlotHandle, now: float) -> Death | None:
        """Return the cause if a job still executes five seconds after SIGTERM, or None."""
        if _is_held_up(slot):
            return None
        for lane in slot.lanes:
            if lane.sigterm_sent is not None and lane.page.phase is Phase.EXECUTING:
                state = lane.page.read()
                if state.last_begun == lane.sigterm_sent.lease and now >= lane.sigterm_sent.at + _TERM_SECONDS:
                    return self._blame(slot, lane, state)
        return None

    def _blame(self, slot: SlotHandle, late: LaneHandle, state: State) -> Death:
        """Return whose fault it is: that of the late job, or of a job that holds the event loop."""
        # The job that holds the loop; 0: none does; None: the slot did not answer SIGTERM.
        culprit = slot.page.loop_holder if len(slot.lanes) > 1 else 0
        if culprit is None:  # the code lets no signal handler run, so the slot could not say whose it is
            reason = f"code that ignored SIGTERM held the event loop past the deadline of job {state.last_begun.job}"
            return Death(Failed(reason))
        for lane in slot.lanes:
            other = lane.page.read().last_begun
            if lane is not late and culprit and other.job == culprit:
                reason = "the job held the event loop of its slot past the deadline of another job"
                return Death(Failed(f"{reason} and did not end on SIGTERM"), other)
        return Death(Failed(f"{too_long_reason(self._timeout(state))} and did not end on SIGTERM"), state.last_begun)

    def _share_exceeded(self, slot: SlotHandle, used: int | None) -> Death | None:
        """Return the cause if the slot uses more memory than its share, or None."""
        if self._share is None or used is None or used <= self._share.hard:
            return None
        in_job = any(lane.page.phase is Phase.EXECUTING for lane in slot.lanes)
        if not in_job and slot.phase in (Phase.COMMAND, Phase.DONE):
            return None  # a kill in the middle of a command could lose a lease; the slot is replaced after its job
        usage = f"the slot used {used / MIB:.0f} MiB, more than its share of {self._share.hard / MIB:.0f} MiB"
        return Death(Failed(f"memory limit passed: {usage}"))


def _is_held_up(slot: SlotHandle) -> bool:
    """Return whether the slot's jobs wait for listeners or for a command, so that being late is not their fault."""
    in_command = any(lane.page.phase is Phase.COMMAND for lane in slot.lanes)
    return slot.page.listening_since > 0 or in_command


def _break_off_command(lane: LaneHandle, now: float) -> None:
    """Close the connection of a slot that is to stop and has waited too long for an answer of beanstalkd."""
    state = lane.page.read()
    if lane.unchanged is None or lane.unchanged.state != state:
        lane.unchanged = Unchanged(state, now)
    elif now >= lane.unchanged.since + _COMMAND_SECONDS:
        lane.close_connection()  # without the lock, which the slot holds; beanstalkd gives back the leases
