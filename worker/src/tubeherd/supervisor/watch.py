"""One look at a living slot: touch its leases, end jobs that are past their deadlines, kill the slot if it must end.

A lane of a slot has one connection to beanstalkd at a time, and a page in shared memory with a lock. The slot writes on
the page what it does with the connection, and takes the lock to send a command. So what a page says is certain only
while the supervisor holds the lock. Whether to send a signal is therefore decided twice: first without the locks,
because the slot may have to wait while the supervisor holds them, and again with the locks if there is cause.

A share is the part of the container's memory that one slot may use. Above the soft limit of its share a slot is
replaced after its job; above the hard limit it is killed.
"""

import os
import signal
import time
from collections.abc import Sequence
from typing import Final

from tubeherd.formats.memory_share import MIB
from tubeherd.policy import BurialKind, Failed, Interrupted
from tubeherd.processing.deadlines import too_long_reason
from tubeherd.settings import WorkerSettings
from tubeherd.shared_memory.page import SHARED_PHASES, Phase, State
from tubeherd.shared_memory.slot_page import Request
from tubeherd.supervisor.lane_handle import LaneHandle, SigtermSent, Unchanged
from tubeherd.supervisor.memory import used_above
from tubeherd.supervisor.slot_handle import Death, SlotHandle

_TERM_SECONDS: Final = 5.0
"""How long a job may go on after SIGTERM was sent to break it off, in seconds. Then its slot is killed."""
_LISTENER_SECONDS: Final = 600.0
"""How long listeners of the slot may run, in seconds, unless a setting changes it or jobs may run longer."""
_COMMAND_SECONDS: Final = 1.0
"""How long a slot that is to stop may wait for an answer of beanstalkd, in seconds."""
_PROMPT_SECONDS: Final = 0.01
"""How long to wait for the answers right after the touches were sent, in seconds."""


