"""How the process of a slot ends: at once, without the clean-up that belongs to the supervisor it was forked from."""

import os
import sys
from contextlib import suppress
from typing import NoReturn

from tubeherd.exits import Exit
from tubeherd.logs import log
from tubeherd.processing.reasons import describe


def end_process(code: Exit) -> NoReturn:
    """End the process with this exit code, after what its jobs printed is written."""
    with suppress(Exception):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


def crash(error: BaseException) -> NoReturn:
    """End the process because of an error that no job caused; the supervisor gives the verdicts on its jobs."""
    log.error(f"the slot ends: {describe(error)}")
    end_process(Exit.CRASHED)


def end_fork(job: int) -> NoReturn:
    """End a process that a job forked and that came back from the executor: the job is its parent's."""
    log.warning("a process that a job forked came back from the executor: it ends here", job=job)
    os._exit(0)
