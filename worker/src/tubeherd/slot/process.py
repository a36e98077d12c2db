"""The life of a slot's process: from the fork to the exit code. `slot` has the jobs in between.

SIGTERM means to a slot that a job is late. A slot stops if its page has the request, which it reads between jobs, or if
its parent is gone; a byte on the control socket ends a wait, so that the page is read.
"""

import os
import signal
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import NoReturn

from tubeherd.executors import ExecutorError
from tubeherd.exits import Exit
from tubeherd.logs import log
from tubeherd.processing import discovery
from tubeherd.processing.processor import Processor
from tubeherd.processing.reporting import Reporter
from tubeherd.processing.settling import Settler
from tubeherd.settings import WorkerSettings
from tubeherd.slot.context import SlotContext
from tubeherd.slot.exit import crash, end_process
from tubeherd.slot.slot import Slot


class SlotProcess:
    """The process that one slot runs in; made by the supervisor, run in the fork."""

    def __init__(self, settings: WorkerSettings, context: SlotContext, kind: type[Slot]) -> None:
        """Run a slot of this kind."""
        self._settings = settings
        self._context = context
        self._kind = kind
        self._slot: Slot | None = None
        self._in_fork = False
        """Whether this process was forked from the slot's."""

    def run(self) -> NoReturn:
        """Do everything a slot does, and end the process with the slot's exit code."""
        try:
            self._prepare()
            code = self._do_jobs()
        except BaseException as error:
            crash(error)
        end_process(code)

    def _do_jobs(self) -> Exit:
        """Import the executors, publish burials, then do jobs until a limit, a stop or the end of the supervisor."""
        try:
            executors = discovery.load(self._settings.executors)
            tubes = discovery.choose_tubes(executors, self._settings.include, self._settings.exclude)
        except ExecutorError as error:
            log.error(str(error))
            return Exit.EXECUTORS
        if self._context.tally:
            self._context.tally.begin(tubes)
        reporter = Reporter(self._context.tally, self._context.page.listening, self._settings)
        processor = Processor(executors, self._settings.policy())
        self._slot = self._kind(self._settings, self._context, processor, Settler(reporter), tubes)
        for burial in self._context.burials:
            reporter.publish(burial)
        return self._slot.run()

    def _prepare(self) -> None:
        """Turn this copy of the supervisor's process into a slot's: group, standard input, signals, forks."""
        with suppress(PermissionError):  # the supervisor does the same; one of the two comes first
            os.setpgid(0, 0)
        # If memory runs out all the same, the kernel is to kill a slot, never the supervisor.
        with suppress(OSError):
            Path("/proc/self/oom_score_adj").write_text("1000")
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGTERM, self._on_sigterm)
        os.register_at_fork(after_in_child=self._leave_to_parent)
        if self._context.metrics:
            self._context.metrics.write_as(f"slot{self._context.number}")

    def _on_sigterm(self, _number: int, _frame: FrameType | None) -> None:
        if self._slot is not None:
            self._slot.on_deadline()

    def _leave_to_parent(self) -> None:
        """Close pages and connections in a process that a job forked: they are the slot's."""
        if self._in_fork:  # a fork of a fork: its files are its own
            return
        self._in_fork = True
        if self._slot is not None:
            self._slot.in_fork = True
        if self._context.metrics:
            self._context.metrics.write_apart()
        self._context.control.close()
        for lane in self._context.lanes:
            lane.forget()
        if signal.getsignal(signal.SIGTERM) == self._on_sigterm:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
