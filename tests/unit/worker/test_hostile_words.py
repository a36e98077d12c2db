"""Settings made of any text: taken and within bounds, or refused in few words that name the option."""

import math

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from tubeherd.formats.durations import parse_duration
from tubeherd.formats.sizes import parse_size
from tubeherd.formats.tubes import check_tube
from tubeherd.policy import MAX_DELAY, RetrySchedule
from tubeherd.queue.server import parse_server
from tubeherd.settings import WorkerSettings

WORDS = st.sampled_from(
    ["1", "90", "0", "999999999", ".5", "1.5", " ", "s", "m", "ms", "h", "weeks", "Ki", "Ti", "mail", ",", ":", "[",
     "]", "::1", "-", "+", "none", "127.0.0.1", "11300", "\n", "\0", "\u0661", "\u00b2", "\u212a", "\ud800", "x" * 200]
)  # fmt: skip
AMOUNTS = st.builds("{}{}".format, st.integers(0, 2000), st.sampled_from(["", "s", " minutes", "h", "Mi", "G"]))
TEXTS = st.lists(WORDS, max_size=8).map("".join) | st.text(max_size=20) | AMOUNTS
OPTIONS = [name for name in WorkerSettings.model_fields if name not in ("executors", "log_format", "log_level")]


@settings(max_examples=300)
@given(st.sampled_from(OPTIONS), TEXTS)
@example("retry_delays", "1s,,1s, 1s")
@example("retry_delays", "999999999w")
@example("max_memory", "1" * 4301)
@example("include", "x" * 201 + ",\0,:," + "\ud800" * 99)
@example("server", "\ud800:1")
@example("server", "mail:65536")
def test_any_text_is_a_setting_within_bounds_or_refused_in_few_words(option, text):
    try:
        worker = WorkerSettings(**{option: text})
    except ValidationError as error:
        for line in WorkerSettings.explain(error).splitlines():  # one for each item of a list
            assert line.startswith(f"--{option.replace('_', '-')} (TUBEHERD_{option.upper()}): ")
            assert len(line) < 600
        return
    assert 1 <= worker.concurrency <= 1000
    assert all(0 <= delay < MAX_DELAY for delay in worker.policy().schedule.delays)
    assert 0 < parse_server(worker.server)[1] < 65536
    for seconds in (worker.grace_period, worker.job_timeout or 0, worker.max_time or 0):
        assert 0 <= seconds < math.inf


@given(st.lists(st.floats(0, 2 * MAX_DELAY) | st.integers(0, 2 * MAX_DELAY) | st.just(MAX_DELAY - 1), max_size=70))
@example([0.0, 0.0, 1.0])
@example([MAX_DELAY - 1, 0])
def test_any_delays_are_a_schedule_that_beanstalkd_can_hold_or_refused(delays):
    most = MAX_DELAY - len(delays)
    try:
        schedule = RetrySchedule.of(tuple(delays))
    except ValueError:
        assert math.ceil(max(delays)) > most
        return
    assert list(schedule.delays) == [math.ceil(delay) for delay in delays]
    for failures in range(len(delays) + 1):
        for delay in (0, 60, *schedule.delays):
            shown = schedule.showing(failures, delay)
            assert delay <= shown <= delay + len(delays) <= MAX_DELAY
            assert shown % (len(delays) + 1) == failures


@pytest.mark.parametrize("parse", [parse_duration, parse_size, check_tube, parse_server])
@pytest.mark.parametrize(
    "text",
    ["1m " * 100_000 + "x", "1 m" * 100_000 + "!", "9" * 10**6, "1.5" * 10**5, "a" * 10**6, "[" + ":" * 10**5],
    ids=["minutes", "meters", "digits", "points", "letters", "colons"],
)  # fmt: skip
def test_very_long_text_is_refused_in_few_words_or_taken(parse, text):
    """Were a pattern to try all ways to split it, this would not end."""
    try:
        parse(text)
    except ValueError as error:
        refused = str(error)
    else:
        refused = ""
    assert len(refused) < 200
