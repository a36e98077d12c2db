"""`tubeherd delete` and `tubeherd clear`, through a pipe and on a terminal."""

from contextlib import suppress

import greenstalk
import pytest

from tests.support.beanstalkd import NOTHING
from tests.support.burials import RECORDS, put_record
from tests.support.command import COMMAND, as_json, tubeherd
from tests.support.terminal import CTRL_C, Terminal
from tests.support.waiting import wait_for


@pytest.fixture
def run(beanstalkd):
    return lambda *arguments: tubeherd(*arguments, "--server", beanstalkd.server)


@pytest.fixture
def on_terminal(beanstalkd):
    terminals = []

    def start(*arguments):
        terminals.append(Terminal([*COMMAND, *arguments, "--server", beanstalkd.server], columns=60))
        return terminals[-1]

    yield start
    for terminal in terminals:
        terminal.close()


def test_delete_takes_buried_jobs_only(beanstalkd, run):
    beanstalkd.bury("mail", 3)
    beanstalkd.put("mail")
    done = run("delete", "mail", "--yes")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"mail: 3 deleted (buried 3 -> 0)\n", b"")
    assert beanstalkd.count("mail") == NOTHING | {"ready": 1}


def test_delete_by_error(beanstalkd, run):
    ids = beanstalkd.bury_many("mail", 3)
    put_record(beanstalkd, ids[1])
    assert run("delete", "--all", "--error", "KeyError", "--yes").stdout == b"mail: 1 deleted (buried 3 -> 2)\n"
    assert not beanstalkd.exists(ids[1])


def test_delete_of_a_job_in_any_state_but_reserved(beanstalkd, run):
    delayed, ready, held = beanstalkd.put("mail", delay=1000), beanstalkd.put("sms"), beanstalkd.put("fax")
    client = beanstalkd.client()
    client.reserve_job(held)
    done = run("delete", "--job", str(delayed), "--job", str(ready), "--job", str(held), "--yes")
    assert done.returncode == 1
    assert b"2 jobs were deleted in 2 tubes" in done.stdout
    assert done.stderr == b"job %d is left alone: it is reserved: somebody works on it\n" % held
    assert beanstalkd.exists(held)
    assert run("delete", "--job", str(held), "--state", "buried", "--yes").returncode == 1


def test_clear_of_all_tubes_leaves_those_of_tubeherd(beanstalkd, run):
    beanstalkd.bury("mail", 1)
    put_record(beanstalkd, 1)
    beanstalkd.put("sms", delay=1000)
    beanstalkd.put("fax")
    told = as_json(run("clear", "--all", "--yes", "--json"))
    assert (told["deed"], told["done"], {change["tube"] for change in told["tubes"]}) == (
        "deleted",
        3,
        {"mail", "sms", "fax"},
    )
    assert sum(beanstalkd.count(RECORDS).values()) == 1


def test_dry_run_asks_nothing_and_changes_nothing(beanstalkd, run):
    beanstalkd.bury("mail", 3)
    done = run("clear", "mail", "--dry-run")
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"mail: 3 would be deleted" in done.stdout
    assert beanstalkd.count("mail")["buried"] == 3


@pytest.mark.parametrize("answer", ["y\n", "YES\n"])
def test_delete_asks_and_deletes_no_more_than_was_agreed_to(beanstalkd, on_terminal, answer):
    beanstalkd.bury("mail", 3)
    terminal = on_terminal("delete", "mail")
    terminal.wait_for("Delete 3 jobs of tube mail (buried)?")
    beanstalkd.bury("mail", 2)
    terminal.send(answer)
    assert terminal.wait() == 0
    assert "mail: 3 deleted (buried 5 -> 2)" in terminal.text()
    assert beanstalkd.count("mail")["buried"] == 2


@pytest.mark.parametrize(("keys", "code"), [("\n", 1), ("n\n", 1), ("what\n", 1), ("\x04", 1), (CTRL_C, 130)])
def test_any_other_answer_deletes_nothing(beanstalkd, on_terminal, keys, code):
    beanstalkd.bury("mail", 3)
    terminal = on_terminal("clear", "mail")
    terminal.wait_for("[y/N]")
    terminal.send(keys)
    assert terminal.wait() == code
    assert "nothing was deleted" in terminal.text()
    assert beanstalkd.count("mail")["buried"] == 3


def test_answer_that_is_no_text_deletes_nothing(beanstalkd, on_terminal):
    beanstalkd.bury("mail")
    terminal = on_terminal("delete", "mail")
    terminal.wait_for("[y/N]")
    terminal.send_bytes(b"\xff\n")
    assert terminal.wait() == 1
    assert "nothing was deleted" in terminal.text()
    assert beanstalkd.count("mail")["buried"] == 1


def test_no_name_of_an_error_controls_the_terminal(beanstalkd, on_terminal):
    beanstalkd.bury("mail")
    put_record(beanstalkd, 1, error="\x1b[31m\x9b1mmirrored\u202e")
    terminal = on_terminal("delete", "mail", "--error", "KeyError", "--yes")
    assert terminal.wait() == 1
    assert "\x1b" not in terminal.written()
    assert "?[31m?1mmirrored?" in terminal.text()


def test_nothing_is_asked_if_there_is_nothing_to_delete(beanstalkd, on_terminal):
    beanstalkd.put("mail")
    terminal = on_terminal("delete", "mail")
    assert terminal.wait() == 0
    assert "mail: 0 deleted" in terminal.text()


def test_clear_beside_a_worker_and_a_producer_comes_to_an_end(beanstalkd):
    for _ in range(300):
        beanstalkd.put("mail")
    client = beanstalkd.client()
    client.watch("mail")
    client.use("mail")
    terminal = Terminal([*COMMAND, "clear", "mail", "--yes", "--server", beanstalkd.server])
    held = []
    try:
        while terminal.process.poll() is None:
            client.put(b"{}")
            with suppress(greenstalk.TimedOutError):  # the job is deleted already
                held.append(client.reserve(timeout=1).id)
        assert terminal.wait() == 0
        assert all(beanstalkd.stats_job(job)["state"] == "reserved" for job in held)
    finally:
        terminal.close()


def test_clear_of_jobs_far_apart_among_others(beanstalkd, run):
    for number in range(200):
        beanstalkd.put("mail" if number % 7 == 0 else "sms", delay=0 if number % 2 else 1000)
    wait_for(lambda: run("clear", "mail", "--yes").returncode == 0, "the tube is cleared")
    assert beanstalkd.count("mail") == NOTHING
    assert sum(beanstalkd.count("sms").values()) == 200 - 29
