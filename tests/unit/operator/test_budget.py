"""The PodDisruptionBudget of a pool."""

import copy
from dataclasses import replace

import pytest

from tubeherd_operator.cluster.client import ClusterError
from tubeherd_operator.decisions.budget import NO_BUDGET, build_budget, selects
from tubeherd_operator.decisions.conditions import conditions
from tubeherd_operator.decisions.plan import make_plan, repairs_after
from tubeherd_operator.decisions.report import Results, make_report
from tubeherd_operator.objects import POOL_LABEL

LABELS = {"app": "mail", "tier": "back"}


def budget(name="theirs", selector=None, **metadata):
    """Return somebody else's budget."""
    found = {"metadata": {"name": name, "namespace": "shop", **metadata}, "spec": {"minAvailable": 1}}
    return found if selector is None else found | {"spec": {"minAvailable": 1, "selector": selector}}


def plan(pools, *budgets, **seen):
    return make_plan(pools.seen(budgets=list(budgets), **seen)).budget


def condition(pools, *budgets, **seen):
    found = {finding.type: finding for finding in conditions(pools.seen(budgets=list(budgets), **seen))}
    return found.get("Unprotected")


def test_pool_gets_a_budget_of_its_own(pools):
    made = plan(pools)
    assert (made.wanted, made.is_applied, made.removed) == (build_budget(pools.pool()), True, None)
    assert made.wanted["spec"]["selector"] == {"matchLabels": {POOL_LABEL: "mail"}}
    assert made.wanted["metadata"]["ownerReferences"][0]["uid"] == pools.pool()["metadata"]["uid"]


def test_budget_that_is_as_it_should_be_is_left(pools):
    live = build_budget(pools.pool()) | {"status": {"disruptionsAllowed": 1}}
    assert not plan(pools, live, budget("of-another-pool", {"matchLabels": {POOL_LABEL: "sms"}})).is_applied


@pytest.mark.parametrize(
    "change", [{"maxUnavailable": 0}, {"selector": {"matchLabels": {}}}, {"maxUnavailable": "50%"}]
)
def test_budget_that_somebody_has_changed_is_repaired(pools, change):
    live = build_budget(pools.pool())
    live["spec"] |= change
    assert plan(pools, live).is_applied


def test_repair_of_a_budget_that_is_no_use_is_reported_once_and_not_repeated(pools):
    live, repairs, status, events = None, None, None, []
    applied = 0
    for now in range(4):
        pool = pools.pool(status=status)
        seen = pools.seen(pool, deployment=pools.live(pool), budgets=[live] if live else [], now=float(now))
        seen = replace(seen, repairs=repairs or seen.repairs)
        made = make_plan(seen)
        answer, tried = None, None
        if made.budget.is_applied:
            applied += 1
            answer = copy.deepcopy(made.budget.wanted)
            answer["spec"]["maxUnavailable"] = 0
            tried = repairs_after(seen, made, None, answer)
        report = make_report(seen, made, Results(budget=answer, repairs=tried), "now")
        live, repairs = answer or live, tried or repairs
        status = report.status.model_dump(mode="json", by_alias=True, exclude_none=True)
        events += [(event.reason, event.message) for event in report.events if event.type == "Warning"]
    assert applied == 1
    ((reason, message),) = events
    assert reason == "RepairIsNoUse"
    assert message.startswith("PodDisruptionBudget mail is not as the pool's spec says")
    assert "PodDisruptionBudget.spec.maxUnavailable" in message


def test_pool_has_no_budget_beside_one_that_selects_its_pods(pools):
    theirs = budget(selector={"matchLabels": {"app.kubernetes.io/name": "tubeherd-worker"}})
    assert plan(pools, theirs) == NO_BUDGET
    own = build_budget(pools.pool())
    made = plan(pools, own, theirs)
    assert (made.wanted, made.removed) == (None, own)
    assert "PodDisruptionBudget theirs selects its pods too" in made.event.message
    assert condition(pools, theirs) is None


def test_budget_of_the_pools_name_that_is_somebody_elses_is_left_alone(pools):
    theirs = budget("mail", {"matchLabels": {POOL_LABEL: "mail"}})
    assert plan(pools, theirs) == NO_BUDGET
    assert condition(pools, theirs) is None, "it does what the pool's own would do"
    useless = budget("mail", {"matchLabels": {"app": "other"}})
    assert plan(pools, useless) == NO_BUDGET
    shown = condition(pools, useless)
    assert (shown.status, shown.reason) == ("True", "ForeignBudget")
    assert "have it select tubeherd.io/pool=mail" in shown.message


def test_budget_that_an_earlier_pool_of_the_name_left_is_taken_over(pools):
    left = build_budget(pools.pool())
    left["metadata"]["ownerReferences"] = []
    made = plan(pools, left)
    assert (made.wanted, made.is_applied) == (build_budget(pools.pool()), True)


def test_pods_with_the_defaults_of_earlier_operators_have_no_budget(pools):
    assert plan(pools, deployment=pools.live(pools.pool(), version=1)) == NO_BUDGET


def test_deployment_that_is_somebody_elses_gets_no_budget(pools):
    live = pools.live(pools.pool())
    live["metadata"]["ownerReferences"] = [{"uid": "another", "controller": True, "name": "mail"}]
    assert plan(pools, deployment=live) == NO_BUDGET


def test_budget_that_is_refused_is_a_condition_and_leaves_the_pool_ready(pools):
    seen = pools.seen(budgets=[])
    refused = Results(budget_refusal=ClusterError(403, "exceeded quota"))
    report = make_report(seen, make_plan(seen), refused, "now")
    found = {entry.type: entry for entry in report.status.conditions}
    assert found["Unprotected"].reason == "BudgetRefused"
    assert "exceeded quota; remove what refuses it" in found["Unprotected"].message
    assert found["Ready"].status == "True"


def expression(operator, *values, key="app"):
    return {"matchExpressions": [{"key": key, "operator": operator, **({"values": list(values)} if values else {})}]}


@pytest.mark.parametrize(
    ("selector", "is_selected"),
    [
        (None, False),
        ({}, True),
        ({"matchLabels": {"app": "mail"}}, True),
        ({"matchLabels": {"app": "mail", "tier": "front"}}, False),
        (expression("In", "mail", "sms"), True),
        (expression("In", "sms"), False),
        (expression("NotIn", "mail"), False),
        (expression("NotIn", "sms"), True),
        (expression("NotIn", "sms", key="absent"), True),
        (expression("Exists"), True),
        (expression("Exists", key="absent"), False),
        (expression("DoesNotExist"), False),
        (expression("DoesNotExist", key="absent"), True),
        ({"matchLabels": {"app": "mail"}, **expression("NotIn", "mail")}, False),
    ],
)
def test_selectors_are_read_as_kubernetes_does(selector, is_selected):
    assert selects(budget(selector=selector), LABELS) is is_selected
