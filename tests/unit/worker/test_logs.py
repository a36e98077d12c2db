"""One line for an event, whatever is in it, and none where standard error is not there."""

import json
import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tubeherd.logs import Log


@pytest.fixture
def log():
    log = Log()
    log.configure("json", "info")
    return log


def test_json_has_the_event_its_level_its_time_and_its_fields(log, capfd):
    log.info("deleted", job=7, tube="mail", seconds=0.25, reason=None)
    line = json.loads(capfd.readouterr().err)
    assert line.pop("timestamp").endswith("Z")
    assert line == {"event": "deleted", "level": "info", "job": 7, "tube": "mail", "seconds": 0.25}


def test_line_of_a_delete_is_like_all_others(log, capfd):
    log.info("deleted", job=7, tube="mail", seconds=0.25)
    log.deleted(7, "mail", 0.25)
    general, special = (json.loads(line) for line in capfd.readouterr().err.splitlines())
    assert special.pop("timestamp") >= general.pop("timestamp")
    assert list(special.items()) == list(general.items())
    log.configure("text", "info")
    log.info("deleted", job=7, tube="mail", seconds=0.25)
    log.deleted(7, "mail", 0.25)
    general, special = capfd.readouterr().err.splitlines()
    assert special[8:] == general[8:]


@pytest.mark.parametrize("seconds", [0.0, 1e-9, 4e-7, 0.000123, 0.0999996, 0.9999996, 1.000001, 59.9999994, 86400.5])
def test_line_of_a_delete_has_the_seconds_with_six_decimals(log, capfd, seconds):
    log.deleted(2**63 - 1, "mail", seconds)
    line = capfd.readouterr().err
    assert line.endswith(f'"job":{2**63 - 1},"tube":"mail","seconds":{seconds:.6f}}}\n')


@pytest.mark.parametrize(("now", "decimals"), [(0.0, "000000"), (0.0000011, "000001"), (0.9999995, "999999")])
def test_time_of_a_line_has_six_decimals(log, monkeypatch, now, decimals):
    monkeypatch.setattr("time.time", lambda: 1_700_000_000 + now)
    assert log.timestamp() == f"2023-11-14T22:13:20.{decimals}Z"


@pytest.mark.parametrize(("least", "written"), [("debug", 4), ("info", 3), ("warning", 2), ("error", 1)])
@pytest.mark.parametrize("log_format", ["json", "text"])
def test_only_what_reaches_the_level_is_written(log, capfd, log_format, least, written):
    log.configure(log_format, least)
    for write in (log.debug, log.info, log.warning, log.error):
        write("event")
    written += least in ("debug", "info")
    log.deleted(7, "mail", 0.25)
    assert len(capfd.readouterr().err.splitlines()) == written


def test_text_is_one_line_without_colours_where_no_terminal_is(log, capfd):
    log.configure("auto", "info")
    assert json.loads((log.error("buried"), capfd.readouterr().err)[1])["event"] == "buried"
    log.configure("text", "info")
    log.error("buried", job=7, reason="ValueError: no\nroute", at=None)
    text = capfd.readouterr().err
    assert text[8:] == " error   buried  job=7  reason='ValueError: no\\nroute'\n"


def test_text_has_numbers_and_lists_as_a_person_writes_them(log, capfd):
    log.configure("text", "info")
    log.info("done", seconds=4.7e-05, pause=2.0, memory=1.5, tubes=["mail", "sms", "…"])
    assert capfd.readouterr().err[8:] == " info    done  seconds=0.000047  pause=2  memory=1.5  tubes=mail,sms,…\n"


@pytest.mark.parametrize("log_format", ["json", "text"])
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(), st.one_of(st.text(), st.floats(), st.binary(), st.lists(st.text()), st.builds(object)))
def test_any_text_and_any_value_is_one_line(log, capfd, log_format, event, value):
    log.configure(log_format, "info")
    log.warning(f"event {event!r}", value=value)
    text = capfd.readouterr().err
    assert text.count("\n") == 1
    if log_format == "json":
        assert json.loads(text)["level"] == "warning"


def test_half_a_surrogate_pair_costs_no_line(log, capfd):
    log.error("\ud800", reason="\udfff")
    assert json.loads(capfd.readouterr().err)["event"] == "\ud800"


def test_closed_standard_error_costs_a_line_and_nothing_else(log):
    saved = os.dup(2)
    try:
        os.close(2)
        log.error("nobody hears")
    finally:
        os.dup2(saved, 2)
        os.close(saved)


def test_traceback_and_further_lines_of_an_event_are_indented_lines_in_text(log, capfd):
    log.configure("text", "info")
    log.error("two\nlines\x1b[31m", job=7, traceback='Traceback:\n  File "a"\nValueError: \x07')
    lines = capfd.readouterr().err.splitlines()
    assert lines[0][8:] == " error   two  job=7"
    assert lines[1:] == ["    lines\\x1b[31m", "    Traceback:", '      File "a"', "    ValueError: \\x07"]


def test_traceback_is_a_field_in_json(log, capfd):
    log.error("buried", traceback="a\nb")
    (line,) = capfd.readouterr().err.splitlines()
    assert json.loads(line)["traceback"] == "a\nb"
