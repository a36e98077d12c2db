"""What is done with an autoscaled pool, and what its users read of that."""

from dataclasses import replace

import pytest
from pydantic import ValidationError

from tubeherd.pool import WorkerPoolSpec
from tubeherd_operator.decisions.autoscale import Demand, Scale
from tubeherd_operator.decisions.counts import Counts, is_due
from tubeherd_operator.decisions.plan import make_plan, repairs_after
from tubeherd_operator.decisions.repairs import Repairs
from tubeherd_operator.decisions.report import Results, make_report
from tubeherd_operator.decisions.status import changes

SPEC = {"tubes": ["mail"], "autoscale": {"minReplicas": 1, "maxReplicas": 9, "jobsPerReplica": 40}}
BEFORE = {"desiredReplicas": 1, "lastScaleTime": "2026-11-25T11:00:00Z"}
BUSY = Demand(3, 100, 20)


@pytest.fixture
def seen(pools):
    """Return an observation of an autoscaled pool whose Deployment has so many replicas."""

    def make(scale, replicas=1, status=BEFORE, spec=SPEC, error=None, **more):
        pool = pools.pool(spec, status=status and {"autoscale": status}, **more)
        live = pools.live(pool)
        live["spec"]["replicas"] = replicas
        live["status"] |= dict.fromkeys(("replicas", "readyReplicas", "updatedReplicas"), replicas)
        counts = replace(pools.counts(("mail",)), error=error, scale=scale)
        return pools.seen(pool, deployment=live, counts=counts)

    return make


def report(seen, applied=True):
    """Return the plan and report of a pass, after which the Deployment is as the plan says unless it was refused."""
    plan = make_plan(seen)
    answer = None
    if plan.change and applied:
        spec = {**seen.deployment["spec"], **plan.change.deployment["spec"]}
        answer = {**seen.deployment, "spec": spec}
    made = make_report(seen, plan, Results(answer), "2026-11-25T12:00:00Z")
    return plan, made, changes(made.status, {})


def condition(status, type_="Autoscaled"):
    found = next(one for one in status["conditions"] if one["type"] == type_)
    return found["status"], found["reason"], found["message"]


def events(made):
    return [(event.type, event.reason, event.message) for event in made.events]


def test_number_that_rises_is_applied_and_reported(seen):
    plan, made, status = report(seen(Scale(3, BUSY)))
    assert plan.change.deployment["spec"]["replicas"] == 3
    assert plan.change.leaving is None
    assert events(made) == [("Normal", "Scaled", "scaled from 1 to 3: 100 jobs wait and 20 run, 40 per replica")]
    assert status["autoscale"] == {"desiredReplicas": 3, "lastScaleTime": "2026-11-25T12:00:00Z"}
    assert condition(status) == ("True", "AsWanted", "3 replicas: 100 jobs wait and 20 run, 40 per replica")


def test_nothing_is_done_and_reported_while_the_number_stays(seen):
    plan, made, status = report(seen(Scale(3, Demand(2, 60, 20), 2, 1_764_072_300), 3, BEFORE | {"desiredReplicas": 3}))
    assert plan.change is None
    assert made.events == []
    assert status["autoscale"] == BEFORE | {"desiredReplicas": 3}
    assert condition(status) == (
        "True",
        "FallsLater",
        "3 replicas, falls to 2 at 12:05:00 UTC if no more are wanted until then: 60 jobs wait and 20 run, "
        "40 per replica",
    )
    assert status["pods"] == "3/3"


@pytest.mark.parametrize(
    ("scale", "reason"),
    [(Scale(9, Demand(10, 400, 0)), "AtMaxReplicas"), (Scale(1, Demand(0, 0, 0)), "AtMinReplicas")],
)
def test_bound_that_keeps_the_number_from_what_is_wanted_is_named(seen, scale, reason):
    _, _, status = report(seen(scale))
    assert condition(status)[:2] == ("True", reason)
    assert f"but {'max' if scale.replicas == 9 else 'min'}Replicas is {scale.replicas}" in condition(status)[2]


