"""What is done in which situation."""

import copy
from dataclasses import replace

import pytest

from tubeherd_operator.decisions.counts import Counts
from tubeherd_operator.decisions.plan import make_plan
from tubeherd_operator.decisions.request import RequestPlan
from tubeherd_operator.decisions.request_value import Wanted
from tubeherd_operator.decisions.tubes import PoolTubes


def change(plan):
    """Return what happens to the Deployment, as the Event after it says."""
    return (plan.change.event.type, plan.change.event.reason) if plan.change else None


def test_new_pool_gets_its_deployment(pools):
    pool = pools.pool()
    made = make_plan(pools.seen(pool, deployment=None, counts=None))
    assert made.change.deployment == pools.rendered(pool)
    assert change(made) == ("Normal", "Created")


def test_pool_without_its_executors_waits_for_them(pools):
    pool = pools.pool(pools.full)
    assert make_plan(pools.seen(pool, deployment=None, executors_digest=None)).change is None


def test_nothing_is_done_where_nothing_differs(pools):
    made = make_plan(pools.seen())
    assert (made.change, made.request) == (None, RequestPlan())


def test_changed_spec_is_applied(pools):
    before = pools.live(pools.pool())
    pool = pools.pool({"tubes": ["mail"], "replicas": 1})
    made = make_plan(pools.seen(pool, deployment=before))
    assert made.change.deployment == pools.rendered(pool)
    assert change(made) == ("Normal", "Updated")


def test_pods_keep_their_executors_while_the_config_map_is_missing(pools):
    pool = pools.pool(pools.full)
    missing = pools.seen(pool, deployment=pools.live(pool, "before"), executors_digest=None)
    assert make_plan(missing).change is None
    pool = pools.pool(pools.full | {"suspend": True})
    suspended = make_plan(pools.seen(pool, deployment=missing.deployment, executors_digest=None)).change.deployment
    assert suspended["spec"]["replicas"] == 0
    assert suspended["spec"]["template"]["metadata"]["annotations"] == {"tubeherd.io/executors": "before"}


def test_changed_code_of_the_executors_is_applied(pools):
    pool = pools.pool(pools.full)
    made = make_plan(pools.seen(pool, deployment=pools.live(pool, "before"), executors_digest="after"))
    template = made.change.deployment["spec"]["template"]
    assert template["metadata"]["annotations"] == {"tubeherd.io/executors": "after"}


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
    pool = pools.pool()
    live = copy.deepcopy(pools.live(pool))
    place = live
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    made = make_plan(pools.seen(pool, deployment=live))
    assert made.change.deployment == pools.rendered(pool)
    assert change(made) == ("Warning", "Repaired")


def test_replicas_that_are_not_declared_are_left_to_others(pools):
    pool = pools.pool({"tubes": ["mail"]})
    live = pools.live(pool)
    live["spec"]["replicas"] = 7
    assert make_plan(pools.seen(pool, deployment=live)).change is None
    assert "replicas" not in pools.rendered(pool)["spec"]


def unowned(live):
    live["metadata"]["ownerReferences"] = []


def of_a_deleted_pool(live):
    live["metadata"] |= {"ownerReferences": [], "annotations": {"tubeherd.io/rendered": "before"}}


@pytest.mark.parametrize("change", [unowned, of_a_deleted_pool])
def test_deployment_without_an_owner_is_adopted_if_it_is_as_the_spec_says(pools, change):
    live = pools.live(pools.pool())
    change(live)
    made = make_plan(pools.seen(deployment=live))
    assert made.change.deployment == pools.rendered(pools.pool())
    assert made.change.event.reason == "Adopted"


def owned_by_another(live):
    live["metadata"]["ownerReferences"] = [{"uid": "another", "controller": True, "name": "mail"}]


def of_another_image(live):
    live["metadata"]["ownerReferences"] = []
    live["spec"]["template"]["spec"]["containers"][0]["image"] = "other"


def with_a_setting_of_its_own(live):
    live["metadata"]["ownerReferences"] = []
    live["spec"]["template"]["spec"]["containers"][0]["env"].append({"name": "TUBEHERD_MAX_JOBS", "value": "1"})


