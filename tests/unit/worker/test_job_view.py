"""Jobs as text: payloads laid out, whatever they are."""

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic_core import to_json

from tests.support.terminal import Screen
from tubeherd.burials.record import BurialRecord
from tubeherd.by_hand.looking.job_view import as_json, payload_lines, summary
from tubeherd.by_hand.looking.looked_jobs import InspectedJob
from tubeherd.policy import BurialKind
from tubeherd.queue.answers import JobCounters

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


NOW = datetime(2026, 11, 29, tzinfo=UTC)
COUNTERS = JobCounters(1, "mail", "buried", 0, 0, 0, 60, 0, 1, 0, 0, 1, 0)
RECORD = BurialRecord(1, "mail", NOW, BurialKind.EXCEPTION, "KeyError", "mail.py:1", "KeyError: 'to' " * 9, 2, "host")


@given(JSON, st.booleans(), st.integers(1, 100))
def test_json_that_is_laid_out_is_the_same_value(value, ascii_only, width):
    body = json.dumps(value, ensure_ascii=ascii_only).encode(errors="surrogatepass")
    lines = payload_lines(body, width)
    if all(line.isprintable() for line in [body.decode(errors="replace"), *lines]) and "?" not in "".join(lines):
        assert json.loads("\n".join(lines)) == value


@given(st.binary(max_size=200), st.integers(1, 100))
def test_no_body_controls_the_terminal(body, width):
    assert payload_lines(body, width)
    Screen(1000).show("\r\n".join(payload_lines(body, width)))


@pytest.mark.parametrize(
    ("body", "lines"),
    [
        (None, ["beanstalkd lost the body in a crash."]),
        (b"", [""]),
        (b'{"a":1.10,"a":2}', ['{"a": 1.10, "a": 2}']),
        (b'{"a":[],"b":{}}', ['{"a": [], "b": {}}']),
        (b'{"to":"\\u00fc"}', ['{"to": "ü"}']),
        (b"[1e999,NaN]", ["[1e999, NaN]"]),
        (b"plain\ttext\r\nof two lines", ["plain    text?", "of two lines"]),
        (b"\xff\x00", ["2 bytes, no text: ff 00"]),
        (b"\xff" * 40, ["40 bytes, no text: " + "ff " * 32 + "…"]),
        (b"[" * 60_000, ["[" * 60_000]),
    ],
)
def test_bodies(body, lines):
    assert payload_lines(body, 80) == lines


def test_long_json_has_a_line_for_each_item():
    assert payload_lines(b'{"to":["ann","bob"],"none":[],"n":1}', 20) == [
        "{",
        '  "to": [',
        '    "ann",',
        '    "bob"',
        "  ],",
        '  "none": [',
        "  ],",
        '  "n": 1',
        "}",
    ]


@given(st.binary(max_size=100), st.integers(-2, 30))
def test_lines_of_a_job_are_made_for_the_narrowest_terminal_too(body, width):
    assert summary(InspectedJob(COUNTERS, body, RECORD), NOW, width)


@pytest.mark.parametrize(
    ("body", "payload"),
    [
        (b'{"to":"ann"}', {"to": "ann"}),
        (b'{"to":"\\ud800"}', None),
        (b"[" * 255 + b"]" * 255, None),
        (b"[" * 60_000 + b"]" * 60_000, None),
        (b"1" * 5_000, None),
        (b"\xff", None),
        (None, None),
    ],
)
def test_every_body_can_be_written_as_json(body, payload):
    found = json.loads(to_json({"jobs": [as_json(InspectedJob(COUNTERS, body, RECORD))]}))["jobs"][0]
    assert found["payload"] == payload
    assert (found["body"], found["body_base64"]) == (
        (None, "/w==") if body == b"\xff" else (body and body.decode(), None)
    )
