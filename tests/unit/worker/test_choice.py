"""Which jobs are meant by hand, and what makes no sense."""

from datetime import UTC, datetime, timedelta

import pytest

from tubeherd.burials.record import BurialRecord
from tubeherd.by_hand.changing.choice import STATES, choose, parse_rate, why_not
from tubeherd.policy import BurialKind
from tubeherd.queue.answers import JobCounters

JOB = JobCounters(7, "mail", "buried", 0, 3600, 0, 60, 0, 1, 0, 0, 1, 0)
RECORD = BurialRecord(
    7, "mail", datetime(2026, 11, 29, tzinfo=UTC), BurialKind.EXCEPTION, "KeyError", "mail.py:3", "x", 1, "here"
)


@pytest.mark.parametrize(
    ("wanted", "suits"),
    [
        ({"tube": "mail"}, True),
        ({"tube": "sms"}, False),
        ({"tube": None, "all_tubes": True}, True),
        ({"tube": None, "jobs": [7]}, True),
        ({"tube": "mail", "older_than": "1h"}, True),
        ({"tube": "mail", "older_than": timedelta(seconds=3601)}, False),
        ({"tube": "mail", "states": ["ready", "delayed"]}, False),
        ({"tube": "mail", "states": "buried"}, True),
    ],
)
def test_choice_suits_a_job(wanted, suits):
    assert choose(**wanted).suits(JOB) is suits


@pytest.mark.parametrize("state", [*STATES, "reserved"])
def test_no_choice_suits_a_job_of_tubeherd_itself_or_one_that_is_reserved(state):
    for choice in (choose(None, all_tubes=True, states=STATES), choose(None, jobs=[7], states=STATES)):
        assert not choice.suits(JOB._replace(tube="tubeherd.burials", state=state))
        assert choice.suits(JOB._replace(state=state)) is (state != "reserved")


@pytest.mark.parametrize(
    ("tube", "error", "suits"),
    [
        ("mail", "KeyError", True),
        (None, "KeyError", True),
        ("sms", "KeyError", False),
        ("mail", "keyerror", False),
        ("mail", "ValueError", False),
        ("mail", "exception", False),
    ],
)
def test_choice_suits_a_record(tube, error, suits):
    assert choose(tube, all_tubes=tube is None, error=error).suits_record(RECORD) is suits


def test_kind_of_a_burial_counts_as_its_error():
    record = RECORD._replace(kind=BurialKind.DEADLINE, error="DeadlinePassed")
    assert choose("mail", error="deadline").suits_record(record)
    assert choose("mail", error="DeadlinePassed").suits_record(record)


@pytest.mark.parametrize(
    ("wanted", "reason"),
    [
        ({}, "say which jobs are meant"),
        ({"tube": "mail", "all_tubes": True}, "say which jobs are meant"),
        ({"tube": "mail", "jobs": [1]}, "say which jobs are meant"),
        ({"all_tubes": True, "jobs": [1]}, "say which jobs are meant"),
        ({"jobs": []}, "no ids"),
        ({"jobs": [0]}, "the id of a job is"),
        ({"jobs": [2**64]}, "the id of a job is"),
        ({"jobs": ["1"]}, "the id of a job is"),
        ({"jobs": [True]}, "the id of a job is"),
        ({"jobs": [1], "count": 1}, "the ids name the jobs already"),
        ({"jobs": [1], "error": "KeyError"}, "the ids name the jobs already"),
        ({"jobs": [1], "older_than": "1h"}, "the ids name the jobs already"),
        ({"jobs": 7}, "given as a list"),
        ({"jobs": "12"}, "the id of a job is a whole number"),
        ({"tube": "mail", "error": ""}, "an error is the name"),
        ({"tube": "mail", "error": KeyError}, "an error is the name"),
        ({"tube": "mail", "count": 0}, "a count of jobs"),
        ({"tube": "mail", "count": -1}, "a count of jobs"),
        ({"tube": "mail", "count": 1.5}, "a count of jobs"),
        ({"tube": "mail", "count": True}, "a count of jobs"),
        ({"tube": "mail", "older_than": 0}, "an age is a time longer than 0"),
        ({"tube": "mail", "older_than": "yesterday"}, "no duration"),
        ({"tube": "mail", "older_than": float("nan")}, "a duration is"),
        ({"tube": "mail", "states": ["reserved"]}, "a state is ready, delayed or buried"),
        ({"tube": "mail", "states": []}, "no states"),
        ({"tube": "mail", "states": STATES, "error": "KeyError"}, "only buried jobs have an error"),
        ({"tube": "tubeherd.burials"}, "reserved"),
        ({"tube": "two words"}, "no tube name"),
        ({"tube": ""}, "no tube name"),
    ],
)
def test_choice_that_makes_no_sense_is_refused(wanted, reason):
    with pytest.raises(ValueError, match=reason):
        choose(**{"tube": None} | wanted)


@pytest.mark.parametrize(("rate", "a_second"), [("50/s", 50), ("0.5/s", 0.5), ("30/m", 0.5), ("1/h", 1 / 3600)])
def test_rate(rate, a_second):
    assert parse_rate(rate) == a_second


@pytest.mark.parametrize(
    "rate", ["0/s", "0.000/s", "50", "50/d", "-1/s", "fast", "", "1e9/s", 50, "50 / s", None, "\u0661/s"]
)
def test_what_is_no_rate_is_refused(rate):
    with pytest.raises(ValueError, match="is no rate"):
        parse_rate(rate)


def test_why_a_job_is_left_alone():
    assert why_not(None, ["buried"]) == "there is no such job"
    assert why_not(JOB._replace(state="reserved"), STATES) == "it is reserved: somebody works on it"
    assert why_not(JOB._replace(state="ready"), ["delayed", "buried"]) == "it is ready, not delayed or buried"
    assert why_not(JOB._replace(tube="tubeherd.x"), ["buried"]).endswith("which is one of Tubeherd's own")
