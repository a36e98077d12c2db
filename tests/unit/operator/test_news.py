"""Which changes of conditions are reported by Events."""

import pytest

from tubeherd_operator.decisions.conditions import conditions
from tubeherd_operator.decisions.counts import Counts
from tubeherd_operator.decisions.findings import Finding, stamp
from tubeherd_operator.decisions.news import news

RUNNING, STARTING = ("True", "Running"), ("False", "Starting")
IMAGE, CRASH = ("False", "ImagePull"), ("False", "CrashLoop")
BACK, NOT_ASKED = ("True", "Reachable"), ("Unknown", "NotAskedYet")


@pytest.mark.parametrize(
    ("before", "after", "event", "is_reported"),
    [
        (None, STARTING, None, False),
        (RUNNING, STARTING, None, False),
        (None, IMAGE, "Warning", True),
        (RUNNING, IMAGE, "Warning", True),
        (STARTING, IMAGE, "Warning", True),
        (IMAGE, CRASH, "Warning", True),
        (IMAGE, IMAGE, "Warning", False),
        (IMAGE, RUNNING, None, False),
        (None, BACK, "Normal", False),
        (NOT_ASKED, BACK, "Normal", False),
        (IMAGE, BACK, "Normal", True),
        (BACK, BACK, "Normal", False),
    ],
)
def test_trouble_is_reported_when_it_begins_and_good_news_after_trouble_alone(before, after, event, is_reported):
    shown = {"Ready": stamp(Finding("Ready", *before, "before"), None, 1, "t")} if before else {}
    found = [(made.type, made.reason, made.message) for made in news([Finding("Ready", *after, "after", event)], shown)]
    assert found == ([(event, after[1], "after")] if is_reported else [])


def foreign(pools):
    live = pools.live(pools.pool())
    live["metadata"]["ownerReferences"] = []
    return {"deployment": live}


@pytest.mark.parametrize(
    ("seen", "reported"),
    [
        (lambda pools: {}, {"Reachable": "Normal"}),
        (lambda pools: {"counts": None}, {}),
        (lambda pools: {"counts": Counts(error="away")}, {"Unreachable": "Warning"}),
        (foreign, {"ForeignDeployment": "Warning", "Reachable": "Normal"}),
        (lambda pools: {"server": None, "counts": None}, {"NoServer": "Warning"}),
        (lambda pools: {"pool": pools.pool({"tubes": ["mail"], "suspend": True})}, {"Reachable": "Normal"}),
    ],
    ids=["well", "not asked yet", "server away", "foreign Deployment", "no server", "suspended"],
)
def test_a_trouble_is_reported_once_though_several_conditions_show_it(pools, seen, reported):
    found = conditions(pools.seen(**seen(pools)))
    assert {finding.reason: finding.event for finding in found if finding.event} == reported
