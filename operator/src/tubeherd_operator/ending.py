"""Ends the operator's process if it cannot go on; Kubernetes starts it again."""

import os
from typing import Final, NoReturn

from tubeherd.logs import log

_BROKEN: Final = 1
"""The exit code."""


def end(why: str, trace: str | None = None) -> NoReturn:
    """End the process at once, whatever its other threads do: another operator may lead, or should.

    `why` begins the line that is logged; `trace` is the traceback of the error that is the reason, if there is one.
    """
    log.error(f"{why}; this operator ends and is started again", trace=trace)
    os._exit(_BROKEN)
