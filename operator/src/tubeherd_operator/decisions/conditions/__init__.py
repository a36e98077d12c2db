"""The conditions of a pool but those of a kick and a discard: whether the pool works, and if not, why and what to do.

A condition is a file of this package, with its reasons and a function that judges an observation, and a row here.
"""

from collections.abc import Callable
from typing import Final

from tubeherd_operator.decisions.conditions import (
    autoscaled,
    available,
    conflict,
    out_of_memory,
    outdated,
    overridden,
    progressing,
    ready,
    retries_differ,
    server,
    tubes_left_out,
    unprotected,
)
from tubeherd_operator.decisions.findings import Finding
from tubeherd_operator.decisions.observation import Observation

Judge = Callable[[Observation], Finding | None]
_JUDGES: Final[tuple[Judge, ...]] = (
    ready.judge,
    available.judge,
    progressing.judge,
    server.judge,
    autoscaled.judge,
    conflict.judge,
    out_of_memory.judge,
    overridden.judge,
    retries_differ.judge,
    tubes_left_out.judge,
    outdated.judge,
    unprotected.judge,
)
"""One for each condition; None means that the pool does not have it."""


def conditions(seen: Observation) -> list[Finding]:
    """Return the conditions of a pool."""
    return [finding for judge in _JUDGES if (finding := judge(seen))]
