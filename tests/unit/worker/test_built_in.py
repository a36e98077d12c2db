"""What built-in executors make of exit codes, of answers over HTTP and of what they name in reasons."""

import asyncio
import os
import subprocess
import sys
from datetime import UTC, datetime
from email.utils import format_datetime

import pytest

from tubeherd.builtin import command as commands
from tubeherd.builtin.command import Command
from tubeherd.builtin.errors import CommandFailed, HttpFailed
from tubeherd.builtin.facts import HEADERS, VARIABLES
from tubeherd.builtin.http import Answer, Client, Endpoint, retry_after
from tubeherd.executors import ExecutorError, Reschedule
from tubeherd.job import Job
from tubeherd.processing import discovery
from tubeherd.processing.reasons import describe, traceback_text
from tubeherd.settings import WorkerSettings

NOW = 1_800_000_000.0
JOB = Job(7, "mail", 2, 5, 60, 1)


def date(seconds):
    return format_datetime(datetime.fromtimestamp(NOW + seconds, UTC), usegmt=True)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("120", 120),
        (" 7 ", 7),
        ("0", 1),
        ("3601", 3600),
        ("9" * 5000, 3600),
        (date(90), 90),
        (date(-90), 1),
        (date(86400), 3600),
        ("", 60),
        ("soon", 60),
        ("-5", 60),
        ("1.5", 60),
        ("\u0663", 60),
        ("Fri, 99 Foo 9999 99:99:99 GMT", 60),
    ],
)
def test_retry_after_is_seconds_or_a_date_and_an_hour_at_most(value, seconds):
    assert retry_after(value, NOW, 60) == seconds


def answered(status, age, headers=()):
    Endpoint("http://host/", Client(None), 60)._check(Answer(status, list(headers), "text"), age)


@pytest.mark.parametrize("status", [409, 429, 503])
def test_job_older_than_a_day_has_failed_instead_of_being_put_off(status):
    with pytest.raises(Reschedule) as raised:
        answered(status, 86_399, [(b"Retry-After", b"30")])
    assert raised.value.delay(0) == 30
    with pytest.raises(HttpFailed, match=f"^answered {status}, and the job is older than 24 hours: text$"):
        answered(status, 86_400)


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("https://user:s3cret@shop.example.com/jobs/mail?key=s3cret#s3cret", "https://shop.example.com/jobs/mail"),
        ("http://[::1]:8080", "http://[::1]:8080"),
    ],
)
def test_place_is_the_url_without_secrets(url, place):
    assert Endpoint(url, Client(None), 60).place == place


@pytest.mark.parametrize(
    ("target", "shown"),
    [
        ("https://user:s3cret@other/path?s3cret", "https://other/path"),
        ("//user:s3cret@other/path#s3cret", "//other/path"),
        ("/login?s3cret", "/login"),
    ],
)
def test_redirect_is_a_failure_that_names_the_target_without_secrets(target, shown):
    with pytest.raises(HttpFailed, match=rf"^answered 302, a redirect to {shown}: name the right URL") as raised:
        answered(302, 1, [(b"Location", target.encode())])
    assert "s3cret" not in str(raised.value)
    assert (raised.value.status, describe(raised.value, "place")) == (302, "HttpFailed302")


@pytest.mark.parametrize(
    ("output", "shown"),
    [("one line", None), ("one line\n", None), ("two\nlines", "two\nlines"), ("x" * 500, "x" * 500)],
)
def test_output_that_the_reason_holds_is_not_shown_again_as_a_traceback(output, shown):
    reason = f"exit code 3: {' '.join(output[:400].split())}"
    assert traceback_text(CommandFailed(reason, "sh mail.sh", output)) == shown


@pytest.mark.parametrize(
    ("command", "place"),
    [
        ("sh mail.sh --password s3cret", "sh mail.sh"),
        ("sh -c 's3cret'", "sh"),
        ("env KEY=s3cret sh", "env"),
        ("sh https://user:s3cret@host/", "sh"),
    ],
)
def test_place_is_the_command_up_to_its_first_option(command, place):
    assert Command("mail", command, 60).place == place


def test_facts_of_a_job_are_no_settings():
    assert not set(VARIABLES.values()) & {WorkerSettings.variable(name) for name in WorkerSettings.model_fields}
    assert list(WorkerSettings.misspelt(dict.fromkeys(VARIABLES.values(), "1"))) == []
    assert HEADERS["lost_deliveries"] == "Tubeherd-Job-Lost-Deliveries"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"command": {"mail": "no-such-program"}}, "command of tube 'mail' cannot be run: 'no-such-program' was not f"),
        ({"command": {"mail": "./mail"}}, "cannot be run: './mail' is no file that can be executed"),
        ({"command": {"mail": "''"}}, "cannot be run: '' was not found"),
        ({"http": {"mail": "https://h/"}, "http_ca": "none.pem"}, "--http-ca cannot be read from none.pem: No such f"),
        ({"http": {"mail": "https://h/"}, "http_ca": "mail"}, "--http-ca cannot be read from mail: "),
    ],
)
def test_what_can_never_work_is_refused_before_any_job_is_taken(tmp_path, monkeypatch, options, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mail").write_text("no certificate, and no program")
    with pytest.raises(ExecutorError) as raised:
        discovery.built_in(WorkerSettings(**options))
    assert words in str(raised.value)


def test_missing_client_is_named_with_its_extra(monkeypatch):
    monkeypatch.delitem(sys.modules, "tubeherd.builtin.http")
    monkeypatch.setitem(sys.modules, "httpcore", None)
    with pytest.raises(ExecutorError, match=r"pip install 'tubeherd\[http\]'"):
        discovery.built_in(WorkerSettings(http={"mail": "http://host/"}))


def test_tube_with_an_executor_and_a_command_is_refused(no_executors):
    from tubeherd import executor

    @executor("mail")
    def mail(payload): ...

    made = discovery.built_in(WorkerSettings(command={"mail": "sh"}))
    with pytest.raises(ExecutorError, match=r"^tube 'mail' has an executor, .*mail, and a command or a URL: remove"):
        discovery.load([], built_in=made)


def test_worker_without_them_loads_nothing_of_them():
    code = (
        "import sys; import tubeherd.slot.process; from tubeherd.settings import WorkerSettings;"
        "from tubeherd.processing import discovery; discovery.built_in(WorkerSettings());"
        "print([name for name in sys.modules if name.startswith(('tubeherd.builtin', 'httpcore', 'anyio', 'shlex'))])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"


def test_end_of_a_program_is_found_on_a_kernel_without_pidfd(monkeypatch):
    def refuse(pid):
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(os, "pidfd_open", refuse)
    with pytest.raises(CommandFailed, match=r"^exit code 3: why$"):
        asyncio.run(Command("mail", "sh -c 'sleep 0.1; echo why >&2; exit 3'", 60).run(b"", JOB))


def test_group_of_a_leader_whose_exit_code_was_read_gets_no_signal(monkeypatch):
    sent = []
    monkeypatch.setattr(os, "killpg", lambda *args: sent.append(args))
    child = subprocess.Popen(["true"])
    child.wait()
    commands._signal_group(child.pid, 9)
    assert sent == []
