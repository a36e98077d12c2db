"""When a pool is given newer counts of its jobs."""

import pytest

from tubeherd_operator.decisions.counts import Counts, is_due


@pytest.mark.parametrize(
    ("before", "after", "seconds", "due"),
    [
        (None, {}, 0, True),
        ({}, {}, 3600, False),
        ({"ready": 1}, {"ready": 9}, 29.9, False),
        ({"ready": 1}, {"ready": 9}, 30, True),
        ({"reserved": 1}, {"reserved": 0}, 1, False),
        ({"delayed": 1}, {"delayed": 2}, 1, False),
        ({"buried": 1}, {"buried": 2}, 0, True),
        ({"buried": 2}, {"buried": 0, "ready": 2}, 0, True),
        ({"tubes": ["mail"]}, {"tubes": ["mail", "sms"]}, 1, False),
        ({"tubes": ["mail"]}, {"tubes": ["sms"]}, 30, True),
        ({"tubes": ["mail"]}, {"tubes": ["sms"], "buried": 1}, 0, True),
    ],
)
def test_counts_are_due(pools, before, after, seconds, due):
    assert is_due(before if before is None else pools.counts(**before), pools.counts(**after), seconds) is due


@pytest.mark.parametrize(("before", "after"), [(None, "away"), ("away", None), ("refused", "timed out")])
def test_loss_and_return_of_the_server_are_due_at_once(pools, before, after):
    def counts(error):
        return Counts(error=error) if error else pools.counts()

    assert is_due(counts(before), counts(after), 0)
    assert not is_due(counts(after), counts(after), 3600)
