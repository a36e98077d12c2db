"""How each command ends where there is nothing, no server, a silent one, or a wrong argument; with --json and without.

The commands run in this process, because there are many cases.
"""

import json
import os
import re
import socket
import sys
from typing import NamedTuple

import pytest

from tubeherd.cli import COMMANDS, app
from tubeherd.queue import wire

OF_A_TUBE = {
    "list": "list mail --once",
    "why": "why mail",
    "peek": "peek mail",
    "inspect": "inspect mail",
    "kick": "kick mail",
    "delete": "delete mail --yes",
    "clear": "clear mail --yes",
    "pause": "pause mail 10m",
    "resume": "resume mail",
}
"""The commands that ask or change a tube."""
ASKING_A_SERVER = OF_A_TUBE | {"schedule": "schedule mail {}"}
WRONG = {name: f"{name} two/words,and" for name in OF_A_TUBE} | {
    "pause": "pause mail soon",
    "schedule": "schedule mail {} --delay soon",
    "execute": "execute mail {} nothing.py --attempt none",
}
NO_TUBE = "tube mail has neither jobs nor workers now; tubeherd list shows the tubes that have\n"


class Ended(NamedTuple):
    exit_code: int
    stdout: str
    stderr: str


@pytest.fixture
def invoke(capfd, monkeypatch):
    """Return a function that runs a command to its end, without anything on standard input."""
    with open(os.devnull) as nothing:
        monkeypatch.setattr(sys, "stdin", nothing)

        def invoke(command, *more):
            with pytest.raises(SystemExit) as ended:
                app([*command.split(), *more], prog_name="tubeherd")
            return Ended(int(ended.value.code or 0), *capfd.readouterr())

        yield invoke


@pytest.fixture
def run(beanstalkd, invoke):
    return lambda command, *more: invoke(command, *more, "--server", beanstalkd.server)


def test_every_command_is_here():
    assert {*OF_A_TUBE, *WRONG, "run"} == set(COMMANDS)


@pytest.mark.parametrize("name", OF_A_TUBE)
def test_tube_that_does_not_exist_counts_as_an_empty_one(run, name):
    done, as_json = run(OF_A_TUBE[name]), run(OF_A_TUBE[name], "--json")
    if name == "pause":  # beanstalkd cannot keep the pause of a tube that it does not have
        assert (done.exit_code, as_json.exit_code) == (1, 1)
        assert (done.stdout, as_json.stdout) == ("", "")
        assert done.stderr == as_json.stderr == f"nothing was done: {NO_TUBE}"
    else:
        assert (done.exit_code, as_json.exit_code) == (0, 0)
        assert done.stderr == as_json.stderr == NO_TUBE
        assert json.loads(as_json.stdout)


@pytest.mark.parametrize("name", OF_A_TUBE)
def test_tube_without_jobs_that_a_worker_watches_is_no_reason_for_a_note(beanstalkd, run, name):
    beanstalkd.client().watch("mail")
    done, as_json = run(OF_A_TUBE[name]), run(OF_A_TUBE[name], "--json")
    assert (done.exit_code, done.stderr, as_json.exit_code, as_json.stderr) == (0, "", 0, "")
    assert json.loads(as_json.stdout)


@pytest.mark.parametrize("json_too", [(), ("--json",)], ids=["text", "json"])
@pytest.mark.parametrize("name", ASKING_A_SERVER)
def test_without_a_server_a_command_prints_only_why(invoke, name, json_too):
    done = invoke(ASKING_A_SERVER[name], *json_too, "--server", "127.0.0.1:1")
    assert (done.exit_code, done.stdout) == (1, "")
    assert (
        done.stderr
        == "cannot reach beanstalkd at 127.0.0.1:1: Connection refused: start it, or name another one with --server "
        "or TUBEHERD_SERVER\n"
    )


@pytest.mark.parametrize("json_too", [(), ("--json",)], ids=["text", "json"])
@pytest.mark.parametrize("name", ASKING_A_SERVER)
def test_silent_server_is_not_waited_for_any_longer_than_an_answer_may_take(monkeypatch, invoke, name, json_too):
    monkeypatch.setattr(wire, "REPLY_SECONDS", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as silent:  # the kernel accepts, and nobody answers
        done = invoke(ASKING_A_SERVER[name], *json_too, "--server", f"127.0.0.1:{silent.getsockname()[1]}")
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr.startswith("beanstalkd gave no answer within 0.1 s")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("json_too", [(), ("--json",)], ids=["text", "json"])
@pytest.mark.parametrize("name", WRONG)
def test_wrong_argument_prints_only_what_is_wrong(run, invoke, name, json_too):
    done = invoke(WRONG[name], *json_too) if name == "execute" else run(WRONG[name], *json_too)
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr


@pytest.mark.parametrize("name", ["kick", "inspect", "why", "delete"])
def test_tube_whose_jobs_are_in_other_states_is_said_to_have_them(beanstalkd, run, name):
    beanstalkd.put("mail", delay=1000)
    beanstalkd.put("mail", delay=600)
    beanstalkd.put("mail")
    done = run(OF_A_TUBE[name])
    pointer = "" if name in ("inspect", "delete") else "tubeherd inspect mail "
    assert done.exit_code == 0
    said = (
        "2 jobs are delayed, and become ready by themselves, the next in (10m|9m[0-9]+s); 1 job is ready, and no "
        f"worker takes it; {pointer}--state delayed {'deletes' if name == 'delete' else 'shows'} them\n"
    )
    assert re.fullmatch(said, done.stderr)
