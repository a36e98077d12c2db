"""Gives the verdicts on the jobs of a dead slot: delete, release or bury.

A lane of a slot has one connection to beanstalkd at a time, and a page in shared memory on which the slot writes what
it does. The supervisor has a copy of each connection. So a connection stays open when its slot dies, and beanstalkd
keeps the leases on it. No lock is needed, because a dead slot sends no commands. If a command was sent and not answered
when the slot died, the connection is closed: nobody knows whether beanstalkd carried the command out. beanstalkd then
makes the jobs ready again.

A deferred job was executed and waits for the next event `worker.flush`, after which it is deleted.
"""

import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Final

from tubeherd.logs import log
from tubeherd.policy import BurialKind, Failed, Interrupted, Policy
from tubeherd.processing.deadlines import too_long_reason
from tubeherd.processing.processed import Processed
from tubeherd.processing.reporting import Notice
from tubeherd.processing.settling import Settler
from tubeherd.queue.answers import QueueUnavailable, RefusedError
from tubeherd.queue.connection import Connection
from tubeherd.queue.wire import REPLY_SECONDS
from tubeherd.shared_memory.page import SHARED_PHASES, Lease, Phase
from tubeherd.shared_memory.tally import Incident
from tubeherd.supervisor.lane_handle import STALL_SECONDS, LaneHandle
from tubeherd.supervisor.memory import kernel_kills
from tubeherd.supervisor.slot_handle import Death, SlotHandle

_SILENT_SECONDS: Final = 0.05
"""How long to wait for an answer if the one before did not come, in seconds. A dead slot may have hundreds of jobs."""
_KILLS_LOOKED_AT: Final = 10.0
"""How often old kills of the kernel are forgotten, in seconds. A slot that it kills has ended long before that."""


