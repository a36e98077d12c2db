"""The supervisor: the worker's first process, the parent of its slots. Its loop does, again and again:

1. wait for a signal or a socket, at most a tenth of a second;
2. fork a slot into each vacant place, unless the place has to wait (`places`);
3. reap the slots that have ended; if one died, give the verdicts on its jobs: delete, release or bury (`takeover`);
4. look at each living slot: touch its leases, enforce deadlines and the memory limit (`watch`).

It has one thread and never imports user code. A slot that ends after its last job, or because it cannot import the
executors, has *left*. Any other slot that ends has *died*. The worker *stops* after a signal, or if a slot's exit code
means so.
"""

import gc
import signal
import time
from typing import TYPE_CHECKING, Final

from tubeherd.burials.writer import writer_of
from tubeherd.entry_points import find_entry_points
from tubeherd.exits import Exit
from tubeherd.formats.text import some_of
from tubeherd.logs import log
from tubeherd.metrics import Metrics, Slots
from tubeherd.policy import Failed
from tubeherd.processes import become_subreaper
from tubeherd.processing.reporting import Reporter
from tubeherd.processing.settling import Settler
from tubeherd.settings import WorkerSettings
from tubeherd.shared_memory.page import Phase
from tubeherd.shared_memory.slot_page import Request
from tubeherd.sources import NO_SOURCES, Sources
from tubeherd.supervisor.health import CannotListen, HealthServer
from tubeherd.supervisor.memory import resident
from tubeherd.supervisor.places import Places, Reaped
from tubeherd.supervisor.reactor import Reactor
from tubeherd.supervisor.slot_handle import Death, SlotHandle
from tubeherd.supervisor.takeover import TakeOver
from tubeherd.supervisor.watch import Watch

if TYPE_CHECKING:
    from tubeherd.supervisor.reloading import Reloading

_TICK_SECONDS: Final = 0.1
"""How long to wait for a signal or a socket before every slot is looked at again, in seconds."""
_STARTS_MOST: Final = 5
"""How many slots in a row may die in one place while they import the executors, before the worker gives up."""
_MEASURED_MOST: Final = 64
"""The memory of so many slots is shown: to read it takes 0.1 ms each, in which nothing else is done."""
_CONNECTED: Final = (Phase.COMMAND, Phase.WAITING, Phase.EXECUTING, Phase.RESTING)


