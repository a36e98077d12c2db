"""The life of a slot's process, from the fork to the exit code; `Slot` does the jobs in between.

SIGTERM to a slot means that a job is late, not that the slot is to stop. A slot stops if it reads the request to stop
on its page in shared memory, or if its parent is dead. It checks both between two jobs. If it waits for a job, a byte
on the control socket ends the wait.
"""

import os
import signal
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import NoReturn

from tubeherd.burials.writer import writer_of
from tubeherd.executors import Executor, ExecutorError
from tubeherd.exits import Exit
from tubeherd.formats.globs import is_glob
from tubeherd.logs import log
from tubeherd.processes import become_subreaper
from tubeherd.processing import discovery
from tubeherd.processing.processor import Processor
from tubeherd.processing.reporting import Reporter
from tubeherd.processing.settling import Settler
from tubeherd.processing.started import note_loops, note_starts
from tubeherd.processing.tube_choice import TubeChoice
from tubeherd.settings import WorkerSettings
from tubeherd.shared_memory.control import encode_delays, encode_folder
from tubeherd.slot.context import SlotContext
from tubeherd.slot.exit import crash, end_process
from tubeherd.slot.slot import Slot
from tubeherd.slot.user_logs import UserLogs
from tubeherd.streams import streams


class SlotProcess:
    """The process that one slot runs in. The supervisor makes the object, forks, and calls `run` in the fork."""

    def __init__(self, settings: WorkerSettings, context: SlotContext, kind: type[Slot]) -> None:
        """`kind` is the class of the slot."""
        self._settings = settings
        self._context = context
        self._kind = kind
        self._slot: Slot | None = None
        self._forked_by_job = False
        """Whether a job forked this process from the slot's."""

    def run(self) -> NoReturn:
        """Run the slot, and end the process with the slot's exit code."""
        try:
            self._prepare()
            code = self._do_jobs()
        except BaseException as error:
            crash(error, self._settings.error_detail)
        end_process(code)

    def _do_jobs(self) -> Exit:
        """Import the executors, publish notices, then do jobs until a limit, a stop or the end of the supervisor."""
        sys.dont_write_bytecode |= self._settings.reload  # two changes in one second would look the same in a cache
        try:
            executors = discovery.load(
                self._settings.executors,
                sources=self._context.sources,
                built_in=discovery.built_in(self._settings),
                entry_points=self._context.entry_points,
                error_detail=self._settings.error_detail,
            )
            choice = TubeChoice(executors, self._settings.include, self._settings.exclude)
        except ExecutorError as error:
            log.error(str(error))
            self._send_folders(error)
            return Exit.EXECUTORS
        self._send_folders()
        streams.mend()
        note_loops()
        if self._context.shows_banner:
            from tubeherd.slot.banner import banner

            log.show(banner(self._settings, choice.executors(), log.columns()))
        if self._context.tally:
            self._context.tally.begin(list(choice.executors()))
        reporter = Reporter(self._context.tally, self._context.page.listening, self._settings)
        self._send_schedules(executors)
        processor = Processor(executors, self._settings.policy(), self._settings.error_detail)
        settler = Settler(reporter, writer_of(self._settings, self._context.tally))
        self._slot = self._kind(self._settings, self._context, processor, settler, choice)
        for notice in self._context.notices:
            reporter.publish(notice)
        return self._slot.run()

    def _send_folders(self, error: ExecutorError | None = None) -> None:
        """Send the folders of the imported modules to the supervisor, if it is to watch them."""
        if self._settings.reload:
            from tubeherd.slot.loaded import loaded_folders

            for folder in loaded_folders(error):
                self._context.control.send(encode_folder(folder))

    def _send_schedules(self, executors: Mapping[str, Executor]) -> None:
        """Send the schedules of the executors to the supervisor, which never imports executors.

        One without its own is left out, unless there are globs: it may be the executor of a tube that a glob matches.
        """
        has_globs = any(map(is_glob, executors))
        for name, executor in executors.items():
            if executor.schedule is not None or has_globs:
                delays = None if executor.schedule is None else executor.schedule.delays
                self._context.control.send(encode_delays(name, delays))

    def _prepare(self) -> None:
        """Turn this copy of the supervisor's process into a slot's: process group, standard streams, signals."""
        # The supervisor does this too, because either process may run first. The second call may be refused.
        with suppress(PermissionError):
            os.setpgid(0, 0)
        # If the container runs out of memory, the kernel is to kill a slot and not the supervisor.
        with suppress(OSError):
            Path("/proc/self/oom_score_adj").write_text("1000")
        streams.begin_slot()
        UserLogs(self._settings.error_detail).install(self._settings.log_level)
        become_subreaper()
        note_starts()
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            signal.signal(signal.SIGHUP, signal.SIG_DFL)
        signal.signal(signal.SIGTERM, self._on_sigterm)
        os.register_at_fork(after_in_child=self._close_in_fork)
        if self._context.metrics:
            self._context.metrics.files.begin_slot(self._context.number)

    def _on_sigterm(self, _number: int, frame: FrameType | None) -> None:
        if self._slot is not None:
            self._slot.on_deadline(frame)

    def _close_in_fork(self) -> None:
        """Close pages and connections in a process that a job forked, because only the slot's own process uses them."""
        if self._forked_by_job:  # forked from a process in which they are closed already
            return
        self._forked_by_job = True
        if self._slot is not None:
            self._slot.forked_by_job = True
        self._context.control.close()
        self._context.page.close()
        for lane in self._context.lanes:
            lane.close_in_fork()
        if signal.getsignal(signal.SIGTERM) == self._on_sigterm:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