@pytest.mark.parametrize("change", [owned_by_another, of_another_image, with_a_setting_of_its_own])
def test_foreign_deployment_is_left_alone(pools, change):
    live = pools.live(pools.pool())
    change(live)
    assert make_plan(pools.seen(deployment=live)).change is None


def test_what_others_added_and_overrides_the_spec_is_removed_from_this_very_version(pools):
    live = pools.live(pools.pool())
    env = live["spec"]["template"]["spec"]["containers"][0]["env"]
    env.insert(0, {"name": "TUBEHERD_CONCURRENCY", "value": "8"})
    env.append({"name": "TUBEHERD_MAX_JOBS", "value": "1"})
    made = make_plan(pools.seen(deployment=live))
    assert change(made) == ("Warning", "Repaired")
    assert made.change.removals == [
        {"op": "test", "path": "/metadata/resourceVersion", "value": "17"},
        {"op": "remove", "path": f"/spec/template/spec/containers/0/env/{len(env) - 1}"},
        {"op": "remove", "path": "/spec/template/spec/containers/0/env/0"},
    ]


def test_deployment_that_the_pool_owns_and_does_not_control_is_left_alone(pools):
    live = pools.live(pools.pool())
    live["metadata"]["ownerReferences"][0] |= {"controller": False}
    live["spec"]["replicas"] = 9
    assert make_plan(pools.seen(deployment=live)).change is None


def test_pool_without_a_server_has_no_deployment(pools):
    assert make_plan(pools.seen(deployment=None, counts=None, server=None)).change is None


def test_kick_is_planned_for_the_tubes_and_the_server_of_the_pool(pools):
    made = make_plan(pools.seen(pools.pool(annotations={"kick": "sms:7"})))
    assert made.request.errand.work.wanted == Wanted(PoolTubes(("sms",)), 7)
    away = make_plan(pools.seen(pools.pool(annotations={"kick": "7"}), counts=Counts(error="away")))
    assert "beanstalkd.queue.svc:11300 is out of reach" in away.request.conditions[0].message


def test_pods_have_the_user_of_the_cluster_where_the_installation_leaves_it_to_the_cluster(pools):
    seen = pools.seen(deployment=None)
    chosen = replace(seen, pool=replace(seen.pool, fixed_user=False))
    fixed, free = (
        make_plan(each).change.deployment["spec"]["template"]["spec"]["securityContext"] for each in (seen, chosen)
    )
    assert free == {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    assert fixed == free | {"runAsUser": 65532, "runAsGroup": 65532, "fsGroup": 65532}


def test_template_that_the_operator_must_refuse_leaves_the_deployment_as_it_is(pools):
    template = {"spec": {"terminationGracePeriodSeconds": 5}}
    seen = pools.seen(pools.pool({"tubes": ["mail"], "template": template}), deployment=pools.live(pools.pool()))
    made = make_plan(seen)
    assert (made.wanted, made.change) == (None, None)
    assert made.wrong_template.startswith("spec.template.spec.terminationGracePeriodSeconds: must be 75 or more")
    assert made.wrong_template.endswith("leave it out, or give jobs less time with spec.jobTimeout")
    status = pools.status(seen)
    ready = next(condition for condition in status["conditions"] if condition["type"] == "Ready")
    assert (ready["status"], ready["reason"]) == ("False", "InvalidSpec")
    assert ready["message"].startswith(made.wrong_template)
    assert ready["message"].endswith("until it is corrected, the Deployment stays as it is")
    (of_a_new_pool, *_) = pools.status(replace(seen, deployment=None))["conditions"]
    assert of_a_new_pool["message"].endswith("until it is corrected, there are no pods")
    assert status["buried"] == 0, "jobs are counted as before"
    progressing = next(condition for condition in status["conditions"] if condition["type"] == "Progressing")
    assert (progressing["reason"], progressing["message"]) == (
        "Stalled",
        "0 of 1 pods run the present spec: the condition Ready says why",
    )
