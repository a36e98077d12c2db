"""Which defaults a pool's Deployment keeps, and what brings it the newest."""

import copy

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.unit.operator.test_deployment import SPECS_OF_WORKERS
from tubeherd_operator.decisions.defaults import DEFAULTS_ANNOTATION, NEWEST, Record, read_record
from tubeherd_operator.decisions.plan import make_plan

SPEC = {"tubes": ["mail"], "replicas": 2, "executors": {"configMap": "jobs"}}
OLD = {"version": 1, "image": "tubeherd-worker:0"}


def template(deployment):
    return deployment["spec"]["template"]


def without_note(live):
    """Return a Deployment as an operator has left it that noted no defaults."""
    live = copy.deepcopy(live)
    del live["metadata"]["annotations"][DEFAULTS_ANNOTATION]
    return live


def wanted(pools, spec, live, executors="code"):
    return make_plan(pools.seen(pools.pool(spec), deployment=live, executors_digest=executors)).wanted


@pytest.mark.parametrize("noted", [True, False], ids=["noted", "of an operator that noted none"])
@pytest.mark.parametrize(
    "change",
    [{}, {"replicas": 5}, {"replicas": None}, {"suspend": True}],
    ids=["none", "more", "undeclared", "suspended"],
)
def test_upgrade_and_changes_of_the_number_of_pods_keep_the_pods_as_they_are(pools, change, noted):
    spec = {name: value for name, value in {**SPEC, **change}.items() if value is not None}
    live = pools.live(pools.pool(SPEC), "code", **OLD)
    rendered = wanted(pools, spec, live if noted else without_note(live))
    assert template(rendered) == template(pools.rendered(pools.pool(SPEC), "code", **OLD))


@pytest.mark.parametrize("noted", [True, False], ids=["noted", "of an operator that noted none"])
def test_changed_executors_roll_out_with_the_defaults_that_the_pods_have(pools, noted):
    live = pools.live(pools.pool(SPEC), "code", **OLD)
    rendered = wanted(pools, SPEC, live if noted else without_note(live), "other code")
    assert template(rendered) == template(pools.rendered(pools.pool(SPEC), "other code", **OLD))


@pytest.mark.parametrize(
    "change",
    [{"env": [{"name": "A", "value": "b"}]}, {"memoryLimit": "256Mi"}, {"image": "shop/mail:7"}, {"tubes": ["sms"]}],
)
def test_change_of_the_spec_that_replaces_the_pods_brings_the_newest(pools, change):
    spec = {**SPEC, **change}
    live = pools.live(pools.pool(SPEC), "code", **OLD)
    assert template(wanted(pools, spec, live)) == template(pools.rendered(pools.pool(spec), "code"))


def test_image_that_the_spec_names_by_now_and_the_pods_have_replaces_nothing(pools):
    live = pools.live(pools.pool(SPEC), "code", **OLD)
    named = wanted(pools, {**SPEC, "image": OLD["image"]}, live)
    assert template(named) == template(pools.rendered(pools.pool(SPEC), "code", **OLD))


def test_pool_that_names_its_image_takes_that_of_the_installation_when_it_names_none(pools):
    live = pools.live(pools.pool({**SPEC, "image": "shop/mail:7"}), "code", version=1)
    assert template(wanted(pools, SPEC, live)) == template(pools.rendered(pools.pool(SPEC), "code"))


@pytest.mark.parametrize(
    "noted", ["newest", "", "[]", "{}", '{"version": 99, "template": ""}', '{"version": [], "template": 1}']
)
def test_note_that_is_none_brings_the_newest(pools, noted):
    live = pools.live(pools.pool(SPEC), "code", **OLD)
    live["metadata"]["annotations"][DEFAULTS_ANNOTATION] = noted
    assert template(wanted(pools, SPEC, live)) == template(pools.rendered(pools.pool(SPEC), "code"))


def test_note_is_added_to_the_deployment_of_an_earlier_operator_without_an_event(pools):
    live = pools.live(pools.pool(SPEC), "code", **OLD)
    change = make_plan(pools.seen(pools.pool(SPEC), deployment=without_note(live), executors_digest="code")).change
    assert (change.event, change.removals) == (None, [])
    before, after = live["metadata"]["annotations"], change.deployment["metadata"]["annotations"]
    assert after == before, "the digest is the one of the operator before"


def test_image_that_somebody_has_changed_is_no_default(pools):
    live = without_note(pools.live(pools.pool(SPEC), "code", version=1))
    template(live)["spec"]["containers"][0]["image"] = "evil:1"
    made = make_plan(pools.seen(pools.pool(SPEC), deployment=live, executors_digest="code"))
    assert template(made.wanted) == template(pools.rendered(pools.pool(SPEC), "code", version=1))
    assert made.change.event.reason == "Repaired"


def test_pool_that_is_made_anew_keeps_the_pods_that_an_earlier_one_left(pools):
    live = pools.live(pools.pool(SPEC, uid="deleted"), "code", **OLD)
    live["metadata"]["ownerReferences"] = []
    made = make_plan(pools.seen(pools.pool(SPEC), deployment=live, executors_digest="code"))
    assert made.change.event.reason == "Adopted"
    assert template(made.wanted) == template(pools.rendered(pools.pool(SPEC), "code", **OLD))


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    SPECS_OF_WORKERS,
    st.none()
    | st.fixed_dictionaries({"replicas": st.integers(0, 1000)})
    | st.fixed_dictionaries({"autoscale": st.integers(1, 99).map(lambda n: {"maxReplicas": n, "jobsPerReplica": n})}),
    st.booleans(),
)
def test_number_of_pods_changes_nothing_in_a_pod(pools, spec, number, suspend):
    scaled = pools.rendered(pools.pool(spec | (number or {}) | {"suspend": suspend}))
    assert template(scaled) == template(pools.rendered(pools.pool(spec)))


@given(st.text() | st.none() | st.from_type(Record).map(lambda record: record.write()))
@example("[" * 100_000)
def test_any_note_is_read_or_taken_for_none(text):
    record = read_record(text)
    assert record is None or 1 <= record.version <= NEWEST
