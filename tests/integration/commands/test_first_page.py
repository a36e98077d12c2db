"""A newcomer types what the README shows "On a laptop", word for word, and sees what it shows."""

import os
import re
import shutil
import socket
import subprocess
import sys
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import NamedTuple

import psutil
import pytest

from tests.support.project import ROOT
from tests.support.terminal import CTRL_C, Terminal
from tests.support.waiting import wait_for

SECTION = (ROOT / "README.md").read_text().partition("\n## On a laptop\n")[2].partition("\n## ")[0]
PORT = 11300
COLUMNS = 200
SHELL = ["bash", "--norc", "-i"]
# As `ip link set lo up`, which need not be installed: reads and sets the flags of the interface.
LOOPBACK_UP = (
    "import fcntl, socket, struct; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); "
    "fcntl.ioctl(s, 0x8914, struct.pack('16sh', b'lo', 1))"
)
PASSING = (
    (r"\b\d\d:\d\d:\d\d\b|\d{4}-\d\d-\d\d", "…"),
    (r"seconds=\S+", "seconds=…"),
    (r"\d+[smhd] ago", "… ago"),
    (r'File "\S*/', 'File "…/'),
    (r"(worker) +\S+", r"\1 …"),
    (r" +", " "),
    # The kicked job is ready, or a worker has taken it, or it is done already.
    (r"\(buried 1 -> 0, (?:ready|reserved) 0 -> 1\)", "(buried 1 -> 0)"),
)
"""What differs from one time and machine to the next, and with it the widths of columns."""


class Block(NamedTuple):
    """A block of the section: what a language mark says it is, and its lines."""

    language: str
    text: str

    def steps(self):
        """Return each command with the lines that it is to print."""
        parts = re.split(r"^\$ (.*)\n", self.text, flags=re.MULTILINE)
        return list(zip(parts[1::2], parts[2::2], strict=True))


BLOCKS = [Block(*found) for found in re.findall(r"```(\w+)\n(.*?)```", SECTION, re.DOTALL)]


def lasting(text):
    """Return the lines of a text without what differs each time."""
    for pattern, instead in PASSING:
        text = re.sub(pattern, instead, text)
    return [line.strip() for line in text.splitlines()]


def prompts(terminal):
    """Return how many prompts wait for a command or have had one, after the last one is there."""
    return sum(line == "$" or line.startswith("$ ") for line in terminal.screen())


def type_in(terminal, command, *, ends=True):
    """Type a command, wait until it ends, and return what it has printed."""
    before = prompts(terminal)
    terminal.send(command + "\n")
    if not ends:
        return ""
    wait_for(lambda: prompts(terminal) > before, terminal.text, 300)
    lines = terminal.screen()
    starts = [number for number, line in enumerate(lines) if line == "$" or line.startswith("$ ")]
    return "\n".join(lines[starts[-2] + 1 : starts[-1]])


def wait_for_lines(terminal, text, after=0):
    """Wait until a terminal shows all lines of a text in their order, others between them, behind so many lines.

    Returns how many lines of the screen that takes.
    """
    wanted = lasting(text)

    def shown():
        found = 0
        for number, line in enumerate(lasting(terminal.text())):
            found += number >= after and found < len(wanted) and line == wanted[found]
            if found == len(wanted):
                return number + 1
        return None

    return wait_for(shown, lambda: f"{text}\nis not shown by\n{terminal.text()}")


def kill_all_in(folder):
    """Kill the processes that were started in a folder, which outlive their terminal if the test fails."""
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.cwd() == str(folder):
                process.kill()


def can_have_a_network_of_its_own():
    return subprocess.run(["unshare", "-rn", "true"], capture_output=True, check=False).returncode == 0


def is_taken(port):
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def clone(tmp_path):
    """A folder with what an installation takes from a clone."""
    unwanted = shutil.ignore_patterns("__pycache__", "*.egg-info", "build")
    shutil.copytree(ROOT / "worker", tmp_path / "clone" / "worker", ignore=unwanted)
    return tmp_path / "clone"


@pytest.fixture
def terminal(clone):
    """Return a function that opens a terminal in the clone, closed after the test."""
    names = ("VIRTUAL_ENV", "PYTHONPATH", "NO_COLOR")
    env = {name: "" for name in os.environ if name.startswith("TUBEHERD_") or name in names}
    # Not the Python of the project's virtual environment, but the one from which it was made.
    path = f"{Path(sys.base_prefix) / 'bin'}:{os.environ['PATH']}"
    env |= {"PS1": "$ ", "PATH": path, "VIRTUAL_ENV_DISABLE_PROMPT": "1"}
    with ExitStack() as opened:
        opened.callback(kill_all_in, clone)

        def open_terminal(command):
            terminal = opened.enter_context(Terminal(command, columns=COLUMNS, env=env, folder=clone))
            terminal.wait_for("$")
            return terminal

        yield open_terminal


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_first_page_is_true_word_for_word(clone, terminal):
    alone = can_have_a_network_of_its_own()
    if not alone and is_taken(PORT):
        pytest.skip(f"port {PORT} is taken, and there can be no network for this test alone")
    program, start, *rest = BLOCKS
    (clone / "mail.py").write_text(program.text)
    first, second = terminal(SHELL), None
    for command, output in start.steps():
        if command.startswith("beanstalkd") and alone:  # what is installed has come from the network
            type_in(first, "exec unshare -rn bash --norc -i")
            type_in(first, f'python -c "{LOOPBACK_UP}"')
        type_in(first, command, ends=not output)
        shown = wait_for_lines(first, output)
    for language, text in rest:
        if language == "text":
            shown = wait_for_lines(first, text, after=shown)
        elif language == "python":
            changed = re.sub(rf"^{text.split('=')[0]}=.*\n", text, program.text, flags=re.MULTILINE)
            (clone / "mail.py").write_text(changed)
        else:
            if second is None:
                enter = ["nsenter", "--preserve-credentials", "-U", "-n", "-t", str(first.process.pid)] if alone else []
                second = terminal([*enter, *SHELL])
            for command, output in Block(language, text).steps():
                assert lasting(type_in(second, command)) == lasting(output), command
    assert "`kill %1`" in SECTION
    first.send(CTRL_C)
    wait_for_lines(first, "10:00:00 info worker stopped exit_code=0", after=shown)
    type_in(first, "kill %1")
    wait_for(lambda: "Terminated" in type_in(first, "jobs") + first.text(), first.text)


def test_blocks_of_the_page_are_those_that_the_test_types():
    assert [block.language for block in BLOCKS[:3]] == ["python", "console", "console"]
    assert len(BLOCKS) == SECTION.count("```") / 2
    assert {"list", "why", "kick", "schedule"} <= set(re.findall(r"^\$ tubeherd (\w+)", SECTION, re.MULTILINE))
    assert all(block.text.startswith("$ ") for block in BLOCKS if block.language == "console")