class Supervisor:
    """Runs as many slots as the setting `concurrency` says, until a signal or one of the slots stops the worker."""

    def __init__(self, settings: WorkerSettings, sources: Sources = NO_SOURCES) -> None:
        """Install the signal handlers, and listen for health requests if the settings say so.

        `sources` are modules of executors that the slots import instead of those of the settings. Raises CannotListen,
        and ExecutorError if it cannot be found out which installed packages have executors.
        """
        entry_points = find_entry_points(settings.executors, sources)
        self._settings = settings
        self._reactor = Reactor(settings.error_detail)
        self._health: HealthServer | None = None
        self._metrics: Metrics | None = None
        if settings.health:
            self._health = HealthServer(
                settings.health, self._reactor.selector, self._is_ready, self._metrics_text, settings.error_detail
            )
            self._metrics = _make_metrics()
        self._places = Places(settings, self._metrics, self._reactor, sources, entry_points)
        self._watch = Watch(settings)
        self._until_empty = settings.until_empty
        self._reloading = _watch_files(sources) if settings.reload else None
        settler = Settler(Reporter(self._metrics, settings=settings), writer_of(settings, self._metrics))
        self._takeover = TakeOver(settings.policy(), settler)
        self._not_started = settings.concurrency - 1
        """How many slots are not started yet, because the first one has not yet imported the executors."""
        self._stopping_since: float | None = None
        """When the worker began to stop, on the monotonic clock; -inf if jobs get no time to finish."""
        self._exit = Exit.OK

    def run(self) -> Exit:
        """Run the slots to the end of the worker and return its exit code."""
        # The garbage collector skips objects made before `freeze`. So in the slots it does not write to their memory,
        # and all slots share it.
        gc.collect()
        gc.freeze()
        become_subreaper()
        self._places.add(1)
        while not self._places.empty:
            for number in self._reactor.wait(_TICK_SECONDS):
                self._on_signal(number)
            self._finish_health_pass()
            self._places.replace_draining()
            self._places.fill()
            if self._has_no_time_left():
                self._places.give_up_vacant()
            for reaped in self._places.reap():
                self._handle_end(reaped)
            self._takeover.forget_old_kills(time.monotonic())
            for slot in self._places.slots:
                self._look_at(slot)
            if self._reloading and self._stopping_since is None:
                self._reload(self._reloading)
            if self._until_empty and self._stopping_since is None and not self._not_started and self._places.idle:
                log.info("no job is ready and none runs: the worker stops")
                self._stop()
            self._watch.take_answers(self._places.slots)
        for notice in self._places.notices:
            event = "worker.job.buried" if notice.buried else "worker.job.failed"
            log.warning(f"the worker stopped before {event} was published", job=notice.job.id, tube=notice.job.tube)
        if self._metrics:
            self._metrics.files.remove()
        log.info("worker stopped", exit_code=int(self._exit))
        return self._exit

    def _on_signal(self, number: int) -> None:
        """Handle SIGTERM, SIGINT (Ctrl-C) or SIGHUP (the terminal was closed)."""
        if self._stopping_since is None:
            self._stop()
            log.info(f"{signal.Signals(number).name}: no further job is reserved; running jobs may finish")
        elif number == signal.SIGINT:
            self._stopping_since = float("-inf")  # Ctrl-C after a stop signal: wait no longer

    def _look_at(self, slot: SlotHandle) -> None:
        if slot.phase is not Phase.STARTING:
            self._has_started(reloads=slot.page.request == Request.RELOAD)
        self._watch.look(slot, self._stopping_since)

    def _has_started(self, *, reloads: bool) -> None:
        """Go on with the other places, as a slot has imported the executors; if it `reloads`, as they were before."""
        self._start_the_others()
        if self._reloading and not reloads and self._reloading.succeeded():
            self._places.release()

    def _reload(self, reloading: "Reloading") -> None:
        """Replace the slots after their present jobs, if a file of the executors has changed."""
        for slot in self._places.slots:
            reloading.watch(slot.folders)
        if names := reloading.changed(time.monotonic()):
            log.info(f"{some_of(names)} changed: each slot is replaced after its job")
            for slot in self._places.slots:
                slot.ask_to_reload()
            self._places.show_banner()
            self._places.release(one=True)

    def _start_the_others(self) -> None:
        """Start the other slots. The first started alone, so that an error in the executors is logged once."""
        if self._not_started and self._stopping_since is None:
            others, self._not_started = self._not_started, 0
            self._places.add(others)

    # A slot has ended

    def _handle_end(self, reaped: Reaped) -> None:
        """Handle the end of a slot. Another follows in its place, unless the worker or the place is to end.

        If a job of a dead slot has failed while the worker stops, or in a slot that drained, a last slot follows, which
        publishes that and takes no job.
        """
        phase, reloads = reaped.slot.phase, reaped.slot.page.request == Request.RELOAD
        self._watch.note_left_behind(reaped.slot)
        if phase is Phase.DONE or (phase is Phase.STARTING and reaped.code == Exit.EXECUTORS):
            self._left(reaped)
        else:
            self._died(reaped)
        ended_at_limit = phase is Phase.DONE and reaped.code == Exit.LIMIT
        last_follows = self._places.notices and phase is not Phase.STARTING
        no_other = self._stopping_since is not None or reaped.place.drains_for is not None
        if last_follows if no_other else not ended_at_limit:
            self._places.refill(reaped, hold=self._holds(reaped))
        else:
            self._places.remove(reaped)
        if phase is not Phase.STARTING:  # the slot may have imported the executors and ended since the last look
            self._has_started(reloads=reloads)

    def _holds(self, reaped: Reaped) -> bool:
        """Return whether the place waits until a file of the executors has changed, or another slot imported them."""
        others = (slot for slot in self._places.slots if slot is not reaped.slot)
        starting = any(slot.phase is Phase.STARTING for slot in others)
        return self._reloading is not None and self._stopping_since is None and self._reloading.holds(starting=starting)

    def _wait_for_change(self, slot: SlotHandle) -> bool:
        """Return whether the worker waits for a change of the executors, which this slot could not import."""
        if self._reloading is None or self._stopping_since is not None:
            return False
        self._reloading.watch(slot.folders)
        self._reloading.failed()
        if self._reloading.waits:
            log.info("the worker waits until a file of the executors changes")
        return self._reloading.waits

    def _left(self, reaped: Reaped) -> None:
        if reaped.slot.has_left_behind:  # what these jobs had left has ended with the slot
            death = self._takeover.death_of(reaped.slot, reaped.code)
            if reaped.code < 0:  # killed while only these jobs executed, so its page looks as if it had left
                self._count_death(death)
            self._places.pass_on(self._takeover.take_over(reaped.slot, death))
        if reaped.code == Exit.RECYCLE:
            log.info("slot recycled between jobs", pid=reaped.slot.pid)
            self._count_recycled(reaped)
        elif reaped.code == Exit.LIMIT:
            log.info("slot ended: it reached a limit", pid=reaped.slot.pid)
        elif reaped.code == Exit.FAILED or (reaped.code == Exit.EXECUTORS and not self._wait_for_change(reaped.slot)):
            self._give_up(Exit(reaped.code))

    def _died(self, reaped: Reaped) -> None:
        place, slot, code = reaped
        death = self._takeover.death_of(slot, code)
        self._count_death(death)
        self._places.pass_on(self._takeover.take_over(slot, death))
        if slot.phase is not Phase.STARTING or slot.was_interrupted:
            return
        if slot.death is None and self._wait_for_change(slot):
            log.error(f"{death.outcome.reason} while it imported the executors")
        elif place.early_deaths + 1 >= _STARTS_MOST:
            log.error(f"{death.outcome.reason} while it imported the executors, {_STARTS_MOST} times in a row")
            self._give_up(Exit.EXECUTORS)

    # The worker stops

    def _give_up(self, code: Exit) -> None:
        self._exit = code
        if self._stopping_since is None:
            self._stop()

    def _has_no_time_left(self) -> bool:
        """Return whether the worker stops and the grace period is over, or was cut short by a second Ctrl-C."""
        since = self._stopping_since
        return since is not None and time.monotonic() >= since + self._settings.grace_period

    def _stop(self) -> None:
        self._stopping_since = time.monotonic()
        self._places.stop()

    # Health

    def _finish_health_pass(self) -> None:
        if self._health and self._metrics:
            self._health.finish_pass()
            self._metrics.files.fold()

    def _is_ready(self) -> bool:
        return self._stopping_since is None and any(map(_is_connected, self._places.slots))

    def _metrics_text(self) -> bytes:
        return self._metrics.text(self._slots()) if self._metrics else b""

    def _slots(self) -> Slots:
        slots, share = self._places.slots, self._settings.memory_share()
        by_place = self._places.slots_by_number
        return Slots(
            jobs_running=sum(len(lane.page.read().leases) for slot in slots for lane in slot.lanes),
            wanted=self._settings.concurrency,
            running=len(slots),
            connected=sum(_is_connected(slot) for slot in slots),
            memory={number: resident(by_place[number].pid) for number in sorted(by_place)[:_MEASURED_MOST]},
            memory_limit=share.hard if share else None,
        )

    def _count_recycled(self, reaped: Reaped) -> None:
        if self._metrics:
            self._metrics.count_recycled(self._places.why_recycled(reaped))

    def _count_death(self, death: Death) -> None:
        if self._metrics:
            outcome = death.outcome
            self._metrics.count_death(outcome.kind if isinstance(outcome, Failed) else "interrupted")


def _is_connected(slot: SlotHandle) -> bool:
    return any(lane.page.phase in _CONNECTED for lane in slot.lanes)


def _watch_files(sources: Sources) -> "Reloading":
    from tubeherd.supervisor.reloading import Reloading  # only for --reload

    return Reloading(source.folder for source in sources.modules if source.folder is not None)


def _make_metrics() -> Metrics:
    try:
        return Metrics()
    except OSError as error:
        raise CannotListen(f"no temporary directory for what /metrics shows: {error}") from error
