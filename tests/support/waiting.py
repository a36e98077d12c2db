"""Waiting until something holds, and failing with the reason if it does not."""

import time
from collections.abc import Callable
from typing import Final, TypeVar

Result = TypeVar("Result")

PATIENCE: Final = 45.0
"""Seconds after which a test gives up, less than the default TTR of its jobs. It only ends a test that hangs."""


def wait_for(
    condition: Callable[[], Result | None],
    what: str | Callable[[], str],
    seconds: float = PATIENCE,
    pause: float = 0.01,
) -> Result:
    """Poll until the condition returns something true, and return that.

    Raises TimeoutError with `what`, which may be a function, after so many seconds; `pause` is the time between two
    calls.
    """
    deadline = time.monotonic() + seconds
    while not (result := condition()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {seconds:g} s: {what if isinstance(what, str) else what()}")
        time.sleep(pause)
    return result