class TakeOver:
    """Gives the verdicts on the jobs of dead slots."""

    def __init__(self, policy: Policy, settler: Settler) -> None:
        self._policy = policy
        self._settler = settler
        self._kills_explained = self._kills_seen = kernel_kills()
        """How many kills of the kernel can be the end of no other slot, and how many there were at the last look."""
        self._look_at_kills = 0.0
        """When to look for them again, on the monotonic clock."""
        self._silent_until = 0.0
        """Until when beanstalkd gets only _SILENT_SECONDS for an answer, on the monotonic clock."""

    def death_of(self, slot: SlotHandle, code: int) -> Death:
        """Return why a slot died. `code` is its exit code, or the negative number of the signal that killed it."""
        if slot.death is not None:
            return slot.death
        reason = f"the slot died: {_describe(code)}"
        if code == -signal.SIGKILL and self._kernel_has_killed():
            outcome = Failed(f"{reason}, killed by the kernel for the memory limit of its container", BurialKind.MEMORY)
        else:
            outcome = Failed(reason, BurialKind.KILLED)
        return Death(outcome)

    def forget_old_kills(self, now: float) -> None:
        """Have the kernel's kills of more than _KILLS_LOOKED_AT ago explain no end of a slot; `now` is the time.

        They may have hit child processes of jobs. To be called often, after the slots that have ended are reaped.
        """
        if now >= self._look_at_kills:
            self._look_at_kills = now + _KILLS_LOOKED_AT
            self._kills_explained = max(self._kills_explained, self._kills_seen)
            self._kills_seen = kernel_kills()

    def take_over(self, slot: SlotHandle, death: Death) -> Sequence[Notice]:
        """Give the verdicts on the jobs of a dead slot and return the notices, which the next slot publishes."""
        was_executing = any(lane.page.phase is Phase.EXECUTING for lane in slot.lanes)
        notices: list[Notice] = []
        for lane in slot.lanes:
            if lane.page.phase in SHARED_PHASES:
                if not lane.finish_touches(self._patience()):
                    self._silent_until = time.monotonic() + REPLY_SECONDS
                for lease, outcome, seconds in _outcomes(slot, lane, death):
                    notices += self._settle(slot, lane, lease, outcome, seconds)
            else:
                lane.close_connection()
        if not was_executing:  # otherwise the log lines of the executing jobs have the reason
            log.warning(death.outcome.reason, pid=slot.pid, phase=slot.phase.name.lower())
        return notices

    def _settle(
        self, slot: SlotHandle, lane: LaneHandle, lease: Lease, outcome: Failed | Interrupted, seconds: float
    ) -> Sequence[Notice]:
        """Give the verdict on one job, log and count it, and return its notice if listeners are to get one."""
        reporter = self._settler.reporter
        if lane.connection is None:
            event = "no connection for the verdict on a dead slot's job: beanstalkd makes it ready"
            log.warning(event, job=lease.job, reason=outcome.reason)
            self._count_failure(outcome)
            return []
        done: Processed | None = None
        try:
            with self._patiently(lane.connection):
                if done := self._judged(slot, lane.connection, lease, outcome, seconds):
                    settled = self._settler.settle(lane.connection, done)
        except (QueueUnavailable, RefusedError) as error:
            lane.close_connection()
            event = f"the slot died, and the verdict on its job was lost: {error}; the job may run again"
            if done is not None:
                return _as_list(reporter.report_lost(done, event))
            log.warning(event, job=lease.job, reason=outcome.reason)
            self._count_failure(outcome)
            return []
        if done is None:
            log.warning("lease was gone when the slot died", job=lease.job, reason=outcome.reason)
            self._count_failure(outcome)
            reporter.count_incident(Incident.LOST_LEASE)
            return []
        notices = _as_list(reporter.report(done, settled))
        self._settler.after_burial()
        return notices

    def _judged(
        self, slot: SlotHandle, connection: Connection, lease: Lease, outcome: Failed | Interrupted, seconds: float
    ) -> Processed | None:
        """Return a job with its verdict, None if it no longer exists; raises QueueUnavailable, RefusedError."""
        stats = connection.stats_job(lease.job)
        if stats is None:
            return None
        policy = self._policy.with_own(slot.schedule_for(stats.tube))
        return Processed(policy.job(stats), policy.decide(outcome, stats), seconds)

    def _count_failure(self, outcome: Failed | Interrupted) -> None:
        """Count the failure of a job of which beanstalkd has told nothing, so that no more can be reported."""
        if isinstance(outcome, Failed):
            self._settler.reporter.count_failure(outcome.kind)

    @contextmanager
    def _patiently(self, connection: Connection) -> Iterator[None]:
        """Limit how long a `with` block waits for each answer, and take note whether beanstalkd is silent."""
        asked, patience = time.monotonic(), self._patience()
        connection.set_timeout(patience)
        try:
            yield
        except QueueUnavailable:
            if time.monotonic() >= asked + patience:
                self._silent_until = time.monotonic() + REPLY_SECONDS
            raise
        finally:
            connection.set_timeout(REPLY_SECONDS)
        self._silent_until = 0.0

    def _patience(self) -> float:
        """Return how many seconds to wait for an answer; meanwhile the supervisor touches no lease of other slots."""
        return STALL_SECONDS if time.monotonic() >= self._silent_until else _SILENT_SECONDS

    def _kernel_has_killed(self) -> bool:
        """Return whether the kernel has lately killed a process of the container for its memory, one for each call."""
        if kernel_kills() <= self._kills_explained:
            return False
        self._kills_explained += 1
        return True


def _outcomes(slot: SlotHandle, lane: LaneHandle, death: Death) -> Iterator[tuple[Lease, Failed | Interrupted, float]]:
    """Yield each lease on a lane, the outcome of its job, and how many seconds the job ran."""
    state = lane.page.read()
    listening = slot.page.listening_since > 0
    if state.phase is Phase.EXECUTING:
        interrupted = listening or (death.culprit is not None and death.culprit != state.last_begun)
        outcome = Interrupted(f"not the job's fault: {death.outcome.reason}") if interrupted else death.outcome
        # A job that was broken off at its deadline has failed by that, whatever ended its slot after that.
        late = lane.sigterm_sent
        if late is not None and late.lease == state.last_begun and not _is_for_lateness(outcome):
            outcome = Failed(too_long_reason(late.timeout), BurialKind.DEADLINE)
        yield state.last_begun, outcome, time.monotonic() - state.last_begun.since
    for lease in state.deferred:
        # If the slot died while listeners handled the deferred jobs, one of these may have caused it.
        unflushed = Interrupted(f"executed, but not flushed: {death.outcome.reason}")
        outcome = death.outcome if slot.page.is_flushing else unflushed
        yield lease, outcome, 0.0


def _as_list(notice: Notice | None) -> list[Notice]:
    return [] if notice is None else [notice]


def _is_for_lateness(outcome: Failed | Interrupted) -> bool:
    return isinstance(outcome, Failed) and outcome.kind is BurialKind.DEADLINE


def _describe(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    with suppress(ValueError):
        return f"signal {-code} ({signal.Signals(-code).name})"
    return f"signal {-code}"
