"""What is reported of a pool whose stored spec is not valid."""

import pytest
from pydantic import ValidationError

from tubeherd_operator.decisions.invalid import report_invalid
from tubeherd_operator.decisions.observation import read_pool

NOW = "2026-11-25T12:00:00Z"


def report(stored, now=NOW):
    with pytest.raises(ValidationError) as raised:
        read_pool(stored, "worker:1", None)
    return report_invalid(stored, raised.value, now)


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"tubes": ["mail"], "concurrency": "four"}, "spec.concurrency: Input should be a valid integer"),
        ({"tubes": ["mail"], "retry": {"delays": ["10s", "soon"]}}, "spec.retry.delays[1]: write it like 90s"),
        ({"tubes": [], "concurrency": 0, "maxJobs": 0, "batchSize": 0}, "and 1 more"),
        (None, "spec: Input should be"),
    ],
)
def test_message_names_the_field_and_what_to_do(pools, spec, said):
    stored = pools.pool() | {"spec": spec}
    (condition,) = report(stored).status["conditions"]
    assert said in condition["message"]
    assert condition["message"].endswith("no job is counted, kicked or discarded: kubectl edit workerpool mail")
    assert (condition["reason"], condition["observedGeneration"]) == ("InvalidSpec", 2)


def test_no_value_is_shown(pools):
    stored = pools.pool({"tubes": ["mail"], "env": [{"name": "A", "value": ["hunter2"]}]})
    assert "hunter2" not in str(report(stored))


def test_other_conditions_stay_and_the_same_is_reported_once(pools):
    old = {"lastTransitionTime": "2026-11-24T12:00:00Z", "observedGeneration": 1}
    before = {"type": "Ready", "status": "True", "reason": "Running", "message": "all is well"} | old
    status = {"buried": 3, "conditions": [before, before | {"type": "ServerReachable"}]}
    stored = pools.pool({"tubes": ["mail"], "concurrency": "four"}, status)
    first = report(stored)
    assert [condition["type"] for condition in first.status["conditions"]] == ["Ready", "ServerReachable"]
    assert first.status["conditions"][0]["lastTransitionTime"] == NOW
    assert [(event.type, event.reason) for event in first.events] == [("Warning", "InvalidSpec")]
    again = report(stored | {"status": stored["status"] | first.status}, "2026-11-25T13:00:00Z")
    assert (again.status, again.events) == ({}, [])
