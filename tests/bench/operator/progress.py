"""Prints what the measurement does, and when."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

_BEGAN: Final = time.monotonic()


def say(text: str) -> None:
    """Print a line with the seconds since the start."""
    print(f"[{time.monotonic() - _BEGAN:5.0f} s] {text}", flush=True)


@contextmanager
def step(what: str) -> Iterator[None]:
    """Print what begins, and how long it took."""
    say(f"{what} …")
    began = time.monotonic()
    yield
    say(f"{what}: {time.monotonic() - began:.1f} s")