class Watch:
    """Looks at the slots of one worker and enforces its limits."""

    def __init__(self, settings: WorkerSettings) -> None:
        self._job_timeout = settings.job_timeout
        self._grace_period = settings.grace_period
        self._drain_limit = min(settings.drain_limit, settings.grace_period)
        self._share = settings.memory_share()
        self._listener_seconds = settings.listener_timeout or max(settings.job_timeout or 0.0, _LISTENER_SECONDS)

    def look(self, slot: SlotHandle, stopping_since: float | None) -> None:
        """Look at a slot. `stopping_since` is when the worker began to stop, on the monotonic clock, or None."""
        if slot.death is not None:
            return
        now = time.monotonic()
        if slot.draining_since is None and slot.has_left_behind:
            slot.draining_since = now
        used = used_above(slot.pid, self._share.soft) if self._share else None
        if self._kill_for_cause(slot, now, stopping_since, used):
            return
        if used is not None and slot.page.request == Request.NOTHING:
            slot.page.request = Request.RECYCLE
        for lane in slot.lanes:
            if lane.page.phase in SHARED_PHASES:
                lane.unchanged = None  # a later command may find the page as it was during an earlier one
                state = lane.page.read()
                self._enforce_deadline(slot, lane, state, now)
                slot.has_lost_late_job |= lane.page.left_behind and lane.is_lost(state)
                lane.touch(state, now)
            elif stopping_since is not None:
                _break_off_command(lane, now)

    def take_answers(self, slots: Sequence[SlotHandle]) -> None:
        """Read the answers to touches. Wait for them, for all slots together, up to _PROMPT_SECONDS."""
        until = time.monotonic() + _PROMPT_SECONDS
        for slot in slots:
            for lane in slot.lanes if slot.death is None else ():
                lane.take_answers(max(0.0, until - time.monotonic()))

    # SIGTERM

    def _enforce_deadline(self, slot: SlotHandle, lane: LaneHandle, state: State, now: float) -> None:
        """Write that a job is late and send SIGTERM, once for each job that is past its deadline."""
        signalled = lane.sigterm_sent is not None and lane.sigterm_sent.lease == state.last_begun
        if lane.page.left_behind:
            self._note_late(lane, state, now)
            return
        late = state.phase is Phase.EXECUTING and now >= state.last_begun.since + self._timeout(state)
        if not late or signalled or _is_held_up(slot):
            return
        with lane.locked_if_still(state) as same:
            if same:
                self._note_late(lane, state, now)
                lane.page.write_late()
                slot.page.clear_loop_holder()
                os.kill(slot.pid, signal.SIGTERM)

    def note_left_behind(self, slot: SlotHandle) -> None:
        """Note which jobs of a slot that has ended were late: it may have ended before any look saw that."""
        for lane in slot.lanes:
            if lane.page.left_behind:
                self._note_late(lane, lane.page.read(), time.monotonic())

    def _note_late(self, lane: LaneHandle, state: State, now: float) -> None:
        lane.sigterm_sent = SigtermSent(state.last_begun, now, self._timeout(state))

    def _timeout(self, state: State) -> float:
        return state.timeout or self._job_timeout or state.last_begun.ttr

    # SIGKILL

    def _kill_for_cause(self, slot: SlotHandle, now: float, stopping_since: float | None, used: int | None) -> bool:
        """Kill the slot if there is cause, and return whether it was killed.

        If a lane on which a job executes is about to send a command, it holds the lock, and the next look tries again.
        A lane that is in the middle of a command does not keep its slot alive: beanstalkd makes its job ready again.
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
        if stopping_since is not None and slot.phase is Phase.STARTING and not slot.notices:
            return Death(Interrupted("the worker stopped before the executors were imported"))
        if stopping_since is not None and now >= stopping_since + self._grace_period:
            return Death(Interrupted("the worker had to stop before the job was done"))
        if listening_since and now >= listening_since + self._listener_seconds:
            words = "listeners of worker.flush, worker.job.failed or worker.job.buried took longer than"
            return Death(Failed(f"{words} {self._listener_seconds:g} s", BurialKind.DEADLINE))
        return self._death_if_drained(slot, now) or self._death_if_late(slot, now) or self._death_if_too_big(slot, used)

    def _death_if_drained(self, slot: SlotHandle, now: float) -> Death | None:
        """Return why to kill a slot in which something of a stopped job goes on, otherwise None."""
        if slot.draining_since is None:
            return None
        why = "something of a job that was stopped at its deadline went on"
        if now >= slot.draining_since + self._drain_limit:
            return Death(Interrupted(f"{why}, and its slot had to end after {self._drain_limit:g} s"))
        if slot.has_lost_late_job:
            return Death(Interrupted(f"{why}, and the lease of that job was lost"))
        return None

    def _death_if_late(self, slot: SlotHandle, now: float) -> Death | None:
        """Return why to kill the slot if a job still executes five seconds after SIGTERM, otherwise None."""
        if _is_held_up(slot):
            return None
        for lane in slot.lanes:
            if lane.sigterm_sent is not None and lane.page.phase is Phase.EXECUTING and not lane.page.left_behind:
                state = lane.page.read()
                if state.last_begun == lane.sigterm_sent.lease and now >= lane.sigterm_sent.at + _TERM_SECONDS:
                    return self._death_for_lateness(slot, lane, state)
        return None

    def _death_for_lateness(self, slot: SlotHandle, late: LaneHandle, state: State) -> Death:
        """Return why to kill the slot of a late job: because of this job, or of another that holds the event loop."""
        # The id of the job whose code holds the event loop, 0 if none does, None if the slot did not handle SIGTERM.
        culprit = slot.page.loop_holder if len(slot.lanes) > 1 else 0
        if culprit is None:  # the running code lets no signal handler run, so nobody knows which job it belongs to
            reason = f"code that ignored SIGTERM held the event loop past the deadline of job {state.last_begun.job}"
            return Death(Failed(reason, BurialKind.DEADLINE))
        for lane in slot.lanes:
            other = lane.page.read().last_begun
            if lane is not late and culprit and other.job == culprit:
                reason = "the job held the event loop of its slot past the deadline of another job"
                return Death(Failed(f"{reason} and did not end on SIGTERM", BurialKind.DEADLINE), other)
        reason = f"{too_long_reason(self._timeout(state))} and did not end on SIGTERM"
        return Death(Failed(reason, BurialKind.DEADLINE), state.last_begun)

    def _death_if_too_big(self, slot: SlotHandle, used: int | None) -> Death | None:
        """Return why to kill the slot if it uses more memory than its share, otherwise None."""
        if self._share is None or used is None or used <= self._share.hard:
            return None
        in_job = any(lane.page.phase is Phase.EXECUTING for lane in slot.lanes)
        if not in_job and slot.phase in (Phase.COMMAND, Phase.DONE):
            return None  # a kill during a command could lose a lease; the slot was asked to end, and does so soon
        usage = f"the slot and the processes of its jobs used {used / MIB:.0f} MiB"
        share = f"more than the slot's share of {self._share.hard / MIB:.0f} MiB"
        return Death(Failed(f"memory limit passed: {usage}, {share}", BurialKind.MEMORY))


def _is_held_up(slot: SlotHandle) -> bool:
    """Return whether the slot waits for listeners, for an answer or for a lock, which excuses late jobs."""
    return slot.page.listening_since > 0 or any(lane.page.is_held_up for lane in slot.lanes)


def _break_off_command(lane: LaneHandle, now: float) -> None:
    """Close the connection of a lane whose slot is to stop, if it has waited too long for an answer of beanstalkd."""
    state = lane.page.read()
    if lane.unchanged is None or lane.unchanged.state != state:
        lane.unchanged = Unchanged(state, now)
    elif now >= lane.unchanged.since + _COMMAND_SECONDS:
        lane.close_connection()  # without the lock, because the slot holds it
