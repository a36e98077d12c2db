"""How the process of a slot ends: by `os._exit`, without the clean-up at the end of a Python process.

The process is a fork of the supervisor. So the clean-up would be that of the supervisor, which still runs.
"""

import os
import sys
from contextlib import suppress
from typing import NoReturn

from tubeherd.exits import Exit
from tubeherd.logs import ErrorDetail, log
from tubeherd.processing.reasons import describe, source_line


def end_process(code: Exit) -> NoReturn:
    """Write what jobs have printed and is still buffered, then end the process with this exit code."""
    with suppress(Exception):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


def crash(error: BaseException, detail: ErrorDetail) -> NoReturn:
    """End the process by an error that no job caused. The supervisor then gives the verdicts on the slot's jobs.

    `detail` says what is logged of the error.
    """
    log.error(f"the slot ends: {describe(error, detail)}", at=source_line(error))
    end_process(Exit.CRASHED)


def end_fork(job: int) -> NoReturn:
    """End a process that a job forked, and in which the executor returned; only the parent finishes the job."""
    log.warning("a process that a job forked came back from the executor: it ends here", job=job)
    os._exit(0)
