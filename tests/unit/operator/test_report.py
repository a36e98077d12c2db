"""What of a status changes."""

from tubeherd_operator.decisions.counts import Counts
from tubeherd_operator.decisions.report import build_status, changes


def status(pools, counts, before=None):
    return build_status(pools.seen(pools.pool(status=before), counts=counts), None, "t")


def test_counts_of_all_tubes_and_of_each(pools):
    found = status(pools, pools.counts(ready=1, reserved=2, delayed=3, buried=4))
    assert [found[state] for state in ("ready", "reserved", "delayed", "buried")] == [2, 4, 6, 8]
    assert found["tubes"][1] == {"name": "sms", "ready": 1, "reserved": 2, "delayed": 3, "buried": 4}


def test_another_tube_shows_at_once(pools):
    before = status(pools, pools.counts())
    pool = pools.pool({"tubes": ["mail"], "replicas": 1}, before)
    found = build_status(pools.seen(pool), None, "t")
    assert [tube["name"] for tube in found["tubes"]] == ["mail"]


def test_last_counts_stay_while_the_server_is_away(pools):
    before = status(pools, pools.counts(buried=4))
    assert status(pools, Counts(error="away"), before)["buried"] == 8


def test_only_what_differs_is_written(pools):
    before = status(pools, pools.counts()) | {"lastKick": {"value": "all"}}
    assert changes(status(pools, pools.counts(), before), before) == {}
    patch = changes(status(pools, pools.counts(buried=1), before), before)
    assert patch.keys() == {"buried", "tubes"}
    assert changes({"a": 1}, {"a": 1, "gone": 2, "lastKick": 3}) == {"gone": None}