@pytest.mark.parametrize("counts", [None, Counts(error="away"), Counts(error="away", scale=Scale(5))])
def test_number_is_kept_while_the_jobs_are_not_known(seen, counts):
    found = replace(seen(None, 5, BEFORE | {"desiredReplicas": 5}), counts=counts)
    plan, made, status = report(found)
    assert plan.change is None
    assert "Scaled" not in [event.reason for event in made.events]
    assert status["autoscale"]["desiredReplicas"] == 5
    assert condition(status) == (
        "Unknown",
        "JobsUnknown",
        "5 replicas, as before: how many jobs there are is not known, see the condition ServerReachable",
    )


def test_bounds_hold_at_once_also_while_the_jobs_are_not_known(seen):
    spec = {"tubes": ["mail"], "autoscale": {"maxReplicas": 2, "jobsPerReplica": 40}}
    found = replace(seen(None, 5, BEFORE | {"desiredReplicas": 5}, spec), counts=None)
    plan, made, _ = report(found)
    assert plan.change.deployment["spec"]["replicas"] == 2
    assert [event.reason for event in made.events] == ["Scaled"]


@pytest.mark.parametrize(("live", "first"), [(None, 1), (4, 4)], ids=["new", "was scaled by others"])
def test_autoscaling_begins_with_the_replicas_that_there_are(pools, live, first):
    pool = pools.pool(SPEC)
    deployment = None
    if live:
        deployment = pools.live(pool)
        deployment["spec"]["replicas"] = live
    plan = make_plan(pools.seen(pool, deployment=deployment, counts=None))
    assert (plan.change.deployment if plan.change else deployment)["spec"]["replicas"] == first


def test_number_that_somebody_else_has_set_is_repaired(seen):
    plan, made, status = report(seen(Scale(3, BUSY), 7, BEFORE | {"desiredReplicas": 3}))
    assert plan.change.deployment["spec"]["replicas"] == 3
    assert [event[:2] for event in events(made)] == [("Warning", "Repaired")]
    assert status["autoscale"]["lastScaleTime"] == BEFORE["lastScaleTime"]


def test_other_number_is_applied_though_the_one_before_was_set_back_again_and_again(seen):
    found = seen(Scale(3, BUSY), 9, BEFORE | {"desiredReplicas": 3})
    plan, repairs = make_plan(found), Repairs()
    for _ in range(3):
        assert make_plan(replace(found, repairs=repairs)).change
        repairs = repairs_after(replace(found, repairs=repairs), plan, {**found.deployment, **plan.wanted}, None)
    assert make_plan(replace(found, repairs=repairs)).change is None
    other = replace(seen(Scale(4, BUSY), 9, BEFORE | {"desiredReplicas": 3}), repairs=repairs)
    assert make_plan(other).change.scaled.message.startswith("scaled from 3 to 4: ")


def test_number_that_an_admission_webhook_rewrites_is_applied_once(seen):
    found = seen(Scale(3, BUSY))
    plan = make_plan(found)
    repairs = repairs_after(found, plan, found.deployment, None)
    assert make_plan(replace(found, repairs=repairs)).change is None


def test_change_of_the_spec_and_of_the_number_are_both_reported(seen):
    found = seen(Scale(3, BUSY))
    found.deployment["metadata"]["annotations"]["tubeherd.io/rendered"] = "before"
    _, made, _ = report(found)
    assert [event.reason for event in made.events] == ["Updated", "Scaled"]


def test_number_that_the_api_server_refuses_is_not_reported_as_done(seen):
    found = seen(Scale(3, BUSY))
    made = make_report(found, make_plan(found), Results(refusal=ValueError("quota")), "2026-11-25T12:00:00Z")
    assert [event.reason for event in made.events] == ["DeploymentRefused"]
    assert changes(made.status, {})["autoscale"] == BEFORE


