"""`tubeherd execute`: one payload through its executor, without a queue."""

import json
import signal
import subprocess
import sys

import pytest

from tests.support.terminal import CTRL_C, Terminal
from tests.support.waiting import wait_for

EXECUTORS = """
import logging, sys, time
from pydantic import BaseModel
from tubeherd import Abort, Job, Reject, Reschedule, events, executor

class Mail(BaseModel):
    to: str

@executor("mail")
def mail(mail: Mail, job: Job):
    print("printed", file=sys.stderr)
    logging.getLogger("mail").info("logged")
    if mail.to == "nobody": raise LookupError(f"no such \\x1b[2J customer, attempt {job.attempt}")
    if mail.to == "later": raise Reschedule("20s", message="too early")
    if mail.to == "never": raise Reject("unsubscribed")
    if mail.to == "stop": raise Abort("out of paper")
    if mail.to == "slow": open("begun", "w").close(); time.sleep(60)
    return {"sent": mail.to}

@executor("raw")
async def raw(payload: bytes): return payload

@events.flush.connect
def flush(reason, count): print(f"flushed {count}", file=sys.stderr)
"""


@pytest.fixture
def execute(tmp_path):
    (tmp_path / "mail.py").write_text(EXECUTORS)

    def run(*arguments, stdin=b""):
        command = [sys.executable, "-m", "tubeherd", "execute", *arguments]
        return subprocess.run(command, input=stdin, capture_output=True, cwd=tmp_path)

    return run


@pytest.mark.parametrize(
    ("to", "code", "words"),
    [
        ("ann", 0, ["done after", "result: {'sent': 'ann'}", "the job would be deleted"]),
        ("nobody", 1, ["failed after", "mail.py:", "reason: LookupError: no such", "ready again after 601 s"]),
        ("later", 75, ["rescheduled after", "reason: too early", "ready again after 20 s"]),
        ("never", 100, ["rejected after", "reason: unsubscribed", "the job would be buried"]),
        ("stop", 1, ["aborted after", "out of paper", "ready again after 60 s, and the worker would stop"]),
    ],
)
def test_verdict_and_exit_code(execute, to, code, words):
    done = execute("mail", json.dumps({"to": to}), "mail.py")
    assert done.returncode == code, done.stderr
    text = done.stdout.decode()
    assert [word for word in words if word not in text] == []
    assert b"\x1b" not in done.stdout + done.stderr
    said = done.stderr.decode()
    assert "printed" in said
    assert "INFO mail: logged" in said
    assert "flushed 1" in said
    assert ("Traceback (most recent call last):" in said) == (to == "nobody")


@pytest.mark.parametrize("payload", ['{"to": 4711}', "{oops}", ""])
def test_invalid_payload(execute, payload):
    done = execute("mail", payload, "mail.py")
    assert done.returncode == 100
    assert b"invalid after" in done.stdout
    assert b"the job would be buried" in done.stdout
    assert b"4711" not in done.stdout + done.stderr


def test_attempt_and_retry_delays(execute):
    done = execute("mail", '{"to": "nobody"}', "mail.py", "--attempt", "2", "--retry-delays", "10s")
    assert done.returncode == 1
    assert b"attempt 2" in done.stdout
    assert b"the job would be buried" in done.stdout
    done = execute("mail", "{}", "mail.py", "--attempt", "3", "--retry-delays", "10s")
    assert (done.returncode, done.stderr) == (
        2,
        b"attempt 3 is the one after 2 retry delays, and a job has 1 retry delay here: give more (--retry-delays or "
        b"retry_delays), or a lower attempt\n",
    )


def test_rejection_has_a_reason_and_no_traceback(execute):
    done = execute("mail", '{"to": "never"}', "mail.py")
    assert (done.returncode, b"reason: unsubscribed" in done.stdout, b"Traceback" in done.stderr) == (100, True, False)


def test_payload_from_stdin_and_executors_by_option(execute, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    done = execute("raw", "-", "--executors", "mail", stdin=b"\xff\n")
    assert done.returncode == 0
    assert b"result: b'\\xff\\n'" in done.stdout


def test_json(execute):
    told = json.loads(execute("mail", '{"to": "nobody"}', "mail.py", "--json").stdout)
    assert (told["outcome"], told["verdict"], told["delay"], told["attempt"]) == ("failed", "release", 601, 1)
    assert told["traceback"].startswith("Traceback")
    assert json.loads(execute("mail", '{"to": "ann"}', "mail.py", "--json").stdout)["result"] == {"sent": "ann"}


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["mial", "{}", "mail.py"], 3, "tube 'mial' has no executor here; the tubes with one are: mail, raw"),
        (["mail", "{}", "mali.py"], 3, "mali.py"),
        (["mail", "{}", "mail.py", "--executors", "mail"], 2, "either as arguments or with --executors"),
        (["mail", "{}", "mail.py", "--retry-delays", "soon"], 2, "'soon' is no duration"),
    ],
)
def test_what_cannot_run(execute, arguments, code, said):
    done = execute(*arguments)
    assert (done.returncode, done.stdout) == (code, b"")
    assert said in done.stderr.decode()
    assert b"Traceback" not in done.stderr


