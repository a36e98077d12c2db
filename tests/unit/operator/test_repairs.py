"""When a field that others set again and again is repaired no more."""

import copy

import pytest

from tubeherd_operator.decisions.plan import make_plan, repairs_after
from tubeherd_operator.decisions.repairs import REST_SECONDS, Repairs
from tubeherd_operator.decisions.report import Results, make_report

IMAGE = "spec.template.spec.containers[worker].image"


def test_field_that_the_api_server_answers_otherwise_rests_at_once():
    tried = Repairs().after("digest", {"image"}, {"image"}, 0)
    assert tried.useless("digest", 1) == {"image"}
    assert tried.useless("digest", REST_SECONDS) == set(), "it is tried once more"
    assert tried.useless("another", 1) == set(), "the spec has changed"


def test_field_that_is_set_back_later_rests_after_three_repairs_within_an_hour():
    tried = Repairs()
    for time in range(3):
        assert tried.useless("digest", time) == set()
        tried = tried.after("digest", {"image"}, (), time)
    assert tried.useless("digest", 3) == {"image"}
    tried = tried.after("digest", {"label"}, (), 4)
    assert tried.useless("digest", 5) == {"image"}, "another field is repaired"
    later = REST_SECONDS + 3
    assert tried.useless("digest", later) == set(), "it is tried once more"
    assert tried.after("digest", {"image"}, (), later).useless("digest", later) == {"image"}
    assert tried.after("digest", {"image"}, (), 9 * REST_SECONDS).useless("digest", 9 * REST_SECONDS) == set()


def test_repairs_now_and_then_are_no_fight():
    tried = Repairs()
    for turn in range(9):
        tried = tried.after("digest", {"image"}, (), turn * REST_SECONDS)
    assert tried.useless("digest", 9 * REST_SECONDS) == set()


class Webhook:
    """An API server that sets fields of each Deployment that is applied."""

    def __init__(self, change):
        self.change = change
        self.applied = 0

    def apply(self, rendered):
        self.applied += 1
        live = copy.deepcopy(rendered)
        live["metadata"] |= {"uid": "deployment", "generation": 4 + self.applied, "resourceVersion": "18"}
        live["spec"].setdefault("replicas", 1)
        self.change(live, self.applied)
        status = dict.fromkeys(("replicas", "readyReplicas", "updatedReplicas"), live["spec"]["replicas"])
        return live | {"status": status | {"observedGeneration": live["metadata"]["generation"]}}


def image(live, number):
    live["spec"]["template"]["spec"]["containers"][0]["image"] = f"mirror/{number if number < 3 else 3}"


def no_replicas(live, number):
    live["spec"]["replicas"] = 0


def annotation(live, number):
    live["metadata"]["annotations"] = {}


def variable(live, number):
    live["spec"]["template"]["spec"]["containers"][0]["env"].append({"name": "TUBEHERD_MAX_JOBS", "value": "1"})


@pytest.mark.parametrize(
    ("change", "ready"),
    [
        (image, ("True", "Running")),
        (no_replicas, ("False", "Overridden")),
        (annotation, ("True", "Running")),
        (variable, ("True", "Running")),
    ],
)
def test_webhook_that_rewrites_what_is_applied_is_reported_once_and_not_fought(pools, change, ready):
    pool = pools.pool({"tubes": ["mail"], "replicas": 2})
    webhook = Webhook(change)
    live, repairs, status, events = None, Repairs(), None, []
    for now in range(6):
        seen = pools.seen(pools.pool(pool["spec"], status), deployment=live, now=float(now * 60), repairs=repairs)
        plan = make_plan(seen)
        answer = webhook.apply(plan.change.deployment) if plan.change else None
        tried = repairs_after(seen, plan, answer, None) if plan.change else None
        report = make_report(seen, plan, Results(answer, repairs=tried), "now")
        live, repairs = answer or live, tried or repairs
        status = report.status.model_dump(mode="json", by_alias=True, exclude_none=True)
        events += [event.reason for event in report.events if event.type == "Warning"]
    assert webhook.applied == 1
    assert events == ["RepairIsNoUse"]
    conditions = {entry["type"]: (entry["status"], entry["reason"]) for entry in status["conditions"]}
    assert conditions["Overridden"] == ("True", "RepairIsNoUse")
    assert conditions["Ready"] == ready
    assert report.again_after == REST_SECONDS


def test_condition_names_the_fields_and_not_their_values(pools):
    fields = [f"spec.field{number}" for number in range(9)]
    live = pools.live(pools.pool())
    live["spec"]["template"]["spec"]["containers"][0]["image"] = "secret"
    wanted = pools.rendered(pools.pool())
    digest = wanted["metadata"]["annotations"]["tubeherd.io/rendered"]
    repairs = Repairs().after(digest, (), [IMAGE, *fields], 0)
    report = pools.report(pools.seen(deployment=live, repairs=repairs))
    (found,) = [entry for entry in report.status.conditions if entry.type == "Overridden"]
    assert IMAGE in found.message
    assert "secret" not in found.message
    assert "field1" not in found.message, "it is as it should be"


def test_condition_ends_when_the_field_is_as_it_should_be(pools):
    wanted = pools.rendered(pools.pool())
    digest = wanted["metadata"]["annotations"]["tubeherd.io/rendered"]
    report = pools.report(pools.seen(repairs=Repairs().after(digest, (), [IMAGE], 0)))
    assert "Overridden" not in {entry.type for entry in report.status.conditions}
