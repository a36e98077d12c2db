"""Fixtures for all tiers: a real beanstalkd, and what this process logs."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import tests.support.installed  # noqa: F401 - first, because it refuses to test another worker than that of worker/src
from tests.support.beanstalkd import Beanstalkd
from tubeherd.executors import registry
from tubeherd.logs import log
from tubeherd.shared_memory.page import Page


@pytest.fixture
def logged(capfd: pytest.CaptureFixture[str]) -> Iterator[Callable[[], list[dict[str, Any]]]]:
    """Return the lines that this process logs: `logged()` gives those since the last time."""
    log.configure("json", "debug")
    yield lambda: [json.loads(line) for line in capfd.readouterr().err.splitlines()]
    log.configure("text", "info")


@pytest.fixture
def is_locked() -> Callable[[Page], bool]:
    """Tell whether any process holds the lock of a page, which itself lets the one in that does."""

    def ask(page: Page) -> bool:
        if free := page._lock.acquire(False):
            page._lock.release()
        return not free

    return ask


@pytest.fixture
def no_executors() -> Iterator[None]:
    """An empty registry of executors, which is after the test as it was before."""
    before = dict(registry)
    registry.clear()
    yield
    registry.clear()
    registry.update(before)


@pytest.fixture
def beanstalkd(tmp_path: Path) -> Iterator[Beanstalkd]:
    """A running beanstalkd with a binlog, ended after the test."""
    server = Beanstalkd(tmp_path / "binlog")
    yield server
    server.close()
