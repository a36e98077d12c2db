"""The tubes of a pool with globs: which are counted, shown and kicked, and what the status says of the others."""

import json
import time

import pytest

from tubeherd.queue.answers import TubeStats
from tubeherd_operator.decisions.conditions import conditions
from tubeherd_operator.decisions.conditions.retries_differ import judge_retries
from tubeherd_operator.decisions.counts import Counts, is_due
from tubeherd_operator.decisions.errands import Done, Errand, Find, Found, Request, Step
from tubeherd_operator.decisions.request import Asked, Known, plan_request
from tubeherd_operator.decisions.request_report import outcome, result
from tubeherd_operator.decisions.request_value import BadRequest, parse_value
from tubeherd_operator.decisions.retries import Served, tubes_that_differ
from tubeherd_operator.decisions.status import Intent, Share
from tubeherd_operator.decisions.tubes import COUNTED_MOST, Chosen, PoolTubes
from tubeherd_operator.objects import Key

THERE = ["default", "mail", "mail2", "reports.a", "reports.b", "reports.test", "tubeherd.burials"]
GLOBS = {"tubes": ["mail", "reports.*"], "excludeTubes": ["reports.test*"]}


def stats(name, **counts):
    return TubeStats(name, **counts)


def counts(*tubes, matching=None):
    return Counts({each.name: each for each in tubes}, matching=len(tubes) if matching is None else matching)


@pytest.mark.parametrize(
    ("wanted", "excluded", "tubes"),
    [
        (("mail", "sms"), (), ("mail", "sms")),
        (("mail", "sms"), ("s*",), ("mail",)),
        (("mail", "sms"), ("mail",), ("sms",)),
        (("sms", "reports.*"), (), ("sms", "reports.a", "reports.b", "reports.test")),
        (("reports.*",), ("reports.test",), ("reports.a", "reports.b")),
        (("reports.?", "reports.b"), (), ("reports.b", "reports.a")),
        (("*",), ("mail*",), ("default", "reports.a", "reports.b", "reports.test")),
        (("nothing*",), (), ()),
        (("tube*",), (), ()),
    ],
)
def test_tubes_of_a_pool_among_those_of_the_server(wanted, excluded, tubes):
    pool = PoolTubes(wanted, excluded)
    assert pool.among(THERE) == Chosen(tubes, len(tubes))
    assert all(tube in pool for tube in tubes)
    assert not any(tube in pool for tube in THERE if tube not in tubes)


def test_too_many_tubes_are_bounded_by_name_whatever_their_order():
    names = [f"reports.{number:05}" for number in range(COUNTED_MOST + 100)]
    chosen = PoolTubes(("mail", "reports.*")).among(reversed(names))
    assert chosen == Chosen(("mail", *names[: COUNTED_MOST - 1]), COUNTED_MOST + 101)


@pytest.mark.parametrize(
    ("value", "tubes"),
    [
        ("all", ("mail", "reports.a", "reports.b")),
        ("mail:all", ("mail",)),
        ("reports.a:5", ("reports.a",)),
        ("reports.new:all", ("reports.new",)),
        ("reports.*:all", ("reports.a", "reports.b")),
        ("*a*:all", ("mail", "reports.a")),
        ("reports.?:error/KeyError@5/s", ("reports.a", "reports.b")),
        ("other*:all", ()),
    ],
)
def test_kick_of_tubes_by_name_and_by_glob(value, tubes):
    pool = PoolTubes(("mail", "reports.*"), ("reports.test*",))
    assert parse_value("kick", value, pool).tubes.among(THERE).tubes == tubes


@pytest.mark.parametrize("tube", ["reports.test", "sms", "tubeherd.burials", "tubeherd.x", "report"])
def test_tube_that_is_excluded_or_not_the_pools_is_not_kicked(tube):
    pool = PoolTubes(("mail", "reports.*"), ("reports.test*",))
    with pytest.raises(BadRequest, match=r"is not the pool's: it has mail, reports\.\* without reports\.test\*"):
        parse_value("kick", f"{tube}:all", pool)


def test_glob_of_a_kick_that_fits_none_of_the_names_is_refused():
    with pytest.raises(BadRequest, match="names a tube that is not the pool's: it has mail, sms"):
        parse_value("discard", "news*:all", PoolTubes(("mail", "sms")))
    assert parse_value("kick", "s*:all", PoolTubes(("mail", "sms"))).tubes.named == ("sms",)


def test_100000_tubes_are_chosen_from_in_a_second():
    names = [f"reports.{number:06}" for number in range(100_000)]
    began = time.process_time()
    chosen = PoolTubes(("mail", "reports.*"), ("*7", "*.test.*")).among(names)
    assert time.process_time() < began + 2
    assert (len(chosen.tubes), chosen.matching) == (COUNTED_MOST, 90_001)


# The status


def test_most_buried_then_most_ready_then_by_name_and_totals_of_all(pools):
    many = [stats(f"reports.{number:03}", ready=1) for number in range(200)]
    others = (stats("reports.z", buried=1), stats("reports.y", ready=7), stats("reports.x", buried=9, ready=1))
    given = counts(*many, *others)
    status = pools.status(pools.seen(pools.pool(GLOBS), counts=given))
    assert [tube["name"] for tube in status["tubes"][:4]] == ["reports.x", "reports.z", "reports.y", "reports.000"]
    assert len(status["tubes"]) == 100
    assert (status["tubesTotal"], status["ready"], status["buried"]) == (203, 208, 10)


def test_names_alone_stay_in_the_order_of_the_spec(pools):
    spec = {"tubes": ["sms", "mail"]}
    given = counts(stats("sms"), stats("mail", buried=3))
    status = pools.status(pools.seen(pools.pool(spec), counts=given))
    assert [tube["name"] for tube in status["tubes"]] == ["sms", "mail"]
    assert status["tubesTotal"] == 2