def test_number_that_a_webhook_sets_back_is_not_reported_as_done(seen):
    found = seen(Scale(3, BUSY))
    plan = make_plan(found)
    repairs = repairs_after(found, plan, found.deployment, None)
    made = make_report(found, plan, Results(found.deployment, repairs=repairs), "2026-11-25T12:00:00Z")
    assert [event.reason for event in made.events] == ["RepairIsNoUse"]
    assert changes(made.status, {})["autoscale"] == BEFORE


def test_suspension_wins_and_what_autoscaling_has_done_stays(seen):
    found = seen(Scale(3, BUSY), 1, BEFORE, SPEC | {"suspend": True})
    found.deployment["metadata"]["annotations"]["tubeherd.io/rendered"] = "before"
    plan, made, status = report(found)
    assert plan.change.deployment["spec"]["replicas"] == 0
    assert [event.reason for event in made.events] == ["Updated"]
    assert status["autoscale"] == BEFORE
    assert condition(status)[:2] == ("False", "Suspended")


def test_pool_that_is_autoscaled_no_longer_keeps_its_pods(pools):
    before = pools.live(pools.pool(SPEC))
    before["spec"]["replicas"] = 6
    pool = pools.pool({"tubes": ["mail"], "concurrency": 2}, status={"autoscale": BEFORE | {"desiredReplicas": 6}})
    found = pools.seen(pool, deployment=before)
    plan = make_plan(found)
    assert plan.change.keep_replicas["spec"] == {"replicas": 6}
    assert changes(make_report(found, plan, Results(before), "now").status, pool)["autoscale"] is None


def test_number_of_replicas_is_no_part_of_the_pods_nor_of_the_digest(seen):
    few, many = (make_plan(seen(Scale(count, BUSY), 9)).change.deployment for count in (2, 3))
    assert few["metadata"] == many["metadata"]
    assert few["spec"]["template"] == many["spec"]["template"]


def test_orphan_is_adopted_whatever_its_number_of_replicas(seen):
    found = seen(Scale(3, BUSY), 2, None)
    found.deployment["metadata"]["ownerReferences"] = []
    assert make_plan(found).change.event.reason == "Adopted"


def test_counts_that_want_another_number_are_due_at_once(pools):
    shown = replace(pools.counts(), scale=Scale(3, BUSY))
    assert is_due(shown, replace(shown, scale=Scale(4, BUSY)), 0)
    assert not is_due(shown, replace(shown, scale=Scale(3, Demand(2, 60, 20), 2, 1)), 29)
    assert is_due(shown, replace(shown, scale=Scale(3, Demand(2, 60, 20), 2, 1)), 30)


def test_pool_at_rest_has_the_same_status_after_each_pass(seen):
    first = report(seen(Scale(1, Demand(0, 0, 0))))[1].status
    found = seen(Scale(1, Demand(0, 0, 0)))
    stored = found.pool.stored | {"status": changes(first, {})}
    again = make_report(
        replace(found, pool=replace(found.pool, stored=stored, status=first)), make_plan(found), Results(), "later"
    )
    assert changes(again.status, stored) == {}


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ({"replicas": 2, "autoscale": {"maxReplicas": 3, "jobsPerReplica": 1}}, "remove one of them"),
        ({"autoscale": {"maxReplicas": 3}}, "set either jobsPerReplica or targetWait"),
        ({"autoscale": {"maxReplicas": 3, "jobsPerReplica": 1, "targetWait": "1m"}}, "set either"),
        ({"autoscale": {"maxReplicas": 3, "minReplicas": 4, "jobsPerReplica": 1}}, "minReplicas is greater"),
    ],
)
def test_wrong_spec_is_refused_by_the_model_too(spec, reason):
    with pytest.raises(ValidationError, match=reason):
        WorkerPoolSpec.model_validate({"tubes": ["mail"], **spec})
