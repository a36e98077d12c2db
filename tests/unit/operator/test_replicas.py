"""The replicas that a pool declares no longer, and those of a pool that was suspended."""

import pytest

from tubeherd_operator.decisions.plan import make_plan

NOTE = "tubeherd.io/replicas-before-suspension"


def live(pools, spec, replicas, note=None):
    """Return the Deployment of such a spec, with so many replicas."""
    found = pools.live(pools.pool({"tubes": ["mail"], **spec}))
    found["spec"]["replicas"] = replicas
    if note:
        found["metadata"]["annotations"][NOTE] = note
    return found


@pytest.mark.parametrize(
    ("before", "after", "replicas", "note", "kept"),
    [
        ({"replicas": 3}, {}, 3, None, 3),
        ({"replicas": 0}, {}, 0, None, 0),
        ({"replicas": 3}, {"replicas": 4}, 3, None, None),
        ({}, {"concurrency": 2}, 3, None, 3),
        ({"suspend": True}, {}, 0, "3", 3),
        ({"suspend": True}, {}, 0, "0", 0),
        ({"suspend": True}, {"replicas": 2}, 0, "3", None),
        ({}, {"suspend": True}, 3, None, None),
    ],
    ids=["given up", "0 given up", "changed", "of others", "resumed", "resumed at 0", "resumed, declared", "suspended"],
)
def test_replicas_are_kept_before_they_are_given_up(pools, before, after, replicas, note, kept):
    deployment = live(pools, before, replicas, note)
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
    ("spec", "before", "note"),
    [
        ({}, {"spec": {}, "replicas": 3}, "3"),
        ({}, {"spec": {}, "replicas": 0}, "0"),
        ({"replicas": 3}, {"spec": {"replicas": 3}, "replicas": 3}, "3"),
        ({}, {"spec": {"suspend": True}, "replicas": 0}, "1"),
        ({"concurrency": 2}, {"spec": {"suspend": True}, "replicas": 0, "note": "5"}, "5"),
        ({"replicas": 2}, None, "2"),
        ({}, None, "1"),
    ],
    ids=[
        "scaled by others",
        "scaled to 0 by others",
        "declared",
        "note removed by hand",
        "noted already",
        "created with replicas",
        "created without",
    ],
)
def test_suspended_pool_notes_how_many_replicas_it_had(pools, spec, before, note):
    found = live(pools, **before) if before else None
    pool = pools.pool({"tubes": ["mail"], **spec, "suspend": True})
    wanted = make_plan(pools.seen(pool, deployment=found)).change.deployment
    assert wanted["spec"]["replicas"] == 0
    assert wanted["metadata"]["annotations"][NOTE] == note


def test_suspended_pool_is_left_as_it_is(pools):
    pool = pools.pool({"tubes": ["mail"], "suspend": True})
    found = live(pools, {"suspend": True}, 0, note="3")
    assert make_plan(pools.seen(pool, deployment=found)).change is None
