"""Delays, priorities and TTRs: one check for each kind of value, whoever takes it."""

import time
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tubeherd.job_options import check_priority, make_schedule, parse_delay, parse_ttr
from tubeherd.policy import MAX_DELAY, MAX_PRIORITY

NOW = 1_800_000_000.0
anything = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.binary()
    | st.timedeltas()
    | st.datetimes()
    | st.datetimes(timezones=st.timezones())
    | st.dates()
    | st.decimals()
    | st.lists(st.integers())
)


def parsed_or_refused(parse, value):
    """Return what a value is parsed to, or the words in which it is refused."""
    try:
        return parse(value), ""
    except ValueError as error:
        return None, str(error)


@given(anything)
def test_any_value_is_taken_within_bounds_or_refused_in_few_words(value):
    bounds = {
        lambda value: parse_delay(value, NOW): (0, MAX_DELAY),
        parse_ttr: (1, MAX_DELAY),
        check_priority: (0, MAX_PRIORITY),
    }
    for parse, (least, most) in bounds.items():
        parsed, refused = parsed_or_refused(parse, value)
        assert len(refused) < 700
        if not refused:
            assert type(parsed) is int
            assert least <= parsed <= most


@given(st.lists(anything, max_size=22))
def test_any_delays_are_a_schedule_or_refused(delays):
    schedule, refused = parsed_or_refused(make_schedule, delays)
    assert len(refused) < 700
    if not refused:
        assert len(schedule.delays) == len(delays) <= 20


@given(st.datetimes(timezones=st.timezones()))
def test_moment_is_reached_and_not_missed_by_a_second(moment):
    try:
        delay = parse_delay(moment, NOW)
    except ValueError:
        assert moment.timestamp() - NOW > MAX_DELAY - 1
    else:
        assert max(0.0, moment.timestamp() - NOW) <= delay < max(0.0, moment.timestamp() - NOW) + 1


@pytest.mark.parametrize("zone", ["America/New_York", "Asia/Kolkata", "UTC"])
def test_datetime_without_a_time_zone_is_local_time(monkeypatch, zone):
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        assert parse_delay(datetime.fromtimestamp(NOW + 30), NOW) == 30
        assert parse_delay(datetime.fromtimestamp(NOW + 30, UTC), NOW) == 30
        assert parse_delay(datetime.fromtimestamp(NOW + 30, timezone(timedelta(hours=9))), NOW) == 30
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize("ttr", ["0", 0, timedelta(0), -1])
def test_ttr_of_zero_is_refused(ttr):
    with pytest.raises(ValueError, match=r"TTR|duration"):
        parse_ttr(ttr)


def test_fraction_of_a_second_is_rounded_up():
    assert (parse_delay("1ms", NOW), parse_ttr(0.5), parse_delay(timedelta(seconds=1.5), NOW)) == (1, 1, 2)
