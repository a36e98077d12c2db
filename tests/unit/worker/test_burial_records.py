"""Burial records as bodies of jobs, the groups that they make, which of them may go, and how they are shown."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.burials import encode
from tubeherd.burials.record import (
    NAME_MAX,
    BurialRecord,
    Burials,
    as_json,
    decode,
    group,
)
from tubeherd.burials.sorting import decoded, sort_out
from tubeherd.burials.table import table, whole
from tubeherd.formats.text import REASON_MAX, TRACEBACK_MAX
from tubeherd.policy import BurialKind
from tubeherd.queue.bulk import JobState, Taken

NOW = datetime(2026, 11, 29, 12, 0, 0, tzinfo=UTC)
RECORD = BurialRecord(
    job=7,
    tube="mail",
    time=NOW,
    kind=BurialKind.EXCEPTION,
    error="ValueError",
    place="mail.py:12",
    message="ValueError: no such customer",
    attempts=2,
    worker="mail-0",
    traceback="Traceback (most recent call last):\n  …\nValueError: no such customer",
)
MOST_BYTES = 65_535
"""The longest body that beanstalkd takes by default."""

texts = st.text(max_size=50)
records = st.builds(
    BurialRecord,
    job=st.integers(0, 2**64 - 1),
    tube=st.sampled_from(["mail", "report"]),
    time=st.datetimes(datetime(1970, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)),
    kind=st.sampled_from(BurialKind),
    error=st.none() | texts,
    place=st.none() | texts,
    message=texts,
    attempts=st.integers(1, 100),
    worker=texts,
    traceback=st.none() | texts,
)


@given(records)
def test_record_is_read_as_it_was_written(record):
    assert decode(encode(record)) == record


def test_record_is_json_that_says_what_the_design_says():
    assert json.loads(encode(RECORD)) == {
        "job": 7,
        "tube": "mail",
        "time": 1795953600.0,
        "kind": "exception",
        "error": "ValueError",
        "place": "mail.py:12",
        "message": "ValueError: no such customer",
        "attempts": 2,
        "worker": "mail-0",
        "traceback": RECORD.traceback,
    }


@pytest.mark.parametrize("letter", ["x", "\0", "ü", "😀", "\ud800", '"'])
def test_longest_record_fits_into_a_job(letter):
    long = letter * 100_000
    body = encode(RECORD._replace(error=long, place=long, message=long, worker=long, traceback=long))
    assert len(body) < MOST_BYTES
    read = decode(body)
    shown = "?" if letter == "\ud800" else letter  # half a character, which UTF-8 cannot hold
    assert read.message == shown * REASON_MAX
    assert (read.error, read.place, read.worker) == (shown * NAME_MAX,) * 3
    assert read.traceback == shown * TRACEBACK_MAX


def test_texts_of_a_record_that_another_program_wrote_are_cut():
    long = dict.fromkeys(["error", "place", "message", "worker", "traceback"], "x" * 60_000)
    read = decode(changed(**long))
    assert [len(text) for text in (read.error, read.place, read.worker)] == [NAME_MAX] * 3
    assert (len(read.message), len(read.traceback)) == (REASON_MAX, TRACEBACK_MAX)


def changed(**fields):
    return json.dumps(json.loads(encode(RECORD)) | fields).encode()


@pytest.mark.parametrize(
    "body",
    [
        None, b"", b"{}", b"[]", b"null", b"\xff", b"[" * 60_000, changed(job="x"), changed(job=-1), changed(job=2**64),
        changed(job=1e400), changed(tube=None), changed(kind="unheard of"), changed(time="2026-11-29T12:00:00"),
        changed(time="0001-01-01T00:00:00+14:00"), changed(time="9999-12-31T23:59:59-14:00"), changed(message=None),
        changed(time=-1), changed(time=1e300), changed(time=None), changed(time=[1]),
    ],
)  # fmt: skip
def test_what_is_no_record_is_none(body):
    assert decode(body) is None


@given(st.binary(max_size=300))
def test_no_body_raises(body):
    decode(body)


def test_record_whose_time_is_a_text_is_read():
    assert decode(changed(time="2026-11-29T12:00:00Z")) == RECORD


def test_record_of_a_later_version_is_read():
    assert decode(changed(colour="blue")) == RECORD


# Groups


def test_records_of_one_reason_make_a_group():
    older, newer = NOW - timedelta(hours=2), NOW - timedelta(minutes=3)
    first = RECORD._replace(job=1, time=older)
    second = RECORD._replace(job=2, time=newer, message="ValueError: another")
    (found,) = group([first, second])
    assert (found.tube, found.kind, found.error, found.place) == ("mail", "exception", "ValueError", "mail.py:12")
    assert (found.count, found.first, found.last, found.sample) == (2, older, newer, second)


@pytest.mark.parametrize(
    "other", [{"tube": "report"}, {"kind": BurialKind.DEADLINE}, {"error": "KeyError"}, {"place": "mail.py:13"}]
)
def test_records_of_different_reasons_make_two_groups(other):
    assert len(group([RECORD, RECORD._replace(job=8, **other)])) == 2


def test_largest_group_comes_first():
    few, many = RECORD._replace(error="Few"), RECORD._replace(error="Many")
    assert [each.error for each in group([few, many, many])] == ["Many", "Few"]


def test_burials_as_json():
    assert json.loads(json.dumps(as_json(Burials((RECORD,), 3, 4)), default=str)) == {
        "groups": [
            {
                "tube": "mail",
                "kind": "exception",
                "error": "ValueError",
                "place": "mail.py:12",
                "count": 1,
                "first": str(NOW),
                "last": str(NOW),
                "sample": 7,
                "message": "ValueError: no such customer",
            }
        ],
        "read_elsewhere": 3,
        "without_record": 4,
    }


# Which records may go

BURIED = JobState("mail", "buried")


def sorted_of(*records, **states):
    """Sort out these records, whose ids count from 1, of jobs in these states: `job7="ready"`."""
    known = {name: JobState("mail", state) if isinstance(state, str) else state for name, state in states.items()}
    taken = [Taken(number, encode(record)) for number, record in enumerate(records, 1)]
    return sort_out(decoded(taken), lambda jobs: [known.get(f"job{job}", BURIED) for job in jobs])


def test_record_of_a_buried_job_is_shown():
    assert sorted_of(RECORD) == ({1: RECORD}, [], [])


@pytest.mark.parametrize("state", ["ready", "delayed", None, JobState("report", "buried")])
def test_record_of_a_job_that_is_not_buried_any_more_is_stale(state):
    assert sorted_of(RECORD, job7=state) == ({}, [], [1])


def test_record_of_a_reserved_job_is_kept_because_its_worker_may_be_about_to_bury_it():
    assert sorted_of(RECORD, job7="reserved") == ({}, [1], [])


def test_of_several_records_for_one_job_the_one_put_last_is_shown():
    earlier = RECORD._replace(time=NOW + timedelta(hours=1))  # by a clock that is wrong
    assert sorted_of(earlier, RECORD) == ({2: RECORD}, [], [1])
    assert sorted_of(earlier, RECORD, job7="ready") == ({}, [], [1, 2])


def test_what_is_no_record_is_kept():
    assert sort_out(decoded([Taken(1, b"{}"), Taken(2, None)]), lambda jobs: []) == ({}, [1, 2], [])


# How they are shown


def columns(text):
    return max(map(len, text.splitlines()))


def test_table():
    shown = Burials(
        (
            RECORD._replace(job=3, time=NOW - timedelta(seconds=5)),
            RECORD._replace(job=4, time=NOW - timedelta(hours=30)),
            RECORD._replace(job=5, kind=BurialKind.KILLED, error=None, place=None, time=NOW - timedelta(minutes=61)),
        ),
        read_elsewhere=1,
        without_record=1200,
    )
    assert table(shown, NOW, 80).splitlines() == [
        "COUNT  TUBE  ERROR       PLACE       FIRST   LAST    SAMPLE",
        "    2  mail  ValueError  mail.py:12  1d ago  5s ago       3",
        "    1  mail  killed      -           1h ago  1h ago       5",
        "3 buried jobs in 2 groups. tubeherd why --job SAMPLE shows all about one.",
        "1 record could not be seen, because somebody else is reading: try again in a",
        "moment.",
        "1,200 further buried jobs have no record: only Tubeherd writes records, and",
        "those of the newest 10,000 burials are kept.",
    ]


def test_table_of_nothing():
    assert table(Burials(), NOW, 80) == "No job is buried."


def test_table_of_jobs_that_have_no_record():
    assert table(Burials(without_record=1), NOW, 200) == (
        "1 buried job has no record: only Tubeherd writes records, and those of the newest 10,000 burials are kept."
    )


def test_table_of_records_that_are_all_read_elsewhere():
    assert table(Burials(read_elsewhere=2), NOW, 200) == (
        "2 records could not be seen, because somebody else is reading: try again in a moment."
    )


def test_long_names_are_cut_where_they_tell_least():
    record = RECORD._replace(tube="t" * 200, error="ConnectionRefusedError" * 9, place="deep/" * 40 + "mail.py:12345")
    shown = table(Burials((record,)), NOW, 80)
    assert columns(shown) <= 80
    row = shown.splitlines()[1]
    assert "mail.py:12345" in row
    assert "ConnectionRefu" in row
    assert row.count("…") == 3


@given(st.lists(records, max_size=5), st.integers(80, 200))
def test_table_fits_and_controls_no_terminal(shown, width):
    text = table(Burials(tuple(shown), 10**6, 10**6), NOW, width)
    assert columns(text) <= width
    assert all(line.isprintable() for line in text.splitlines())


def test_whole_record():
    assert whole(RECORD, NOW + timedelta(minutes=5)).splitlines() == [
        "job      7",
        "tube     mail",
        "buried   2026-11-29 12:00:00 UTC, 5m ago, after attempt 2",
        "kind     exception",
        "error    ValueError",
        "place    mail.py:12",
        "worker   mail-0",
        "message  ValueError: no such customer",
        "",
        *RECORD.traceback.split("\n"),
    ]


@given(records)
def test_whole_record_controls_no_terminal(record):
    assert all(line.isprintable() for line in whole(record, NOW).split("\n"))
