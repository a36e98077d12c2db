"""What the kick annotation's values mean, what is made of a kick, and what is reported of it."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tubeherd_operator.decisions.counts import Counts, Kicked
from tubeherd_operator.decisions.findings import PoolEvent, Reason, stamp
from tubeherd_operator.decisions.kick import (
    RETRY_SECONDS,
    BadKick,
    BrokenOff,
    Done,
    Due,
    Kick,
    Refused,
    Request,
    Waiting,
    decide,
    is_settled_kick,
    parse_kick,
    report_kick,
)

TUBES = ["mail", "sms"]
REFUSAL = "is not understood: write kick=all|names a tube that is not the pool's"
COUNTED = Counts()
AWAY = Counts(error="cannot reach it")
ALL, FIVE = Request("uid", "all"), Request("uid", "5")
DONE = Done(FIVE, {"mail": 2, "sms": 3}, "t1")
BROKEN_OFF = BrokenOff(FIVE, {"mail": 2})
WAITING = Waiting(ALL, "b:11300 is out of reach")


@pytest.mark.parametrize(
    ("value", "kick"),
    [
        ("all", Kick(("mail", "sms"), None)),
        ("25", Kick(("mail", "sms"), 25)),
        ("mail:all", Kick(("mail",), None)),
        ("sms:3", Kick(("sms",), 3)),
        (" all ", Kick(("mail", "sms"), None)),
        ("9999999999", Kick(("mail", "sms"), 9999999999)),
    ],
)
def test_good_value(value, kick):
    assert parse_kick(value, TUBES) == kick


@pytest.mark.parametrize(
    "value",
    ["", " ", "0", "-1", "+1", "1.5", "01", "many", "ALL", "mail", "mail:", "mail:0", ":all", "1" + "0" * 18, "\u0661"],
)
def test_value_that_is_not_understood(value):
    with pytest.raises(BadKick, match=REFUSAL):
        parse_kick(value, TUBES)


@pytest.mark.parametrize("value", ["tubeherd.burials:all", "tubeherd.burials:5"])
def test_tube_of_tubeherd_itself_is_never_kicked(value):
    with pytest.raises(BadKick, match="names a tube that is not the pool's"):
        parse_kick(value, TUBES)


def test_tube_of_another_pool_is_named_with_those_there_are():
    with pytest.raises(BadKick, match="'push:all' names a tube that is not the pool's: it has mail, sms"):
        parse_kick("push:all", TUBES)


spaces = st.sampled_from(["", " ", "\t\n"])
numbers = st.integers(1, 10**18 - 1)


@given(st.sampled_from([None, *TUBES]), st.just("all") | numbers, spaces, spaces)
def test_any_tube_and_count_is_a_kick_of_them(tube, count, before, after):
    value = f"{before}{tube}:{count}{after}" if tube else f"{before}{count}{after}"
    most = None if count == "all" else count
    assert parse_kick(value, TUBES) == Kick((tube,) if tube else tuple(TUBES), most)


UNDERSTOOD = re.compile(r"\s*((mail|sms):)?(all|[1-9][0-9]{0,17})\s*")
pieces = st.sampled_from([*TUBES, ":", "all", "0", "1", "25", "\u0661", "-", "+", ".", " "]) | st.text(max_size=2)
texts = (
    st.text()
    | st.lists(pieces, max_size=6).map("".join)
    | st.builds("{}:{}".format, st.text(max_size=9), st.just("all") | numbers)
    | st.builds("{}{}".format, st.sampled_from(["", "mail:"]), st.integers(max_value=0) | st.integers(10**9))
)


@given(texts.filter(lambda text: not UNDERSTOOD.fullmatch(text)))
def test_any_other_text_is_refused(value):
    with pytest.raises(BadKick, match=REFUSAL):
        parse_kick(value, TUBES)


# What is made of a kick


@pytest.mark.parametrize(
    ("request_", "server", "counts", "before", "outcome"),
    [
        (None, "b:11300", COUNTED, None, None),
        (None, "b:11300", COUNTED, DONE, None),
        (ALL, "b:11300", COUNTED, None, Due(ALL, Kick(("mail", "sms"), None))),
        (ALL, "b:11300", COUNTED, WAITING, Due(ALL, Kick(("mail", "sms"), None))),
        (ALL, "b:11300", COUNTED, DONE, Due(ALL, Kick(("mail", "sms"), None))),
        (Request("anew", "5"), "b:11300", COUNTED, DONE, Due(Request("anew", "5"), Kick(("mail", "sms"), 5))),
        (ALL, "b:11300", None, None, None),
        (ALL, "b:11300", AWAY, None, WAITING),
        (ALL, None, None, None, Waiting(ALL, "no beanstalkd is named")),
        (FIVE, "b:11300", COUNTED, DONE, DONE),
        (FIVE, "b:11300", AWAY, DONE, DONE),
        (FIVE, None, None, DONE, DONE),
        (FIVE, "b:11300", COUNTED, BROKEN_OFF, Due(FIVE, Kick(("mail", "sms"), 3), {"mail": 2})),
        (FIVE, "b:11300", AWAY, BROKEN_OFF, BROKEN_OFF),
        (FIVE, "b:11300", None, BROKEN_OFF, BROKEN_OFF),
        (ALL, "b:11300", COUNTED, BROKEN_OFF, Due(ALL, Kick(("mail", "sms"), None))),
    ],
)
def test_what_is_made_of_a_kick(request_, server, counts, before, outcome):
    assert decide(request_, TUBES, server, counts, before) == outcome


@pytest.mark.parametrize("counts", [COUNTED, AWAY, None])
def test_bad_value_is_refused_whatever_is_known_of_the_server(counts):
    outcome = decide(Request("uid", "push:1"), TUBES, "b:11300", counts, None)
    assert outcome.why == "kick='push:1' names a tube that is not the pool's: it has mail, sms; nothing was kicked"


def test_kick_that_broke_off_and_whose_tube_went_says_that_something_was_kicked():
    request = Request("uid", "mail:5")
    outcome = decide(request, ["sms"], "b:11300", COUNTED, BrokenOff(request, {"mail": 2}))
    assert outcome.why.endswith("; nothing more was kicked")


def test_all_that_broke_off_goes_on_with_all():
    assert decide(ALL, TUBES, "b:11300", COUNTED, BrokenOff(ALL, {"mail": 2})).kick.most is None


@pytest.mark.parametrize(
    ("due", "answer", "outcome"),
    [
        (Due(FIVE, Kick(("mail", "sms"), 5)), Kicked({"mail": 2, "sms": 3}), DONE),
        (Due(FIVE, Kick(("mail", "sms"), 5)), Kicked({"mail": 2}, "connection lost"), BROKEN_OFF),
        (Due(FIVE, Kick(("mail", "sms"), 5)), Kicked({}, "connection lost"), BrokenOff(FIVE, {})),
        (Due(FIVE, Kick(("mail", "sms"), 3), {"mail": 2}), Kicked({"mail": 0, "sms": 3}), DONE),
        (Due(FIVE, Kick(("mail", "sms"), 3), {"mail": 1}), Kicked({"mail": 1}, "connection lost"), BROKEN_OFF),
    ],
)
def test_what_beanstalkds_answer_makes_of_a_kick(due, answer, outcome):
    assert due.after(answer, "t1") == outcome


# What is reported of it


@pytest.mark.parametrize(
    ("outcome", "condition", "event", "finished", "message"),
    [
        (Refused(ALL, "no"), ("False", "BadKick"), ("Warning", "BadKick"), "all", "no"),
        (
            WAITING,
            ("False", "Waiting"),
            ("Warning", "Waiting"),
            None,
            "kick=all waits: b:11300 is out of reach; it is done as soon as beanstalkd answers",
        ),
        (
            BROKEN_OFF,
            ("False", "Waiting"),
            None,
            None,
            "kick=5 waits: beanstalkd is out of reach; it goes on as soon as beanstalkd answers",
        ),
        (
            DONE,
            ("True", "Kicked"),
            ("Normal", "Kicked"),
            "5",
            "kick=5: 5 buried jobs put back (mail 2, sms 3)",
        ),
    ],
    ids=["refused", "waiting", "broken off", "done"],
)
def test_what_is_reported_of_a_kick(outcome, condition, event, finished, message):
    report = report_kick(outcome, None, None)
    assert (report.condition.type, report.condition.status, report.condition.reason) == ("KickAccepted", *condition)
    assert report.condition.message == message
    assert report.finished == finished
    assert report.event == (PoolEvent(*event, message) if event else None)
    assert report_kick(outcome, outcome, None).event is None, "it was reported"
    assert report_kick(outcome, BROKEN_OFF, None).event == report.event
    assert (report.last_kick is not None) == isinstance(outcome, Done)
    assert report.again_after == (RETRY_SECONDS if isinstance(outcome, BrokenOff) else None)


def test_nothing_is_reported_without_a_kick():
    report = report_kick(None, DONE, None)
    assert (report.condition, report.event, report.last_kick, report.finished, report.again_after) == (None,) * 5


def shown(outcome):
    """Return the condition that a status shows after such an outcome."""
    return stamp(report_kick(outcome, None, None).condition, None, 1, "t0")


def test_kick_that_waits_is_not_reported_again_by_a_restarted_operator():
    assert report_kick(WAITING, None, shown(WAITING)).event is None
    assert report_kick(WAITING, None, shown(BROKEN_OFF)).event is None
    assert report_kick(WAITING, None, shown(DONE)).event.reason == Reason.WAITING
    assert report_kick(DONE, None, shown(DONE)).event.reason == Reason.KICKED
    assert report_kick(DONE, None, shown(WAITING)).event.reason == Reason.KICKED
    assert report_kick(Refused(ALL, "no"), None, shown(Refused(ALL, "no"))).event.reason == Reason.BAD_KICK


def test_only_a_kick_that_is_over_stays_shown():
    outcomes = (Refused(ALL, "no"), WAITING, BROKEN_OFF, DONE)
    assert [is_settled_kick(shown(outcome)) for outcome in outcomes] == [True, False, False, True]
