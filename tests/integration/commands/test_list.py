"""`tubeherd list` through a pipe and on a terminal."""

import json
import re
import signal
import subprocess
import sys

import pytest

from tests.support.hostile import Server, answering, closing
from tests.support.terminal import CTRL_C, Terminal

LIST = (sys.executable, "-m", "tubeherd", "list")
PAYLOAD = b"{}"


@pytest.fixture
def list_tubes(beanstalkd):
    """Run the command in a pipe and return it after its end."""

    def run(*arguments, server=beanstalkd.server, **options):
        return subprocess.run([*LIST, "--server", server, *arguments], capture_output=True, **options)

    return run


@pytest.fixture
def on_terminal(beanstalkd):
    """Start the command on a terminal."""

    def start(*arguments, **options):
        terminals.append(Terminal([*LIST, "--server", beanstalkd.server, *arguments], **options))
        return terminals[-1]

    terminals = []
    yield start
    for terminal in terminals:
        terminal.close()


def watcher(beanstalkd, *tubes):
    """Return a client that takes jobs from these tubes, as a slot does."""
    client = beanstalkd.client()
    for tube in tubes:
        client.watch(tube)
    client.ignore("default")
    return client


def test_once_in_a_pipe_shows_each_state_and_marks_tubes_without_a_worker(beanstalkd, list_tubes):
    beanstalkd.put("mial")
    beanstalkd.put_numbers("mail", 1234)
    beanstalkd.put("mail", delay=100)
    worker = watcher(beanstalkd, "mail")
    worker.bury(worker.reserve())
    worker.reserve()
    done = list_tubes()
    assert done.returncode == 0
    assert done.stdout.decode().splitlines() == [
        "   TUBE  READY  RESERVED  DELAYED  BURIED  WAITING",
        "   mail  1,232         1        1       1        0",
        "!  mial      1         0        0       0        0",
        "! 1 job and no worker: mial",
    ]


def test_server_without_jobs_has_a_sentence(list_tubes):
    done = list_tubes()
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout == b"No tube: a tube exists only while it has jobs, or a worker watches it.\n"


def test_default_tube_is_shown_only_if_it_is_used(beanstalkd, list_tubes):
    assert b"default" not in list_tubes().stdout
    beanstalkd.put("default")
    assert b"! 1 job and no worker: default\n" in list_tubes().stdout


def test_own_tubes_are_shown_only_if_asked_for(beanstalkd, list_tubes):
    beanstalkd.put("tubeherd.burials")
    beanstalkd.put("mail")
    assert b"tubeherd" not in list_tubes().stdout
    assert b"tubeherd" not in list_tubes("*").stdout
    own = list_tubes("tubeherd.*").stdout
    assert b"tubeherd.burials" in own
    assert b"!" not in own  # no worker is to take them


def test_patterns_choose_tubes(beanstalkd, list_tubes):
    for tube in ("mail", "news", "newsletter", "nest"):
        beanstalkd.put(tube)
    names = [line.split()[1] for line in list_tubes("mail", "news*").stdout.decode().splitlines()[1:4]]
    assert names == ["mail", "news", "newsletter"]
    assert json.loads(list_tubes("n??t", "--json").stdout)["tubes"][0]["name"] == "nest"


def test_tube_that_is_not_there_is_named(list_tubes):
    done = list_tubes("mial")
    assert (done.returncode, done.stdout) == (0, b"")
    assert done.stderr == b"tube mial has neither jobs nor workers now; tubeherd list shows the tubes that have\n"


@pytest.mark.parametrize(("patterns", "named"), [(["no*"], "no*"), (["no", "n?"], "no or n?")])
def test_patterns_that_match_nothing_are_named_as_patterns(list_tubes, patterns, named):
    said = f"no tube with jobs or workers matches {named}; tubeherd list shows those that there are\n"
    assert list_tubes(*patterns).stderr == said.encode()


def test_what_is_no_name_is_refused(list_tubes):
    done = list_tubes("two words")
    assert done.returncode == 2
    assert done.stderr.startswith(b"'two words' matches no tube")


def test_paused_tubes_have_a_note(beanstalkd, list_tubes):
    beanstalkd.put("mail")
    watcher(beanstalkd, "mail").pause_tube("mail", 600)
    assert re.search(rb"^Paused: mail for (10m|9m\d+s)$", list_tubes().stdout, re.MULTILINE)


def test_json_has_all_counters(beanstalkd, list_tubes):
    beanstalkd.put("mail")
    (tube,) = json.loads(list_tubes("--json").stdout)["tubes"]
    assert tube == {
        "name": "mail", "ready": 1, "reserved": 0, "delayed": 0, "buried": 0, "total_jobs": 1, "using": 1,
        "watching": 0, "waiting": 0, "deleted": 0, "pauses": 0, "pause": 0, "pause_left": 0, "lacks_worker": True,
    }  # fmt: skip


def test_many_tubes_show_the_ones_with_the_most_jobs_and_how_many_others(beanstalkd, list_tubes):
    for number in range(150):
        beanstalkd.put(f"tube{number:03}")
    beanstalkd.put_numbers("busy", 7)
    lines = list_tubes().stdout.decode().splitlines()
    assert lines[1].split()[:3] == ["!", "busy", "7"]
    assert "These have the most jobs. 51 other tubes with 51 jobs: see --all." in lines
    assert len(list_tubes("--all").stdout.splitlines()) > 150


@pytest.mark.parametrize("columns", [60, 80])
def test_table_fits_the_terminal_whatever_the_names_and_numbers(beanstalkd, on_terminal, columns):
    beanstalkd.put("x" * 200)
    beanstalkd.put_numbers("mail", 2000)
    terminal = on_terminal(columns=columns)
    lines = terminal.wait_for("0.0")
    assert max(map(len, lines)) <= columns
    assert lines[0].split() == ["TUBE", "READY", "RESERVED", "DELAYED", "BURIED", "WAITING", "IN/S", "DONE/S"]
    assert any("2,000" in line for line in lines)
    assert any("x…" in line for line in lines)


