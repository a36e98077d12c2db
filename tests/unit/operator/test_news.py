"""Which changes of conditions are reported by Events."""

import pytest

from tubeherd_operator.decisions.findings import Finding, stamp
from tubeherd_operator.decisions.news import news

RUNNING, STARTING = ("Ready", "True", "Running"), ("Ready", "False", "Starting")
REACHABLE, AWAY = ("ServerReachable", "True", "Counted"), ("ServerReachable", "False", "Unreachable")
NOT_ASKED = ("ServerReachable", "Unknown", "NotAskedYet")
NO_EVENT = None


@pytest.mark.parametrize(
    ("before", "after", "event"),
    [
        (None, RUNNING, NO_EVENT),
        (None, STARTING, NO_EVENT),
        (RUNNING, STARTING, NO_EVENT),
        (STARTING, RUNNING, NO_EVENT),
        (RUNNING, ("Ready", "False", "Suspended"), NO_EVENT),
        (RUNNING, ("Ready", "False", "ServerUnreachable"), NO_EVENT),
        (RUNNING, ("Ready", "False", "Conflict"), NO_EVENT),
        (None, ("Ready", "False", "NoServer"), ("Warning", "NoServer")),
        (STARTING, ("Ready", "False", "ImagePull"), ("Warning", "ImagePull")),
        (("Ready", "False", "ImagePull"), ("Ready", "False", "CrashLoop"), ("Warning", "CrashLoop")),
        (("Ready", "False", "ImagePull"), ("Ready", "False", "ImagePull"), NO_EVENT),
        (("Ready", "False", "ImagePull"), RUNNING, NO_EVENT),
        (None, REACHABLE, NO_EVENT),
        (None, NOT_ASKED, NO_EVENT),
        (NOT_ASKED, REACHABLE, NO_EVENT),
        (None, AWAY, ("Warning", "Unreachable")),
        (REACHABLE, AWAY, ("Warning", "Unreachable")),
        (AWAY, AWAY, NO_EVENT),
        (AWAY, NOT_ASKED, NO_EVENT),
        (AWAY, REACHABLE, ("Normal", "ServerReachable")),
        (None, ("Conflict", "True", "ForeignDeployment"), ("Warning", "ForeignDeployment")),
        (None, ("RetriesDiffer", "True", "RetriesDiffer"), ("Warning", "RetriesDiffer")),
        (("RetriesDiffer", "True", "RetriesDiffer"), ("RetriesDiffer", "True", "RetriesDiffer"), NO_EVENT),
    ],
)
def test_events_of_a_condition(before, after, event):
    shown = {before[0]: stamp(Finding(*before, "before"), None, 1, "t")} if before else {}
    found = [(made.type, made.reason, made.message) for made in news([Finding(*after, "after")], shown)]
    assert found == ([(*event, "after")] if event else [])
