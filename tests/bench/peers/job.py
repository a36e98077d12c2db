"""The job that all contestants execute."""

import os
import time
from functools import cache
from pathlib import Path
from typing import Final

from tests.bench.peers.page import Page

NUMBER: Final = 1
NAME: Final = "abcdefgh"
HANGING: Final = 2
"""A job of this number takes longer than any measurement."""
HANGS_SECONDS: Final = 600.0
RETRY_SECONDS: Final = 600
"""Jobs get one retry after this time, as those of a pool do by default, where a contestant can be told so."""


@cache
def page() -> Page:
    """Return the page of this process's contestant."""
    return Page(Path(os.environ["BENCH_PAGE"]))


def work(number: int, name: str) -> None:
    """Note that the job begins."""
    page().note()
    if number == HANGING:
        time.sleep(HANGS_SECONDS)
