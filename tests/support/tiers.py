"""Which cases of a test are tried by `make check`, and which only by `make slow`."""

from collections.abc import Collection, Iterable
from typing import Any

import pytest


def slow_but_for(quick: Collection[str], cases: Iterable[str]) -> list[Any]:
    """Return these cases as parameters of a test, each marked as slow if it is not one of the quick ones."""
    cases = list(cases)
    assert set(quick) <= set(cases), f"these cases do not exist: {set(quick) - set(cases)}"
    return [case if case in quick else pytest.param(case, marks=pytest.mark.slow) for case in cases]
