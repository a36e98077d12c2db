"""What is done in which situation."""

import copy

import pytest

from tubeherd_operator.decisions.counts import Counts
from tubeherd_operator.decisions.kick import Kick
from tubeherd_operator.decisions.plan import make_plan

NOW = "2026-11-25T12:00:00Z"


def plan(seen):
    return make_plan(seen, NOW)


def settled(pools, spec=None, **metadata):
    """Return a pool whose status is what the operator wrote last, all being well."""
    pool = pools.pool(spec, **metadata)
    return pools.pool(spec, plan(pools.seen(pool)).status, **metadata)


def events(made):
    return [(event.type, event.reason) for event in made.events]


def kick_accepted(made):
    return next(entry for entry in made.status["conditions"] if entry["type"] == "KickAccepted")


def test_new_pool_gets_its_deployment(pools):
    pool = pools.pool()
    made = plan(pools.seen(pool, deployment=None, counts=None))
    assert made.deployment == pools.rendered(pool)
    assert events(made) == [("Normal", "Created")]


def test_pool_without_its_executors_waits_for_them(pools):
    pool = pools.pool(pools.full)
    made = plan(pools.seen(pool, deployment=None, executors_digest=None))
    assert made.deployment is None
    assert made.again_after <= 5
    live = pools.live(pool, "before")
    assert plan(pools.seen(pool, deployment=live, executors_digest=None)).status["replicas"] == 3


def test_nothing_is_done_where_nothing_differs(pools):
    pool = settled(pools)
    made = plan(pools.seen(pool))
    assert (made.deployment, made.events, made.kick, made.again_after) == (None, [], None, None)
    assert made.status == pool["status"]


def test_changed_spec_is_applied(pools):
    before = pools.live(pools.pool())
    pool = pools.pool({"tubes": ["mail"], "replicas": 1})
    made = plan(pools.seen(pool, deployment=before))
    assert made.deployment == pools.rendered(pool)
    assert events(made) == [("Normal", "Updated")]


def test_changed_code_of_the_executors_is_applied(pools):
    pool = pools.pool(pools.full)
    made = plan(pools.seen(pool, deployment=pools.live(pool, "before"), executors_digest="after"))
    assert made.deployment["spec"]["template"]["metadata"]["annotations"] == {"tubeherd.io/executors": "after"}
    assert made.again_after is not None, "nothing tells of a ConfigMap's change"


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("spec", "replicas"), 5),
        (("spec", "template", "spec", "containers", 0, "image"), "evil:1"),
        (("spec", "template", "spec", "automountServiceAccountToken"), True),
        (("metadata", "labels", "tubeherd.io/pool"), "other"),
    ],
)
def test_drift_is_repaired(pools, path, value):
    pool = settled(pools)
    live = copy.deepcopy(pools.live(pool))
    place = live
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    made = plan(pools.seen(pool, deployment=live))
    assert made.deployment == pools.rendered(pool)
    assert ("Warning", "Repaired") in events(made)


def test_replicas_that_are_not_declared_are_left_to_others(pools):
    pool = pools.pool({"tubes": ["mail"]})
    live = pools.live(pool)
    live["spec"]["replicas"] = 7
    made = plan(pools.seen(pool, deployment=live))
    assert made.deployment is None
    assert "replicas" not in pools.rendered(pool)["spec"]


@pytest.mark.parametrize("owners", [[], [{"uid": "another", "controller": True}]])
def test_foreign_deployment_is_left_alone(pools, owners):
    pool = pools.pool()
    live = pools.live(pool)
    live["metadata"]["ownerReferences"] = owners
    live["spec"]["replicas"] = 9
    made = plan(pools.seen(pool, deployment=live))
    assert made.deployment is None
    conditions = {entry["type"]: entry for entry in made.status["conditions"]}
    assert conditions["Conflict"]["status"] == "True"
    assert (conditions["Ready"]["status"], conditions["Ready"]["reason"]) == ("False", "Conflict")
    assert events(made) == [("Warning", "ForeignDeployment")]
    assert made.status["replicas"] == 0, "its pods are not the pool's"
    assert made.again_after is not None, "nothing tells of a foreign Deployment's end"


def test_conflict_ends_with_its_cause(pools):
    pool = pools.pool()
    foreign = pools.live(pool)
    foreign["metadata"]["ownerReferences"] = []
    conflict = pools.pool(status=plan(pools.seen(pool, deployment=foreign)).status)
    made = plan(pools.seen(conflict, deployment=None))
    assert made.deployment
    assert "Conflict" not in {entry["type"] for entry in made.status["conditions"]}


@pytest.mark.parametrize(
    ("value", "kick"),
    [
        ("all", Kick(("mail", "sms"), None)),
        ("7", Kick(("mail", "sms"), 7)),
        ("sms:all", Kick(("sms",), None)),
    ],
)
def test_kick_is_planned(pools, value, kick):
    made = plan(pools.seen(settled(pools, annotations={"kick": value})))
    assert (made.kick, made.kick_value, made.remove_kick) == (kick, value, False)


def test_bad_kick_is_told_and_removed(pools):
    made = plan(pools.seen(pools.pool(status=settled(pools)["status"], annotations={"kick": "push:all"})))
    assert (made.kick, made.kick_value, made.remove_kick) == (None, "push:all", True)
    assert kick_accepted(made)["status"] == "False"
    assert events(made) == [("Warning", "BadKick")]
    again = plan(pools.seen(pools.pool(status=made.status, annotations={"kick": "push:1"})))
    assert events(again) == [("Warning", "BadKick")], "each bad kick is told"


def test_kick_waits_for_a_server_out_of_reach(pools):
    pool = settled(pools, annotations={"kick": "all"})
    made = plan(pools.seen(pool, counts=Counts(error="cannot reach it")))
    assert (made.kick, made.remove_kick, kick_accepted(made)["reason"]) == (None, False, "Waiting")
    waiting = pools.pool(status=made.status)
    entries = plan(pools.seen(waiting)).status["conditions"]
    assert "KickAccepted" not in {entry["type"] for entry in entries}, "its owner took the kick back"


def test_kick_waits_in_silence_until_the_server_was_asked(pools):
    pool = settled(pools, annotations={"kick": "all"})
    made = plan(pools.seen(pool, counts=None))
    assert (made.kick, made.remove_kick, made.events) == (None, False, [])
    assert made.status == pool["status"], "a restart of the operator writes nothing"


def test_lost_server_is_told_once_and_told_when_back(pools):
    lost = Counts(error="cannot reach beanstalkd at x: refused")
    first = plan(pools.seen(settled(pools), counts=lost))
    assert events(first) == [("Warning", "Unreachable")]
    away = pools.pool(status=first.status)
    assert plan(pools.seen(away, counts=lost)).events == []
    assert events(plan(pools.seen(away))) == [("Normal", "ServerReachable")]


def test_pool_without_a_server_has_no_deployment(pools):
    made = plan(pools.seen(deployment=None, counts=None, server=None))
    assert made.deployment is None
    assert {entry["reason"] for entry in made.status["conditions"]} == {"NoServer"}
