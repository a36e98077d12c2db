"""What the help of each command looks like on terminals of different widths."""

import re
from itertools import pairwise

import pytest
from typer.testing import CliRunner

from tubeherd.cli import COMMANDS, app
from tubeherd.commands.execute import execute
from tubeherd.help_screens import paragraphs

HELPS = ["", *COMMANDS]


def screen(command, width):
    done = CliRunner().invoke(app, [*command.split(), "--help"], env={"COLUMNS": str(width), "TERMINAL_WIDTH": ""})
    assert done.exit_code == 0
    return done.stdout.splitlines()


@pytest.mark.parametrize("width", [60, 80, 120])
@pytest.mark.parametrize("command", HELPS)
def test_nothing_of_python_and_no_unusual_brackets(command, width):
    lines = screen(command, width)
    text = "\n".join(lines)
    assert max(map(len, lines)) <= width
    assert re.findall(r"<bool>|<str>|<int>|list\[|x>=|<=x|\[default|<text>", text) == []
    (usage,) = re.findall(r"Usage: (.*?)\n *\n", text, re.DOTALL)
    expected = r"\S+ \w+ \[OPTIONS\](\s+[A-Z|]+(\.\.\.)?|\s+\[[A-Z|]+\](\.\.\.)?)*"
    assert command == "" or re.fullmatch(expected, usage.rstrip()), usage


@pytest.mark.parametrize("width", [60, 80, 120])
@pytest.mark.parametrize("command", HELPS)
def test_prose_fills_its_lines(command, width):
    lines = [line.strip() for line in screen(command, width)]
    prose = lines[next(at for at, line in enumerate(lines) if line.startswith("Usage")) + 1 :]
    prose = prose[: next(at for at, line in enumerate(prose) if line.startswith("╭"))]
    for line, following in pairwise(prose):
        if line and following:
            assert len(line) + 1 + len(following.split()[0]) > width - 2, (line, following)


@pytest.mark.parametrize("command", HELPS)
def test_examples_fit_into_60_columns(command):
    lines = [line.strip() for line in screen(command, 60)]
    examples = [line for line in lines[lines.index("Examples:") + 1 :] if line]
    assert [line for line in examples if "tubeherd" not in line] == []


def test_brackets_are_shown():
    assert "tubeherd[http]" in "".join(screen("run", 120))


def test_paragraphs_of_a_docstring_are_lines():
    assert paragraphs("One\n    two.\n\n    Three\n    four.\n    ") == "One two.\n\nThree four."


def test_execute_takes_commands_and_urls_as_run_does():
    assert {"command", "http", "http_ca", "reschedule_delay"} <= set(execute.__signature__.parameters)


def test_option_that_names_a_file_says_so():
    assert re.search(r"--http-ca +<file>", "\n".join(screen("run", 120)))
