"""`make try` tells the story of the first page by itself, and ends all that it has started."""

import os
import re
import shutil
import signal
import subprocess
import sys

import psutil
import pytest

from tests.support.project import ROOT
from tests.support.terminal import CTRL_C, Terminal
from tests.support.waiting import wait_for

TRY = "examples/try/story.py"
# What each part of the story shows, in its order.
STORY = """\
$ beanstalkd -l 127.0.0.1
$ export TUBEHERD_SERVER=127.0.0.1:
$ cat mail.py
$ tubeherd run mail.py
connected
$ tubeherd schedule mail
job 1 put into tube mail
to ann@example.com: Hello!
deleted  job=1
$ tubeherd schedule mail
job 2 put into tube mail
failed, retry later  job=2
reason="KeyError: 'bye'"
buried  job=2
$ tubeherd list
mail      0         0        0       1
$ tubeherd why
1  mail  KeyError  mail.py:15
$ tubeherd why --job 2
message  KeyError: 'bye'
$ sed -i
$ tubeherd kick mail
mail: 1 kicked
to bob@example.com: Goodbye!
deleted  job=2
$ tubeherd list
mail      0         0        0       0
== Both jobs are done""".splitlines()


@pytest.fixture
def env(tmp_path):
    """Variables for `make try`, by which its processes can be found. It makes its folders here."""
    (tmp_path / "tmp").mkdir()
    clean = {name: value for name, value in os.environ.items() if not name.startswith("TUBEHERD_")}
    return clean | {"TMPDIR": str(tmp_path / "tmp"), "TUBEHERD_SERVER": "nowhere:1"}


def left_of(env):
    """Return the processes with these variables that still run, and the files that they have made."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("TMPDIR") == env["TMPDIR"] and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process.cmdline())
        except psutil.Error:
            continue
    return found + os.listdir(env["TMPDIR"])


def follow(output):
    """Assert that the output has the parts of the story in their order."""
    rest = output
    for part in STORY:
        assert part in rest, f"{part!r} is missing in the rest:\n{rest}"
        rest = rest.partition(part)[2]


@pytest.mark.slow
def test_story_is_told_to_its_end(env):
    done = subprocess.run(
        ["make", "try"], cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    follow(done.stdout)
    assert done.returncode == 0
    assert "\x1b" not in done.stdout
    assert left_of(env) == []


@pytest.mark.slow
def test_story_on_a_terminal_has_the_worker_in_colour(env):
    with Terminal([sys.executable, TRY], columns=100, env=env, folder=ROOT) as terminal:
        assert terminal.wait() == 0
        assert "\x1b[31merror" in terminal.written()
        assert "Both jobs are done" in terminal.text()
    assert left_of(env) == []


@pytest.mark.parametrize("moment", ["-l 127.0.0.1", "connected", "job 1 put", "retry later", "why --job", "sed -i"])
def test_ctrl_c_ends_all_that_was_started(env, moment):
    with Terminal(["make", "try"], columns=200, env=env, folder=ROOT) as terminal:
        terminal.wait_for(moment)
        terminal.send(CTRL_C)
        assert terminal.wait() != 0
        assert "Traceback" not in terminal.text().partition("^C")[2]
        assert "Both jobs are done" not in terminal.text()
        wait_for(lambda: left_of(env) == [], lambda: str(left_of(env)))  # `make` may end before what it has started


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)],
    ids=lambda value: str(value),
)
def test_signal_ends_all_that_was_started(env, number, code):
    with Terminal([sys.executable, TRY], columns=200, env=env, folder=ROOT) as terminal:
        terminal.wait_for("connected")
        terminal.signal(number)
        assert terminal.wait() == 128 + number
        assert left_of(env) == []


def test_closed_pipe_ends_all_that_was_started(env):
    with subprocess.Popen(
        [sys.executable, TRY], cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "\n"
        process.stdout.close()
        assert "Traceback" not in process.stderr.read()
    assert process.returncode == 1
    wait_for(lambda: left_of(env) == [], lambda: str(left_of(env)))


def test_missing_beanstalkd_is_named_with_what_installs_it(env):
    done = subprocess.run(
        [sys.executable, TRY], cwd=ROOT, env=env | {"PATH": env["TMPDIR"]}, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "error: beanstalkd is not installed: run `make setup`, which installs it with apt-get\n"


def test_failure_of_a_step_is_an_error_and_leaves_nothing(env, tmp_path):
    """Such as a beanstalkd that does not start."""
    broken = tmp_path / "beanstalkd"
    broken.write_text("#!/bin/sh\nexit 1\n")
    broken.chmod(0o755)
    path = f"{tmp_path}:{env['PATH']}"
    done = subprocess.run(
        [sys.executable, TRY], cwd=ROOT, env=env | {"PATH": path}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert re.fullmatch(r"\nerror: beanstalkd does not answer on port \d+\n", done.stderr)
    assert left_of(env) == []


@pytest.mark.slow
@pytest.mark.timeout(600)  # it installs packages, which takes minutes on a busy machine
def test_story_begins_with_the_installation_in_a_clone_without_make_setup(env, tmp_path):
    unwanted = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for folder in ("worker", "examples/try"):
        shutil.copytree(ROOT / folder, tmp_path / "clone" / folder, ignore=unwanted)
    done = subprocess.run(
        [sys.executable, TRY],
        cwd=tmp_path / "clone",
        env=env,
        stdout=subprocess.PIPE,
        stderr=None,
        text=True,
        check=False,
    )
    # No pip takes less than a second.
    installed = r"^\$ python3 -m venv venv\n  \.*\n\$ venv/bin/pip install .*\n  \.+\n"
    assert re.search(installed, done.stdout, re.MULTILINE)
    follow(done.stdout)
    assert done.returncode == 0
    assert left_of(env) == []
