"""The replicas that a pool declares no longer, and those of a pool that was suspended."""

import pytest

from tubeherd_operator.decisions.plan import make_plan

NOTE = "tubeherd.io/replicas-before-suspension"


def live(pools, spec, replicas, *, ours, note=None):
    """Return a Deployment with so many replicas, which the operator has declared or not."""
    found = pools.live(pools.pool({"tubes": ["mail"], **spec}))
    found["spec"]["replicas"] = replicas
    fields = {"f:spec": {"f:replicas": {}} if ours else {}}
    found["metadata"]["managedFields"] = [
        {"manager": "kubectl", "operation": "Update", "fieldsV1": {"f:spec": {"f:replicas": {}}}},
        {"manager": "tubeherd-operator", "operation": "Apply", "fieldsV1": fields},
    ]
    if note:
        found["metadata"]["annotations"][NOTE] = note
    return found


@pytest.mark.parametrize(
    ("before", "after", "replicas", "ours", "note", "kept"),
    [
        ({"replicas": 3}, {}, 3, True, None, 3),
        ({"replicas": 3}, {"replicas": 4}, 3, True, None, None),
        ({}, {"concurrency": 2}, 3, False, None, None),
        ({"suspend": True}, {}, 0, True, "3", 3),
        ({"suspend": True}, {}, 0, True, "0", 0),
        ({"suspend": True}, {"replicas": 2}, 0, True, "3", None),
        ({}, {"suspend": True}, 3, False, None, None),
    ],
    ids=["given up", "changed", "of others", "resumed", "resumed at 0", "resumed and declared", "suspended"],
)
def test_replicas_are_kept_before_they_are_given_up(pools, before, after, replicas, ours, note, kept):
    deployment = live(pools, before, replicas, ours=ours, note=note)
    plan = make_plan(pools.seen(pools.pool({"tubes": ["mail"], **after}), deployment=deployment))
    assert plan.change.event.reason == "Updated"
    if kept is None:
        assert plan.change.keep_replicas is None
    else:
        assert plan.change.keep_replicas == {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "mail", "namespace": "shop", "resourceVersion": "17"},
            "spec": {"replicas": kept},
        }
        assert "replicas" not in plan.change.deployment["spec"]


@pytest.mark.parametrize(
    ("spec", "deployment", "note"),
    [
        ({}, {"replicas": 3, "ours": False}, "3"),
        ({}, {"replicas": 0, "ours": False}, "0"),
        ({"replicas": 3}, {"replicas": 3, "ours": True}, "3"),
        ({"replicas": 3}, {"replicas": 0, "ours": True}, "3"),
        ({}, {"replicas": 0, "ours": True}, "1"),
        ({}, {"replicas": 0, "ours": True, "note": "5"}, "5"),
        ({"replicas": 2}, None, "2"),
        ({}, None, "1"),
    ],
    ids=[
        "scaled by others",
        "scaled to 0 by others",
        "declared",
        "declared, suspended before this was noted",
        "suspended before this was noted",
        "noted already",
        "created with replicas",
        "created without",
    ],
)
def test_suspended_pool_notes_how_many_replicas_it_had(pools, spec, deployment, note):
    found = live(pools, spec, **deployment) if deployment else None
    pool = pools.pool({"tubes": ["mail"], **spec, "suspend": True})
    wanted = make_plan(pools.seen(pool, deployment=found)).change.deployment
    assert wanted["spec"]["replicas"] == 0
    assert wanted["metadata"]["annotations"][NOTE] == note


def test_suspended_pool_is_left_as_it_is(pools):
    pool = pools.pool({"tubes": ["mail"], "suspend": True})
    found = live(pools, {"suspend": True}, 0, ours=True, note="3")
    assert make_plan(pools.seen(pool, deployment=found)).change is None