def left_out(pools, given):
    found = {finding.type: finding for finding in conditions(pools.seen(pools.pool(GLOBS), counts=given))}
    return found.get("TubesLeftOut")


def test_condition_says_which_tubes_are_left_out(pools):
    many = [stats(f"reports.{number:05}") for number in range(COUNTED_MOST)]
    assert left_out(pools, Counts(error="away")) is None
    assert left_out(pools, counts(*many[:100])) is None
    shown = left_out(pools, counts(*many[:101]))
    assert (shown.status, shown.reason, shown.event) == ("True", "NotAllShown", None)
    assert shown.message.startswith("101 tubes are counted, and status.tubes shows the 100 with the most buried jobs")
    assert left_out(pools, counts(*many)).reason == "NotAllShown"
    counted = left_out(pools, counts(*many, matching=2100))
    assert (counted.status, counted.reason, counted.event) == ("True", "NotAllCounted", "Warning")
    assert counted.message.startswith("2100 tubes match, and only the first 2000 by name are counted")


def test_new_tube_is_not_urgent_and_one_with_buried_jobs_is():
    before = counts(stats("mail"))
    assert not is_due(before, counts(stats("mail"), stats("reports.a", ready=5)), 1)
    assert is_due(before, counts(stats("mail"), stats("reports.a", ready=5)), 30)
    assert is_due(before, counts(stats("mail"), stats("reports.a", buried=1)), 0)


# Requests


def test_kick_of_as_many_tubes_as_are_counted_is_bounded_in_the_status():
    names = [f"{'x' * 195}{number:05}" for number in range(COUNTED_MOST)]
    request, tubes = Request("uid", "kick", "all"), PoolTubes(("x*",))
    asked = Asked({"kick": request}, tubes, "queue:11300", counts())
    found = Errand("find", Find(request, parse_value("kick", "all", tubes)), Found(dict.fromkeys(names, 10**9)))
    plan = plan_request(asked, None, {}, Known(found, new_id="kick", now="t"))
    running = plan_request(asked, plan.intent, {}, Known(new_id="step", now="t"))
    assert isinstance(running.errand.work, Step)
    assert sum(running.errand.work.most.values()) == 1000
    shares = [share.model_copy(update={"done": 10**9, "asked": 0}) for share in running.intent.tubes]
    done = running.intent.model_copy(update={"step": "", "tubes": shares})
    ended = plan_request(asked, done, {}, Known(new_id="end", now="t"))
    size = len(json.dumps([ended.intent.model_dump(mode="json"), ended.outcome.model_dump(mode="json")]))
    assert size < 800_000, "etcd takes an object of 1.5 MB"
    assert len(ended.outcome.tubes) == 100
    assert ended.outcome.kicked == COUNTED_MOST * 10**9
    assert len(ended.event.message) < 1024 * 5
    assert "and 1980 more tubes" in ended.event.message


def test_outcome_names_the_tubes_with_the_most_jobs():
    shares = [Share(name=f"reports.{number:03}", allotted=number, done=number) for number in range(150)]
    intent = Intent(id="1", deed="kick", value="all", server="q", state="done", since="t", tubes=shares)
    assert [tube.name for tube in outcome(intent).tubes[:2]] == ["reports.149", "reports.148"]
    assert outcome(intent).kicked == sum(range(150))
    message = result(intent)[0].message
    assert message.startswith("kick=all: 11,175 buried jobs put back (reports.149 149, reports.148 148")
    assert "and 130 more tubes)" in message


def test_step_goes_on_in_a_tube_that_a_glob_matches_and_leaves_one_that_is_excluded_now():
    shares = [Share(name="reports.a", allotted=2), Share(name="reports.test", allotted=2)]
    intent = Intent(id="1", deed="kick", value="all", server="q", state="accepted", since="t", tubes=shares)
    asked = Asked({"kick": Request("uid", "kick", "all")}, tubes_of_globs(), "q", counts())
    plan = plan_request(asked, intent, {}, Known(new_id="step", now="t"))
    assert plan.errand.work.most == {"reports.a": 2}
    answer = Errand("step", plan.errand.work, Done({"reports.a": 2}))
    ended = plan_request(asked, plan.intent, {}, Known(answer, new_id="end", now="t"))
    assert "tube reports.test is not the pool's any more" in ended.event.message


def tubes_of_globs():
    return PoolTubes(("mail", "reports.*"), ("reports.test*",))


# Two pools


def served(*wanted, retries=1, excluded=()):
    return Served(PoolTubes(wanted, excluded), retries)


@pytest.mark.parametrize(
    ("one", "other", "there", "tubes"),
    [
        (served("reports.*"), served("reports.a", retries=2), (), ("reports.a",)),
        (served("reports.*", excluded=("*.a",)), served("reports.a", retries=2), (), ()),
        (served("reports.*"), served("*.a", retries=2), (), ()),
        (served("reports.*"), served("*.a", retries=2), ("reports.a", "reports.b"), ("reports.a",)),
        (served("reports.*"), served("*.a"), ("reports.a", "reports.b"), ()),
    ],
)
def test_tubes_in_which_pools_differ(one, other, there, tubes):
    assert tubes_that_differ(one, other, there) == tubes
    assert tubes_that_differ(other, one, there) == tubes


def test_condition_names_a_tube_that_globs_of_both_pools_match():
    found = judge_retries(served("reports.*"), {Key("shop", "a"): served("*.a", retries=2)}, ["reports.a"])
    assert found.message.startswith("pool shop/a serves tube reports.a with 2 retry delays")
