"""What all tests with pollers need: to see their own alone, and to leave none behind."""

import threading
from collections.abc import Callable, Iterator

import pytest

from tests.support.waiting import wait_for


@pytest.fixture
def pollers() -> Iterator[Callable[[], list[str]]]:
    """Return the names of the pollers that the test has started; when the test is over, wait until they have ended."""
    before = {*threading.enumerate()}

    def started(kinds: str | tuple[str, ...] = "poller ") -> list[str]:
        threads = {*threading.enumerate()} - before
        return [thread.name for thread in threads if thread.name.startswith(kinds)]

    yield started
    both = ("poller ", "burials ")
    wait_for(lambda: not started(both), lambda: f"the end of {started(both)}")