def test_terminal_is_drawn_in_place_with_rates_until_ctrl_c(beanstalkd, on_terminal):
    beanstalkd.put("mail")
    terminal = on_terminal()
    terminal.wait_for("mail")
    ids = beanstalkd.put_numbers("mail", 500)
    terminal.wait_for("501")
    for job in ids:
        beanstalkd.delete(job)
    screen = terminal.wait_for("0.0")
    assert sum("TUBE" in line for line in screen) == 1
    assert sum("mail" in line for line in screen) == 2  # the row, and the note
    terminal.send(CTRL_C)
    assert terminal.wait() == 0
    assert "Traceback" not in terminal.text()


def test_terminal_shows_as_many_tubes_as_fit(beanstalkd, on_terminal):
    for number in range(40):
        beanstalkd.put(f"tube{number:02}")
    terminal = on_terminal(lines=20)
    screen = terminal.wait_for("other tubes")
    assert len(screen) <= 20
    terminal.resize(80, 60)
    terminal.wait_for("tube39")
    terminal.resize(60, 15)
    terminal.wait_for("33 other tubes")
    assert len(terminal.screen()) <= 15


def test_lowest_terminal_shows_the_tube_with_the_most_jobs(beanstalkd, on_terminal):
    beanstalkd.put("other")
    beanstalkd.put_numbers("mail", 2)
    on_terminal(lines=5).wait_for("!  mail ")


def test_terminal_goes_on_when_the_server_is_back(beanstalkd, on_terminal):
    beanstalkd.put("mail")
    terminal = on_terminal()
    terminal.wait_for("mail")
    beanstalkd.kill()
    terminal.wait_for("Trying again until Ctrl-C.")
    beanstalkd.start()
    terminal.wait_for("mail")
    assert terminal.process.poll() is None


def test_once_on_a_terminal_ends_and_writes_nothing_but_text(beanstalkd, on_terminal):
    beanstalkd.put("mail")
    terminal = on_terminal("--once")
    assert terminal.wait() == 0
    assert "\x1b" not in terminal.written()


def test_terminal_that_cannot_be_drawn_on_gets_it_once(beanstalkd, on_terminal):
    beanstalkd.put("mail")
    terminal = on_terminal(env={"TERM": "dumb"})
    assert terminal.wait() == 0
    assert "mail" in terminal.text()


def test_closed_terminal_ends_it(on_terminal):
    terminal = on_terminal()
    terminal.wait_for("No tube")
    terminal.hang_up()
    assert terminal.wait() in (-signal.SIGHUP, 1)


def test_reader_that_goes_away_is_no_traceback(beanstalkd):
    for number in range(99):
        beanstalkd.put(f"{'x' * 150}{number}")
    shell = f"{' '.join(LIST)} --all --server {beanstalkd.server} | head -1"
    done = subprocess.run(["bash", "-c", shell], capture_output=True)
    assert done.stderr == b""
    assert b"TUBE" in done.stdout


@pytest.mark.parametrize("arguments", ["list", "list --json", "peek mail", "inspect mail --state ready", "why"])
def test_output_that_cannot_be_written_is_one_clear_line(beanstalkd, arguments):
    beanstalkd.put("mail")
    shell = f"{' '.join(LIST[:-1])} {arguments} --server {beanstalkd.server} >/dev/full"
    done = subprocess.run(["bash", "-c", shell], capture_output=True)
    assert (done.returncode, done.stderr) == (1, b"the output cannot be written: No space left on device\n")


@pytest.mark.parametrize("closed", ["<&-", ">&-", "<&- >&- 2>&-"])
def test_closed_streams_are_no_traceback(beanstalkd, closed):
    done = subprocess.run(
        ["bash", "-c", f"{' '.join(LIST)} --server {beanstalkd.server} {closed}"], capture_output=True
    )
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("script", "said"),
    [
        (closing(), b""),
        (answering(any=b"HTTP/1.1 400 Bad Request\r\n\r\n"), b"the server's answer is not beanstalkd's"),
        (answering(any=b"OK 5\r\nwrong\r\n"), b"the server's answer is not beanstalkd's"),
    ],
)
def test_server_that_is_no_beanstalkd_is_one_clear_line(list_tubes, script, said):
    server = Server(script)
    try:
        done = list_tubes(server=server.server)
    finally:
        server.close()
    assert done.returncode == 1
    assert said in done.stderr
    assert b"beanstalkd" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_server_out_of_reach_and_wrong_address(list_tubes):
    done = list_tubes(server="127.0.0.1:1")
    assert (done.returncode, done.stderr) == (
        1,
        b"cannot reach beanstalkd at 127.0.0.1:1: Connection refused: start it, or name another one with --server "
        b"or TUBEHERD_SERVER\n",
    )
    done = list_tubes(server="no server")
    assert done.returncode == 2
    assert done.stderr.startswith(b"--server: 'no server' is no server")


def test_start_loads_nothing_that_only_workers_need(beanstalkd):
    command = [sys.executable, "-X", "importtime", "-m", "tubeherd", "list", "--once", "--server", beanstalkd.server]
    done = subprocess.run(command, capture_output=True, text=True)
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time")}
    heavy = {
        "asyncio",
        "rich",
        "tubeherd.settings",
        "tubeherd.manager",
        "tubeherd.executors",
        "tubeherd.burials.record",
    }
    assert loaded & heavy == set()
    assert "tubeherd.by_hand.looking.counting" in loaded