def test_listener_of_flush_that_raises(execute, tmp_path):
    (tmp_path / "mail.py").write_text(
        EXECUTORS.replace("def flush(reason, count): ", "def flush(reason, count): 1/0; ")
    )
    done = execute("mail", '{"to": "ann"}', "mail.py")
    assert done.returncode == 1
    assert b"a listener of worker.flush raised, which would stop the worker:" in done.stderr
    assert b"ZeroDivisionError" in done.stderr


def test_ctrl_c_on_a_terminal(tmp_path):
    (tmp_path / "mail.py").write_text(EXECUTORS)
    command = [sys.executable, "-m", "tubeherd", "execute", "mail", '{"to": "slow"}', "mail.py"]
    with Terminal(command, folder=tmp_path) as terminal:
        wait_for((tmp_path / "begun").exists, "the executor runs")
        terminal.send(CTRL_C)
        assert terminal.wait() == 130
        assert "failed after" in terminal.text()


def test_reader_of_the_output_that_is_gone(execute, tmp_path):
    shell = f'{sys.executable} -m tubeherd execute mail \'{{"to": "ann"}}\' mail.py | true; exit ${{PIPESTATUS[0]}}'
    done = subprocess.run(["bash", "-c", shell], cwd=tmp_path, capture_output=True)
    assert b"Traceback" not in done.stderr
    assert done.returncode in (0, 1)
    assert done.returncode != -signal.SIGPIPE


def test_payload_of_a_command_is_executed_as_in_a_worker(tmp_path):
    command = ["execute", "mail", '{"to": "you"}']
    variables = {"TUBEHERD_COMMAND": "mail=sh -c 'cat; echo why >&2; exit 3'", "PATH": "/usr/bin:/bin"}
    run = subprocess.run(
        [sys.executable, "-m", "tubeherd", *command], cwd=tmp_path, env=variables, capture_output=True, text=True
    )
    assert run.returncode == 1
    assert run.stdout.startswith('{"to": "you"}')
    assert "CommandFailed: exit code 3: why" in run.stdout + run.stderr


RESULTS = """
from tubeherd import executor

class Silent:
    def __repr__(self): raise RuntimeError("no")

class Loud:
    def __repr__(self): return "\\x1b[31mred"

ring = []
ring.append(ring)
for name, result in {
    "silent": Silent(), "loud": Loud(), "bytes": b"\\xff", "half": "\\ud800", "ring": ring, "nan": float("nan"),
}.items():
    executor(name)(lambda payload, result=result: result)

@executor("fails")
def fails(payload): raise ValueError("\\x1b[31mred \\ud800")
"""


@pytest.mark.parametrize("tube", ["silent", "loud", "bytes", "half", "ring", "nan"])
def test_any_result_is_shown_and_nothing_of_it_controls_the_terminal(execute, tmp_path, tube):
    (tmp_path / "results.py").write_text(RESULTS)
    done = execute(tube, "{}", "results.py")
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"\x1b" not in done.stdout
    done = execute(tube, "{}", "results.py", "--json")
    assert (done.returncode, done.stderr) == (0, b"")
    found = json.loads(done.stdout, parse_constant=pytest.fail)
    assert found["outcome"] == "done"


def test_nothing_of_a_failure_controls_the_terminal(execute, tmp_path):
    (tmp_path / "results.py").write_text(RESULTS)
    done = execute("fails", "{}", "results.py")
    assert done.returncode == 1
    assert b"\x1b" not in done.stdout + done.stderr
    assert b"Traceback" in done.stderr
    assert json.loads(execute("fails", "{}", "results.py", "--json").stdout)["outcome"] == "failed"


def test_command_and_url_by_option(execute):
    done = execute(
        "mail", "{}", "--command", "mail=sh -c 'exit 75'", "--reschedule-delay", "5m", "--retry-delays", "none"
    )
    assert done.returncode == 75
    assert b"the job would be ready again after 300 s" in done.stdout
    done = execute("mail", "{}", "--http", "mail=http://127.0.0.1:1/")
    assert done.returncode == 1
    assert b"no connection: Connection refused" in done.stdout


def test_what_is_wrong_with_an_argument_is_said_as_by_other_commands(execute):
    done = execute("mail", "{}", "mial.py")
    assert (done.returncode, done.stderr) == (3, b"there is no file mial.py: did you mean mail.py?\n")


def test_tube_that_a_glob_matches(execute, tmp_path):
    (tmp_path / "report.py").write_text(
        "from tubeherd import Job, executor\n@executor('reports.*')\ndef report(payload, job: Job): return job.tube\n"
    )
    assert b"result: 'reports.weekly'" in execute("reports.weekly", "1", "report.py").stdout
    refused = execute("reports.*", "1", "report.py")
    assert refused.returncode == 3
    assert b"'reports.*' stands for several tubes: name one of them" in refused.stderr
