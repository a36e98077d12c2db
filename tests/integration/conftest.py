"""Which cases of a test `make check` leaves out."""

from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.hookimpl(tryfirst=True)  # before the marks are looked at
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every case of a parametrized test as slow but the first one, which stands for its kind."""
    for item in items:
        case = getattr(item, "callspec", None)
        if HERE in item.path.parents and case is not None and any(case.indices.values()):
            item.add_marker(pytest.mark.slow)
