"""However long a text is that comes from user code or from the configuration: messages, reasons and lines are short."""

import json

import pytest

from tests.support.processing import executor_of, leased, processor_of
from tubeherd.configuration import WrongSettings
from tubeherd.executors import Abort, ExecutorError, Reject, Reschedule, executor
from tubeherd.formats.text import shortened, some_of
from tubeherd.logs import Log
from tubeherd.processing.discovery import load
from tubeherd.processing.tube_choice import TubeChoice
from tubeherd.queue.server import parse_server
from tubeherd.settings import WorkerSettings

LONG = "x" * 3_000_000
TUBES = [f"tube-{number}" for number in range(1000)]


class Unprintable:
    def __str__(self):
        raise RuntimeError("no text")


def test_long_text_is_cut_and_shows_that_it_was():
    assert shortened("abc", 3) == "abc"
    assert shortened("abcd", 3) == "ab…"
    assert some_of(["a", "b"]) == "a, b"
    assert some_of(TUBES).endswith("tube-8, tube-9 and 990 more")


@pytest.mark.parametrize("message", [LONG, Unprintable(), [LONG]], ids=["text", "unprintable", "list"])
@pytest.mark.parametrize(
    "make",
    [lambda message: Reschedule(5, message=message), Abort, Reject, ValueError, SystemExit],
    ids=["reschedule", "abort", "reject", "error", "exit"],
)
def test_reason_of_a_verdict_is_short(make, message):
    def mail(payload):
        raise make(message)

    processor = processor_of(executor_of(mail))
    done = processor.process(leased(b"1"))
    assert 0 < len(done.verdict.reason) <= 500


@pytest.mark.parametrize("log_format", ["json", "text"])
def test_line_is_short(capfd, log_format):
    log = Log()
    log.configure(log_format, "info")
    log.error(LONG, reason=LONG, traceback=LONG)
    line = capfd.readouterr().err
    assert len(line) < 60_000
    assert log_format == "text" or json.loads(line)["level"] == "error"


@pytest.mark.usefixtures("no_executors")
@pytest.mark.parametrize(
    "wrong",
    [
        lambda: executor(LONG)(lambda payload: None),
        lambda: executor([LONG]),
        lambda: executor("mail")(eval(f"lambda payload, more, default='{'x' * 9_000}': None")),  # noqa: S307
        lambda: load([LONG]),
        lambda: load(TUBES * 100),
        lambda: TubeChoice(dict.fromkeys(TUBES), ["missing"], []),
        lambda: TubeChoice(dict.fromkeys(TUBES), [], TUBES),
    ],
    ids=["name", "no-name", "signature", "module", "modules", "no-executor", "no-tube"],
)
def test_error_about_executors_is_short(wrong):
    with pytest.raises(ExecutorError) as raised:
        wrong()
    assert len(str(raised.value)) <= 2000


@pytest.mark.usefixtures("no_executors")
@pytest.mark.parametrize("message", ["'x' * 3_000_000", "type('E', (), {'__str__': lambda self: 1 / 0})()"])
def test_error_of_an_import_is_short_and_keeps_its_place(tmp_path, message):
    (tmp_path / "wordy.py").write_text(f"raise ValueError({message})")
    with pytest.raises(
        ExecutorError, match=r"wordy.py cannot be imported: ValueError.* \(wordy.py, line 1\)$"
    ) as raised:
        load(None, tmp_path)
    assert len(str(raised.value)) <= 1000


@pytest.mark.parametrize(
    ("name", "text"),
    [(name, text) for name in WorkerSettings.model_fields for text in (LONG, "!," * 10_000, "1," * 10_000)],
)
def test_error_about_a_setting_is_short(name, text):
    try:
        WorkerSettings.load({f"TUBEHERD_{name.upper()}": text})
    except WrongSettings as error:
        assert len(str(error)) <= 20 * 400  # noqa: PT017
    else:
        assert name in ("executors", "include", "exclude")


def test_misspelt_variable_is_shown_in_part():
    (message,) = WorkerSettings.misspelt({f"TUBEHERD_{LONG}": "1"})
    assert len(message) < 300


def test_server_of_a_long_name_is_none():
    with pytest.raises(ValueError, match=r"^'x{80}' is no server"):
        parse_server(LONG)
