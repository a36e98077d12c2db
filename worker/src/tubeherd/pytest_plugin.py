"""The fixture `beanstalkd` for pytest, which finds it by the entry point `pytest11` of this package."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tubeherd.testing import Beanstalkd


@pytest.fixture
def beanstalkd() -> "Iterator[Beanstalkd]":
    """A real beanstalkd on a free port of 127.0.0.1, killed after the test; `beanstalkd.server` is its address."""
    from tubeherd.testing import Beanstalkd  # here, because pytest imports this module even if no test needs it

    with Beanstalkd() as server:
        yield server
