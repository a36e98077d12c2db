"""What the values of the annotations mean, and what a pass does for a request. `test_reconcile` has whole requests."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tubeherd_operator.decisions.counts import Counts
from tubeherd_operator.decisions.errands import Done, Errand, Find, Found, Request, Step
from tubeherd_operator.decisions.findings import stamp
from tubeherd_operator.decisions.request import Asked, Known, plan_request
from tubeherd_operator.decisions.request_report import is_settled_request
from tubeherd_operator.decisions.request_value import DEEDS, BadRequest, Wanted, parse_value
from tubeherd_operator.decisions.status import Intent, Share
from tubeherd_operator.decisions.tubes import PoolTubes

TUBES = PoolTubes(("mail", "sms"))
REFUSAL = "is not understood: |names a tube that is not the pool's"
COUNTED = Counts()
AWAY = Counts(error="cannot reach it")
SERVER = "b:11300"
FIVE = Request("uid", "kick", "5")


@pytest.mark.parametrize("deed", DEEDS)
@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        ("all", Wanted(PoolTubes(("mail", "sms")), None)),
        ("25", Wanted(PoolTubes(("mail", "sms")), 25)),
        ("mail:all", Wanted(PoolTubes(("mail",)), None)),
        ("sms:3", Wanted(PoolTubes(("sms",)), 3)),
        ("job/123", Wanted(PoolTubes(("mail", "sms")), None, job=123)),
        ("error/KeyError", Wanted(PoolTubes(("mail", "sms")), None, error="KeyError")),
        ("all@50/s", Wanted(PoolTubes(("mail", "sms")), None, rate=50)),
        ("mail:25@30/m", Wanted(PoolTubes(("mail",)), 25, rate=0.5)),
        ("error/KeyError@1/s", Wanted(PoolTubes(("mail", "sms")), None, error="KeyError", rate=1)),
        ("mail:error/httpx.ConnectError", Wanted(PoolTubes(("mail",)), None, error="httpx.ConnectError")),
        (" all ", Wanted(PoolTubes(("mail", "sms")), None)),
        ("9999999999", Wanted(PoolTubes(("mail", "sms")), 9999999999)),
    ],
)
def test_good_value(deed, value, wanted):
    assert parse_value(deed, value, TUBES) == wanted


NUMBERS = ["0", "-1", "+1", "1.5", "01", "1" + "0" * 18, "\u0661"]
WORDS = ["", " ", "many", "ALL", "mail", "mail:", "mail:0", ":all", "push:error/"]
CHOSEN = ["job/", "job/0", "job/x", "job/1,2", "error/", "error/Key Error", "error/a:b"]


@pytest.mark.parametrize("value", [*WORDS, *NUMBERS, *CHOSEN])
def test_value_that_is_not_understood(value):
    with pytest.raises(BadRequest, match=REFUSAL):
        parse_value("kick", value, TUBES)


@pytest.mark.parametrize(
    ("value", "both"),
    [
        ("mail:error/KeyError:5", "error/KeyError and 5"),
        ("mail:5:error/KeyError@1/s", "5 and error/KeyError"),
        ("error/KeyError:5", "error/KeyError and 5"),
        ("error/KeyError:all", "error/KeyError and all"),
        ("job/7:3", "job/7 and 3"),
    ],
)
@pytest.mark.parametrize("tubes", [TUBES, PoolTubes(("mail*",))])
def test_value_that_says_twice_which_jobs_is_refused_with_the_right_form(value, both, tubes):
    with pytest.raises(BadRequest, match=rf"is not understood: it says twice which jobs, {both}; write kick=all, "):
        parse_value("kick", value, tubes)


def test_colon_is_in_the_name_of_no_tube_whatever_a_glob_matches():
    with pytest.raises(BadRequest, match="says twice which jobs, error/KeyError and 5"):
        parse_value("kick", "mail:error/KeyError:5", PoolTubes(("*",)))
    with pytest.raises(BadRequest, match="'mail:eu:all' names a tube that is not the pool's"):
        parse_value("kick", "mail:eu:all", PoolTubes(("*",)))
    assert parse_value("kick", "error/KeyError:5", PoolTubes(("*",))).tubes.named == ("error/KeyError",)


@pytest.mark.parametrize("value", ["job/1@5", "all@", "all@0/s", "all@fast", "mail:all@1/d"])
def test_rate_that_is_not_understood(value):
    with pytest.raises(BadRequest, match=r"is not understood: .* is no rate"):
        parse_value("kick", value, TUBES)


@pytest.mark.parametrize("value", ["tubeherd.burials:all", "tubeherd.burials:5"])
def test_tube_of_tubeherd_itself_is_never_kicked(value):
    with pytest.raises(BadRequest, match="names a tube that is not the pool's"):
        parse_value("kick", value, TUBES)


def test_tube_of_another_pool_is_named_with_those_there_are():
    with pytest.raises(BadRequest, match="'push:all' names a tube that is not the pool's: it has mail, sms"):
        parse_value("kick", "push:all", TUBES)


spaces = st.sampled_from(["", " ", "\t\n"])
numbers = st.integers(1, 10**18 - 1)


@given(st.sampled_from([None, *TUBES.named]), st.just("all") | numbers, spaces, spaces)
def test_any_tube_and_count_is_a_kick_of_them(tube, count, before, after):
    value = f"{before}{tube}:{count}{after}" if tube else f"{before}{count}{after}"
    most = None if count == "all" else count
    assert parse_value("kick", value, TUBES) == Wanted(PoolTubes((tube,)) if tube else TUBES, most)


UNDERSTOOD = re.compile(r"\s*((mail|sms):)?(all|(job/)?[1-9][0-9]{0,17}|error/[^\s:@]{1,200})(@[^@]*)?\s*")
pieces = st.sampled_from(
    [*TUBES.named, ":", "job/", "error/", "all", "0", "1", "25", "\u0661", "-", "+", ".", " "]
) | st.text(max_size=2)
texts = (
    st.text()
    | st.lists(pieces, max_size=6).map("".join)
    | st.builds("{}:{}".format, st.text(max_size=9), st.just("all") | numbers)
    | st.builds("{}{}".format, st.sampled_from(["", "mail:"]), st.integers(max_value=0) | st.integers(10**9))
)


@given(texts.filter(lambda text: not UNDERSTOOD.fullmatch(text)))
def test_any_other_text_is_refused(value):
    with pytest.raises(BadRequest, match=REFUSAL):
        parse_value("kick", value, TUBES)


# What a pass does


def plan(value="5", intent=None, shown=(), tubes=TUBES, server=SERVER, counts=COUNTED, deed="kick", **known):
    """Plan a pass over a pool with such an annotation; `now` is `t1` and the new id `new`."""
    requests = {} if value is None else {deed: Request("uid", deed, value)}
    shown = {condition.type: condition for condition in shown}
    asked = Asked(requests | known.pop("others", {}), tubes, server, counts)
    return plan_request(asked, intent, shown, Known(new_id="new", now="t1", **known))


def intent(state="running", *shares, value="5", step="", ended="", server=SERVER, deed="kick"):
    """Return an intent; a share is a tube, its allotment, and how many are done, unsure, skipped and asked for."""
    names = ("name", "allotted", "done", "unsure", "skipped", "asked")
    tubes = [Share(**dict(zip(names, share, strict=False))) for share in shares]
    return Intent(
        id="id", deed=deed, value=value, server=server, state=state, since="t0", step=step, tubes=tubes, ended=ended
    )


def found(tubes, error=None, value="5", deed="kick"):
    wanted = parse_value(deed, value, TUBES)
    return Errand("find", Find(Request("uid", deed, value), wanted), Found(tubes, error))


def shares(plan):
    return [
        (share.name, share.allotted, share.done, share.unsure, share.skipped, share.asked)
        for share in plan.intent.tubes
    ]


def the_condition(plan):
    """Return the only condition of a plan."""
    (condition,) = plan.conditions
    return condition


def said(plan):
    condition = the_condition(plan)
    return condition.status, condition.reason, condition.message


FIND = Errand("new", Find(FIVE, Wanted(PoolTubes(("mail", "sms")), 5)))
FIND_ALL = Errand("find", Find(Request("uid", "kick", "all"), Wanted(PoolTubes(("mail", "sms")), None)))


@pytest.mark.parametrize(
    ("known", "errand"),
    [
        ({}, FIND),
        ({"errand": FIND}, None),
        ({"errand": FIND_ALL}, FIND),
        ({"errand": found({}, "connection lost")}, FIND),
        ({"errand": Errand("step", Step("kick", {"mail": 1}), Done({"mail": 1}))}, FIND),
        ({"errand": Errand("find", Find(Request("earlier", "kick", "5"), FIND.work.wanted), Found({"mail": 1}))}, FIND),
    ],
    ids=["none", "under way", "another value", "failed", "step of the kick before", "another pool of the name"],
)
def test_jobs_are_counted_before_a_kick_is_accepted(known, errand):
    assert (plan(**known).errand, plan(**known).intent) == (errand, None)


@pytest.mark.parametrize(
    ("value", "buried", "allotted"),
    [
        ("5", {"mail": 2, "sms": 9}, [("mail", 2), ("sms", 3)]),
        ("5", {"mail": 7, "sms": 9}, [("mail", 5)]),
        ("5", {"mail": 0, "sms": 1}, [("sms", 1)]),
        ("all", {"mail": 2, "sms": 9}, [("mail", 2), ("sms", 9)]),
        ("sms:3", {"sms": 9}, [("sms", 3)]),
    ],
)
def test_bound_is_divided_among_the_tubes_in_their_order(value, buried, allotted):
    made = plan(value, errand=found(buried, value=value))
    assert [share[:2] for share in shares(made)] == allotted
    assert (made.intent.state, made.intent.id, made.errand) == ("accepted", "new", None)


def test_kick_waits_until_beanstalkd_can_be_asked():
    away, nowhere = plan(counts=AWAY), plan(server=None, counts=None)
    assert (
        the_condition(away).message == "kick=5 waits: b:11300 is out of reach; it goes on as soon as beanstalkd answers"
    )
    assert "no beanstalkd is named" in the_condition(nowhere).message
    assert plan(counts=None) == type(away)(), "beanstalkd was not asked yet"
    for made in (away, nowhere):
        assert (the_condition(made).status, the_condition(made).reason) == ("False", "Waiting")
        assert (made.event.type, made.event.reason) == ("Warning", "Waiting")
        assert made.event.message == the_condition(made).message
        assert (made.errand, made.removes) == (None, None)
        assert not is_settled_request(stamp(the_condition(made), None, 1, "t0"))
    shown = stamp(the_condition(away), None, 1, "t0")
    assert plan(counts=AWAY, shown=[shown]).event is None, "it was reported"
    assert plan("6", counts=AWAY, shown=[shown]).event is not None


@pytest.mark.parametrize("counts", [COUNTED, AWAY, None])
def test_bad_value_is_refused_whatever_is_known_of_the_server(counts):
    made = plan("push:1", counts=counts)
    why = "kick='push:1' names a tube that is not the pool's: it has mail, sms; nothing was kicked"
    assert (the_condition(made).status, the_condition(made).reason, the_condition(made).message) == (
        "False",
        "BadKick",
        why,
    )
    assert (made.event.type, made.event.message) == ("Warning", why)
    assert (made.intent.state, made.removes, made.outcome) == ("done", "kick", None)
    met = plan("push:1", intent=made.intent)
    assert (met.event, met.event_after_removal, met.removes) == (None, None, "kick"), "it was reported"


@pytest.mark.parametrize(
    ("value", "asked", "rests"),
    [("all@50/s", 50, 1), ("all@30/m", 1, 2), ("all@900/s", 200, 200 / 900), ("all@1/h", 1, 3600), ("all", 1000, 0)],
)
def test_rate_is_kept_by_small_steps_with_rests(value, asked, rests):
    accepted = intent("accepted", ("mail", 5000), value=value)
    made = plan(value, accepted)
    assert (shares(made)[0][5], made.rests) == (asked, pytest.approx(rests))
    assert made.errand.work.slowly == (rests > 0)
    waits = plan(value, accepted, rest=0.7)
    assert (waits.errand, waits.again_after) == (None, 0.7)


def test_slow_kick_is_stopped_if_its_jobs_are_buried_again():
    running = intent("running", ("mail", 500, 20, 0, 0, 50), value="all@50/s", step="step")
    stopped = Errand("step", Step("kick", {"mail": 50}, slowly=True), Done({}, stopped="15 were buried again"))
    made = plan("all@50/s", running, errand=stopped)
    assert (made.intent.state, shares(made)) == ("done", [("mail", 500, 20, 0, 0, 0)])
    why = "20 buried jobs put back (mail 20); the rest was left, because 15 were buried again"
    assert the_condition(made).message == f"kick=all@50/s: {why}"
    assert made.removes


def test_tube_without_a_buried_job_ends_even_a_slow_kick():
    running = intent("running", ("mail", 500, 20, 0, 0, 1), value="all@1/h", step="step")
    answer = Errand("step", Step("kick", {"mail": 1}, slowly=True), Done({"mail": 0}))
    assert plan("all@1/h", running, errand=answer, rest=3000).intent.state == "done"
    by_id = running.model_copy(update={"value": "error/KeyError@1/h"})
    assert plan("error/KeyError@1/h", by_id, errand=answer).intent.state == "running"


@pytest.mark.parametrize("value", ["job/7", "error/KeyError"])
def test_kick_of_jobs_that_there_are_not_is_refused(value):
    kick = parse_value("kick", value, TUBES)
    errand = Errand("find", Find(Request("uid", "kick", value), kick), Found({}, refused="there is no such job"))
    made = plan(value, errand=errand)
    assert the_condition(made).message == f"kick='{value}': there is no such job; nothing was kicked"
    assert (the_condition(made).reason, made.removes, made.intent.state) == ("BadKick", "kick", "done")


@pytest.mark.parametrize(
    ("value", "work"),
    [
        ("job/7", Step("kick", {"mail": 1}, job=7)),
        ("error/KeyError", Step("kick", {"mail": 1}, error="KeyError")),
        ("mail:error/KeyError", Step("kick", {"mail": 1}, error="KeyError")),
        ("all", Step("kick", {"mail": 1})),
    ],
)
def test_step_says_which_jobs_are_meant(value, work):
    assert plan(value, intent("accepted", ("mail", 1), value=value)).errand.work == work
    asked_once = plan(value, intent("running", ("mail", 1, 0, 0, 0, 1), value=value, step="another's"))
    assert (asked_once.intent.state == "running") == (value == "all"), "only all may be asked for again"


MINE = {"errand": Errand("step", Step("kick", {}), Done({"mail": 2}))}
ACCEPTED = intent("accepted", ("mail", 2), ("sms", 3))
ASKED = intent("running", ("mail", 2, 0, 0, 0, 2), ("sms", 1500, 0, 0, 0, 0), step="step", value="9999")
BOUND_LOST = intent("running", ("mail", 4, 1, 0, 0, 3), step="step", value="9")
ALL_LOST = intent("running", ("mail", 4, 1, 0, 0, 3), step="step", value="all")
LOST = {"errand": Errand("step", Step("kick", {}), Done({}, "mail", "connection lost"))}
FEWER = {"errand": Errand("step", Step("kick", {}), Done({"mail": 1}))}
UNSENT = {"errand": Errand("step", Step("kick", {}), Done({}, error="connection lost"))}


@pytest.mark.parametrize(
    ("intent", "known", "state", "expected", "asked"),
    [
        (
            intent("accepted", ("mail", 2), ("sms", 3)),
            {},
            "running",
            [("mail", 2, 0, 0, 0, 2), ("sms", 3, 0, 0, 0, 3)],
            True,
        ),
        (ASKED, MINE, "running", [("mail", 2, 2, 0, 0, 0), ("sms", 1500, 0, 0, 0, 1000)], True),
        (BOUND_LOST, LOST, "done", [("mail", 4, 1, 3, 0, 0)], False),
        (BOUND_LOST, {}, "done", [("mail", 4, 1, 3, 0, 0)], False),
        (BOUND_LOST, {"opened": "other"}, "done", [("mail", 4, 1, 3, 0, 0)], False),
        (BOUND_LOST, UNSENT, "running", [("mail", 4, 1, 0, 0, 3)], True),
        (ALL_LOST, LOST, "running", [("mail", 4, 1, 3, 0, 3)], True),
        (ALL_LOST, {}, "running", [("mail", 4, 1, 3, 0, 3)], True),
        (BOUND_LOST, FEWER, "done", [("mail", 4, 2, 0, 2, 0)], False),
    ],
    ids=["first", "next", "lost", "killed", "another's", "unsent", "all lost", "all killed", "others kicked"],
)
def test_next_step(intent, known, state, expected, asked):
    made = plan(intent.value, intent, **known)
    assert (made.intent.state, shares(made), made.errand is not None) == (state, expected, asked)
    if made.errand:
        assert made.errand.id == made.intent.step == "new"


def test_step_that_is_under_way_is_waited_for():
    pending = Errand("step", Step("kick", {"mail": 2}))
    for value in ("9999", None, "7"):
        made = plan(value, ASKED, errand=pending)
        assert (made.intent, made.errand, made.again_after) == (ASKED, None, None)


def test_own_step_that_was_not_passed_on_yet_is_passed_on():
    made = plan("9999", ASKED, opened="step")
    assert (made.intent, made.errand) == (ASKED, Errand("step", Step("kick", {"mail": 2}, in_order=True)))
    taken_back = plan(None, ASKED, opened="step")
    assert (taken_back.intent.state, shares(taken_back)[0]) == ("done", ("mail", 2, 0, 0, 0, 0))


@pytest.mark.parametrize("state", ["accepted", "running"])
@pytest.mark.parametrize("value", ["age/5", "push:5"])
def test_request_that_another_version_has_begun_and_this_one_does_not_understand_is_ended(state, value):
    step = "step" if state == "running" else ""
    made = plan(value, intent(state, ("mail", 5, 1, 0, 0, 4 if step else 0), value=value, step=step))
    assert (made.intent.state, made.errand, made.removes) == ("done", None, "kick")
    jobs = "at most 5 buried jobs" if step else "1 buried job"
    assert made.event.message.startswith(f"kick={value}: {jobs} put back (mail ")
    assert re.search(REFUSAL, made.event.message)


def test_messages_show_no_endless_value():
    waits = plan(" " * 200_000 + "all", counts=AWAY)
    assert the_condition(waits).message == f"kick=all waits: {SERVER} is out of reach; it goes on as soon as " + (
        "beanstalkd answers"
    )
    done = plan(" all ", intent("running", ("mail", 2, 2), value=" all "))
    assert done.outcome.value == "all"
    behind = plan("all", counts=AWAY, others={"discard": Request("uid", "discard", "x" * 200_000)})
    assert all(len(condition.message) < 1000 for condition in behind.conditions)


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ({"value": None}, "its annotation was removed"),
        ({"value": "7"}, "the annotation has another value now"),
        ({"server": "c:11300"}, "the pool has another beanstalkd now"),
        ({"tubes": ["mail"]}, "tube sms is not the pool's any more"),
    ],
)
def test_kick_ends_early(asked, why):
    running = intent("running", ("mail", 2, 2), ("sms", 3, 1), value="5")
    made = plan(**{"value": "5", **asked}, intent=running)
    assert made.intent.state == "done"
    message = f"kick=5: 3 buried jobs put back (mail 2, sms 1); the rest was left, because {why}"
    assert the_condition(made).message == made.event.message == message
    assert made.removes == ("kick" if asked.get("value", "5") == "5" else None)


def test_kick_that_lost_its_server_waits_and_what_was_answered_is_kept():
    made = plan("9999", ASKED, counts=AWAY, **MINE)
    assert shares(made) == [("mail", 2, 2, 0, 0, 0), ("sms", 1500, 0, 0, 0, 0)]
    assert (made.intent.step, made.errand, the_condition(made).reason) == ("", None, "Waiting")


def test_running_kick_of_an_operator_that_was_started_anew_waits_until_beanstalkd_was_asked():
    made = plan("5", intent("running", ("mail", 2)), counts=None)
    assert (made.errand, the_condition(made).reason) == (None, "Kicking")


@pytest.mark.parametrize(
    ("shares_", "type_", "message"),
    [
        ([("mail", 2, 2), ("sms", 3, 3)], "Normal", "kick=5: 5 buried jobs put back (mail 2, sms 3)"),
        (
            [("mail", 2, 2), ("sms", 3, 0, 3)],
            "Warning",
            "kick=5: at most 5 buried jobs put back (mail 2, sms at most 3), the last answer was lost: see "
            "status.buried before you kick again",
        ),
    ],
)
def test_kick_that_is_done_is_reported(shares_, type_, message):
    made = plan("5", intent("running", *shares_))
    assert (made.event.type, made.event.reason, made.event.message) == (type_, "Kicked", message)
    assert (the_condition(made).status, the_condition(made).reason, the_condition(made).message) == (
        "True",
        "Kicked",
        message,
    )
    assert (made.outcome.value, made.outcome.time, made.outcome.kicked) == ("5", "t1", 5)
    assert made.outcome.unsure == sum(share[3] for share in shares_ if len(share) > 3)
    assert is_settled_request(stamp(the_condition(made), None, 1, "t0"))


DONE = intent("done", ("mail", 5, 5))


def test_kick_that_is_done_only_waits_for_its_annotation_to_go():
    for counts in (COUNTED, AWAY, None):
        made = plan("5", DONE, counts=counts)
        assert (made.intent, made.removes, made.errand, made.event) == (DONE, "kick", None, None)
        assert "nothing more was put back" in made.event_after_removal.message
    assert plan(None, DONE).intent is None
    assert plan("7", DONE).errand.work.request.value == "7"
    assert plan("5", DONE, removed="id").errand == FIND, "this process removed the annotation: it was set anew"
    assert plan("5", DONE, removed="other").errand is None


def test_refused_removal_of_the_annotation_is_reported_once():
    made = plan("5", DONE, stays_because="the webhook says no")
    assert (the_condition(made).status, the_condition(made).reason) == ("True", "AnnotationStays")
    assert the_condition(made).message == made.event.message
    assert "5 buried jobs put back" in made.event.message
    assert "the webhook says no" in made.event.message
    shown = stamp(the_condition(made), None, 1, "t0")
    assert plan("5", DONE, [shown], stays_because="the webhook says no").event is None
    assert the_condition(plan(None, DONE, [shown])).reason == "Kicked", "the annotation is gone"


# Discards


def test_discard_is_reported_in_words_of_its_own():
    running = intent("running", ("mail", 4, 1, 0, 0, 3), step="step", value="all", deed="discard")
    asked = plan("all", running, deed="discard", errand=Errand("step", Step("discard", {"mail": 3})))
    assert said(asked) == ("True", "Discarding", "discard=all: 1 of 4 buried jobs deleted so far")
    answer = Errand("step", Step("discard", {"mail": 3}), Done({"mail": 3}))
    made = plan("all", running, deed="discard", errand=answer)
    assert said(made) == ("True", "Discarded", "discard=all: 4 buried jobs deleted (mail 4)")
    assert the_condition(made).type == "DiscardAccepted"
    assert (made.outcome.deleted, made.outcome.unsure, made.removes) == (4, 0, "discard")
    bad = plan("some", deed="discard")
    assert said(bad)[:2] == ("False", "BadDiscard")
    assert "write discard=all, discard=25," in bad.event.message
    assert bad.event.message.endswith("; nothing was deleted")
    again = plan("all", made.intent, deed="discard")
    assert again.event_after_removal.message.endswith("set it again if another discard is wanted")


@pytest.mark.parametrize(
    ("value", "work"),
    [
        ("all", Step("discard", {"mail": 9})),
        ("9", Step("discard", {"mail": 9}, in_order=True)),
        ("job/7", Step("discard", {"mail": 9}, job=7)),
        ("error/KeyError@9/s", Step("discard", {"mail": 9}, error="KeyError", slowly=True)),
    ],
)
def test_step_of_a_discard_says_which_jobs_are_meant(value, work):
    assert plan(value, intent("accepted", ("mail", 9), value=value, deed="discard"), deed="discard").errand.work == work


@pytest.mark.parametrize(
    ("value", "share", "answer", "skipped"),
    [
        ("9", ("mail", 9, 0, 0, 0, 9), Done({"mail": 7}), 2),
        ("9", ("mail", 9, 0, 0, 0, 9), Done({"mail": 0}), 9),
        ("error/KeyError", ("mail", 9, 2, 0, 3, 4), Done({"mail": 1}), 6),
        ("error/KeyError", ("mail", 9, 2, 3, 0, 4), Done({"mail": 0}), 4),
        ("all", ("mail", 9, 2, 7, 0, 7), Done({"mail": 0}), 0),
        ("all", ("mail", 9, 0, 4, 0, 9), Done({"mail": 3}), 2),
    ],
    ids=["some gone", "all gone", "by error", "by error, and unsure", "all were done", "some of all were done"],
)
def test_jobs_that_are_not_buried_any_more_are_counted(value, share, answer, skipped):
    running = intent("running", share, step="step", value=value, deed="discard")
    made = plan(value, running, deed="discard", errand=Errand("step", Step("discard", {}), answer))
    assert (made.intent.state, made.outcome.skipped, made.outcome.tubes[0].skipped) == ("done", skipped, skipped)
    assert (f", {skipped} left alone, as they were not buried any more" in made.event.message) == (skipped > 0)


def test_jobs_that_a_stopped_kick_did_not_come_to_are_not_counted_as_gone():
    running = intent("running", ("mail", 9, 0, 0, 0, 9), step="step", value="all@50/s")
    made = plan("all@50/s", running, errand=Errand("step", Step("kick", {}), Done({"mail": 3}, stopped="some failed")))
    assert (made.outcome.kicked, made.outcome.skipped) == (3, 0)
    assert said(made)[2] == "kick=all@50/s: 3 buried jobs put back (mail 3); the rest was left, because some failed"


DISCARD = {"discard": Request("uid", "discard", "all")}


def test_kick_comes_before_a_discard_that_is_asked_for_at_once():
    begins = plan("5", others=DISCARD)
    assert begins.errand.work.request.deed == "kick"
    assert the_condition(begins).type == "DiscardAccepted"
    assert said(begins) == ("False", "Waiting", "discard=all waits until kick=5 is over and that annotation is gone")
    over = plan(None, DONE, others=DISCARD)
    assert (over.errand.work.request.deed, the_condition(over).reason) == ("discard", "Kicked")


def test_request_that_is_under_way_is_ended_before_another_begins():
    running = intent("running", ("mail", 5, 1), value="all", deed="discard")
    goes_on = plan("5", running, others=DISCARD)
    assert (goes_on.errand.work.deed, goes_on.intent.deed) == ("discard", "discard")
    assert [condition.type for condition in goes_on.conditions] == ["DiscardAccepted", "KickAccepted"]
    done = running.model_copy(update={"state": "done"})
    stays = plan("5", done, others=DISCARD, stays_because="the webhook says no")
    assert (stays.removes, stays.errand) == ("discard", None)
    assert [condition.reason for condition in stays.conditions] == ["AnnotationStays", "Waiting"]
