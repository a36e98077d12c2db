"""The command `tubeherd` itself: help, version, completion, and how each of its subcommands ends."""

import os
import re
import signal
import subprocess
import sys
import tomllib
from importlib.metadata import version

import pytest

from tests.support.project import ROOT
from tubeherd.cli import COMMANDS
from tubeherd.exits import MEANINGS, Exit

COMMAND = [sys.executable, "-m", "tubeherd"]


def tubeherd(*arguments, **env):
    return subprocess.run([*COMMAND, *arguments], capture_output=True, env=os.environ | env)


def test_version():
    done = tubeherd("--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"tubeherd {version('tubeherd')}\n".encode(), b"")


@pytest.mark.parametrize(
    ("word", "meant"), [("schedul", "Did you mean 'schedule'?"), ("help", "tubeherd --help shows all commands")]
)
def test_word_that_is_no_command_is_answered_by_what_may_be_meant(word, meant):
    done = tubeherd(word, COLUMNS="120")
    assert (done.returncode, meant in done.stderr.decode()) == (2, True)


@pytest.mark.parametrize("command", [[], ["schedule"]])
def test_short_option_for_the_help(command):
    assert tubeherd(*command, "-h").stdout == tubeherd(*command, "--help").stdout != b""


INTERRUPTED_WHILE_IMPORTED = """
import os, signal, sys

class Interrupting:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name == "typer":
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Interrupting)
from tubeherd.__main__ import main
main()
"""


def test_ctrl_c_before_the_command_has_begun_is_no_traceback():
    done = subprocess.run([sys.executable, "-c", INTERRUPTED_WHILE_IMPORTED, "list"], capture_output=True)
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGINT, b"", b"")


def test_script_begins_where_ctrl_c_is_no_traceback():
    project = tomllib.loads((ROOT / "worker/pyproject.toml").read_text())["project"]
    assert project["scripts"] == {"tubeherd": "tubeherd.__main__:main"}


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_each_command_ends_with_examples_that_begin_with_it(command):
    done = tubeherd(command, "--help", COLUMNS="80")
    examples = done.stdout.decode().partition("Examples:")[2].split("\n")
    lines = [line.strip() for line in examples if line.strip()]
    assert done.returncode == 0
    assert lines
    assert [line for line in lines if not re.search(rf"(^|[ |])tubeherd {command}\b", line)] == []


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_in_a_pipe_has_no_colour_and_no_bold(command):
    done = tubeherd(*command.split(), "--help", FORCE_COLOR="", GITHUB_ACTIONS="")
    assert b"\033" not in done.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_completion_knows_each_command_and_its_options(command):
    asked = tubeherd(_TUBEHERD_COMPLETE="complete_bash", COMP_WORDS=f"tubeherd {command[:2]}", COMP_CWORD="1")
    assert command in asked.stdout.decode().split()
    option = "--attempt" if command == "execute" else "--server"  # it needs no server
    asked = tubeherd(_TUBEHERD_COMPLETE="complete_bash", COMP_WORDS=f"tubeherd {command} {option[:5]}", COMP_CWORD="2")
    assert option in asked.stdout.decode().split()


@pytest.mark.parametrize(
    ("command", "states"), [("inspect", b"ready reserved delayed buried"), ("delete", b"ready delayed buried")]
)
def test_completion_knows_the_states_of_jobs(command, states):
    words = f"tubeherd {command} --state "
    asked = tubeherd(_TUBEHERD_COMPLETE="complete_bash", COMP_WORDS=words, COMP_CWORD="3")
    assert asked.stdout.split() == states.split()


def test_completion_knows_the_words_that_an_option_takes():
    asked = tubeherd(_TUBEHERD_COMPLETE="complete_bash", COMP_WORDS="tubeherd run --log-format ", COMP_CWORD="3")
    assert asked.stdout.split() == [b"auto", b"text", b"json"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_of_a_shell_can_be_printed(shell):
    done = tubeherd("--show-completion", shell, _TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION="1")
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"_TUBEHERD_COMPLETE" in done.stdout


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_reader_that_has_gone_gets_an_exit_code_and_no_traceback(command):
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as stream:
        done = subprocess.run([*COMMAND, *command.split(), "--help"], stdout=stream, stderr=subprocess.PIPE)
    assert (done.returncode, done.stderr) == (Exit.FAILED, b"")


def test_unknown_command_is_wrong_usage():
    done = tubeherd("rnu")
    assert done.returncode == Exit.USAGE
    assert b"rnu" in done.stderr


def test_page_has_the_table_of_exit_codes():
    page = (ROOT / "docs" / "command-line.md").read_text()
    table = "".join(f"| {int(code)} | {meaning} |\n" for code, meaning in MEANINGS.items())
    assert f"| exit code | means |\n| --- | --- |\n{table}" in page
