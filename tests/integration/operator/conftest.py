"""What all tests with pollers need: to see their own alone, and to leave none behind."""

import threading
from collections.abc import Callable, Iterator

import pytest

from tests.support.waiting import wait_for


@pytest.fixture
def pollers() -> Iterator[Callable[[], list[str]]]:
    """Return the names of the pollers that the test has started; when the test is over, wait until they have ended."""
    before = {*threading.enumerate()}

    def started() -> list[str]:
        threads = {*threading.enumerate()} - before
        return [thread.name for thread in threads if thread.name.startswith("poller ")]

    yield started
    wait_for(lambda: not started(), lambda: f"the end of {started()}")
