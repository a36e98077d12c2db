"""Whether the slots of one place have reached a limit."""

import pytest

from tubeherd.slot.limits import Progress


@pytest.mark.parametrize(
    ("progress", "max_jobs", "reached"),
    [
        (Progress(0, None), 0, False),
        (Progress(1000, None), 0, False),
        (Progress(2, None), 3, False),
        (Progress(3, None), 3, True),
        (Progress(4, None), 3, True),
        (Progress(0, 100.1), 0, False),
        (Progress(0, 100.0), 0, True),
        (Progress(3, 101.0), 3, True),
        (Progress(2, 99.0), 3, True),
        (Progress(2, 101.0), 3, False),
    ],
)
def test_limit_is_reached_by_jobs_or_by_time(progress, max_jobs, reached):
    assert progress.is_at_limit(max_jobs, now=100.0) is reached
