"""The first page of the README, word for word, from a fresh copy in a fresh virtual environment; and `make try`."""

import os
import re
import shutil
import signal
import subprocess
import sys

import pytest

from tests.support.project import ROOT
from tests.support.waiting import wait_for

LOOPBACK_UP = "import fcntl, socket, struct; fcntl.ioctl(socket.socket(), 0x8914, struct.pack('16sH22x', b'lo', 0x41))"
"""Sets the flags of the interface: SIOCSIFFLAGS with IFF_UP and IFF_RUNNING."""
WAITS = {"tubeherd schedule": "buried", "tubeherd kick": "deleted"}
"""What the worker logs some time after a command, and what a reader sees before going on."""


def first_commands():
    """Return the commands of the section, one a line, without their comments."""
    section = (ROOT / "README.md").read_text().partition("## On a laptop\n")[2].partition("\n## ")[0]
    blocks = re.findall(r"```sh\n(.*?)```", section, re.DOTALL)
    return [line.partition("  #")[0].rstrip() for block in blocks for line in block.splitlines()]


@pytest.fixture
def clone(tmp_path):
    """Return a folder with what a clone has that the commands use."""
    for part in ("worker", "examples"):
        shutil.copytree(ROOT / part, tmp_path / part, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    return tmp_path


@pytest.fixture
def shell(clone):
    """Start a shell in a network of its own, so that the beanstalkd of the story meets no other; it is a terminal's."""
    outer = ["unshare", "--map-root-user", "--net", "--pid", "--fork", "--kill-child"]
    inner = f'{sys.executable} -c "{LOOPBACK_UP}" && exec bash'
    with (clone / "screen").open("wb") as screen:
        process = subprocess.Popen(
            [*outer, "sh", "-c", inner], cwd=clone, stdin=subprocess.PIPE, stdout=screen, stderr=screen
        )
    yield process
    process.stdin.close()
    process.send_signal(signal.SIGKILL)
    process.wait()


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_commands_of_the_first_page_do_what_it_says(clone, shell):
    install, *others = first_commands()
    assert "pip install" in install
    environ = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}
    subprocess.run(["bash", "-c", install], cwd=clone, env=environ, check=True)
    shell.stdin.write(b". try-it/bin/activate\n")

    def screen():
        return (clone / "screen").read_text()

    for number, command in enumerate(others):
        shell.stdin.write(f"{command}\necho ended {number} $?\n".encode())
        shell.stdin.flush()
        end = re.compile(rf"^ended {number} (\d+)$", re.MULTILINE)
        ended = wait_for(lambda end=end: end.search(screen()), screen, 60)
        assert ended[1] == "0", screen()
        for begin, event in WAITS.items():
            if command.startswith(begin):
                wait_for(lambda event=event: f'"{event}"' in screen() or f" {event} " in screen(), screen, 60)
    shown = screen()
    assert "FileNotFoundError" in shown.partition("ended 3")[2], "why says what was wrong"
    assert "mail: 1 kicked" in shown
    assert "to ann@example.com: hello\n" in shown


def test_make_try_tells_the_story_to_its_end():
    done = subprocess.run(
        [sys.executable, ROOT / "examples/try/story.py"], capture_output=True, text=True, timeout=100, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("# 1 put, 1 buried, 1 kicked, 1 delivered.\n")
    assert "FileNotFoundError  mail.py:" in done.stdout


def test_make_try_says_what_is_missing(tmp_path):
    environ = {"PATH": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, ROOT / "examples/try/story.py"], env=environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr == "beanstalkd is not installed: run `make setup`, which installs it\n"
