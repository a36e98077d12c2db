"""`tubeherd kick`, through a pipe and on a terminal."""

import os
import re
import signal
import threading
from contextlib import suppress

import greenstalk
import pytest

from tests.support.beanstalkd import NOTHING
from tests.support.burials import RECORDS, put_record
from tests.support.command import COMMAND, as_json, start_tubeherd, tubeherd
from tests.support.proxies import Proxy
from tests.support.terminal import CTRL_C, Terminal
from tests.support.waiting import PATIENCE, wait_for


@pytest.fixture
def kick(beanstalkd):
    return lambda *arguments: tubeherd("kick", *arguments, "--server", beanstalkd.server)


@pytest.fixture
def proxy(beanstalkd):
    proxy = Proxy(beanstalkd.port)
    yield proxy
    proxy.close()


@pytest.fixture
def failing_worker(beanstalkd):
    """A worker that buries each job of the tube mail, until the end of the test."""
    ends = threading.Event()
    client = beanstalkd.client()
    client.watch("mail")

    def bury():
        while not ends.is_set():
            with suppress(greenstalk.TimedOutError, greenstalk.NotFoundError):
                client.bury(client.reserve(timeout=1))

    thread = threading.Thread(target=bury)
    yield thread.start
    ends.set()
    if thread.ident is not None:
        thread.join()


def test_kick_of_a_tube_prints_the_numbers_before_and_after(beanstalkd, kick):
    beanstalkd.bury("mail", 3)
    beanstalkd.put("mail")
    done = kick("mail")
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout == b"mail: 3 kicked (buried 3 -> 0, ready 1 -> 4)\n"


def test_kick_of_all_tubes_prints_a_line_for_each_and_the_sum(beanstalkd, kick):
    beanstalkd.bury("mail", 2)
    beanstalkd.bury("sms", 1)
    beanstalkd.put("fax")
    beanstalkd.bury(RECORDS, 1)
    done = kick("--all")
    assert sorted(done.stdout.splitlines()) == [
        b"3 jobs were kicked in 2 tubes",
        b"mail: 2 kicked (buried 2 -> 0, ready 0 -> 2)",
        b"sms: 1 kicked (buried 1 -> 0, ready 0 -> 1)",
    ]
    assert beanstalkd.count(RECORDS)["buried"] == 1
    assert kick("--all").stdout == b"0 jobs were kicked\n"


def test_kick_as_json(beanstalkd, kick):
    beanstalkd.bury("mail", 3)
    told = as_json(kick("mail", "--count", "2", "--json"))
    assert told["tubes"] == [
        {
            "tube": "mail",
            "done": 2,
            "would": None,
            "before": {"buried": 3, "ready": 0, "delayed": 0, "reserved": 0},
            "after": {"buried": 1, "ready": 2, "delayed": 0, "reserved": 0},
        }
    ]
    assert (told["deed"], told["done"], told["of"], told["unsure"], told["error"]) == ("kicked", 2, 2, 0, None)


def test_dry_run(beanstalkd, kick):
    beanstalkd.bury("mail", 3)
    done = kick("mail", "--count", "2", "--dry-run")
    assert (done.returncode, done.stdout) == (
        0,
        b"mail: 2 would be kicked (buried 3, ready 0, delayed 0, reserved 0)\n",
    )
    told = as_json(kick("mail", "--count", "2", "--dry-run", "--json"))
    (tube,) = told["tubes"]
    assert (told["done"], told["would"], tube["done"], tube["would"]) == (0, 2, 0, 2)
    assert beanstalkd.count("mail")["buried"] == 3


def test_tube_beside_ids_is_refused_with_what_to_write(kick):
    done = kick("mail", "--job", "5")
    assert (done.returncode, done.stderr) == (2, b"the ids of jobs are enough: leave out the tube mail\n")


def test_kick_by_error_and_an_error_that_there_is_not(beanstalkd, kick):
    ids = beanstalkd.bury_many("mail", 3)
    for job, error in zip(ids, ["KeyError", "KeyError", "ValueError"], strict=True):
        put_record(beanstalkd, job, error=error)
    done = kick("mail", "--error", "KeyErr")
    assert done.returncode == 1
    assert done.stderr == b"no buried job of tube mail has the error KeyErr; known errors: KeyError, ValueError\n"
    assert kick("--all", "--error", "KeyError").stdout == b"mail: 2 kicked (buried 3 -> 1, ready 0 -> 2)\n"


def test_error_in_a_tube_without_buried_jobs_is_no_mistake(beanstalkd, kick):
    beanstalkd.put("mail")
    for tube, noted in (("mail", b"1 job is ready, "), ("mial", b"tube mial has neither jobs nor workers now")):
        done = kick(tube, "--error", "KeyError")
        assert (done.returncode, done.stdout[:14]) == (0, b"%s: 0 kicked" % tube.encode())
        assert done.stderr.startswith(noted)
    done = kick("--all", "--error", "KeyError")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"0 jobs were kicked\n", b"")
    beanstalkd.bury("sms", 1)
    done = kick("sms", "--error", "KeyError")
    assert (done.returncode, b"no buried job has a record of its error" in done.stderr) == (1, True)


def test_kick_by_ids_says_of_each_why_it_is_left_alone(beanstalkd, kick):
    (job,) = beanstalkd.bury_many("mail", 1)
    delayed = beanstalkd.put("mail", delay=1000)
    done = kick("--job", str(job), "--job", str(delayed), "--job", "999")
    assert done.returncode == 1
    assert done.stdout == b"mail: 1 kicked (buried 1 -> 0, ready 0 -> 1)\n"
    assert done.stderr.splitlines() == [
        b"job %d is left alone: it is delayed, not buried" % delayed,
        b"job 999 is left alone: there is no such job",
    ]
    assert beanstalkd.stats_job(delayed)["state"] == "delayed"


def test_tube_that_does_not_exist_is_named(kick):
    done = kick("mial")
    assert (done.returncode, done.stdout) == (0, b"mial: 0 kicked (buried 0, ready 0, delayed 0, reserved 0)\n")
    assert done.stderr == b"tube mial has neither jobs nor workers now; tubeherd list shows the tubes that have\n"


def test_no_server():
    done = tubeherd("kick", "mail", "--server", "127.0.0.1:1")
    assert (done.returncode, done.stdout) == (1, b"")
    assert (
        done.stderr
        == b"cannot reach beanstalkd at 127.0.0.1:1: Connection refused: start it, or name another one with --server "
        b"or TUBEHERD_SERVER\n"
    )


@pytest.mark.parametrize("choice", [["mail"], ["mail", "--older-than", "1ms"], ["--job", "1", "--job", "2"]])
@pytest.mark.parametrize("bytes_through", [0, 1, 200, 500, 800, 1000, 1200])
def test_lost_connection_never_says_less_than_was_done(beanstalkd, proxy, choice, bytes_through):
    ids = beanstalkd.bury_many("mail", 2)
    wait_for(lambda: beanstalkd.stats_job(ids[-1])["age"] >= 1, "the jobs are old enough")
    proxy.cut[1] = ("in", bytes_through)
    done = tubeherd("kick", *choice, "--json", "--server", proxy.server)
    if done.stdout:
        told = as_json(done)
        ready = beanstalkd.count("mail")["ready"]
        assert told["done"] <= ready <= told["done"] + told["unsure"]
        assert (told["error"] is None) is (done.returncode == 0)
    assert b"Traceback" not in done.stderr


def test_draining_server_is_kicked_all_the_same(beanstalkd, kick):
    beanstalkd.bury("mail", 1)
    os.kill(beanstalkd.stats()["pid"], signal.SIGUSR1)
    assert kick("mail").returncode == 0
    assert beanstalkd.count("mail")["ready"] == 1


def test_paused_tube_is_kicked_all_the_same(beanstalkd, kick):
    beanstalkd.bury("mail", 1)
    beanstalkd.client().pause_tube("mail", 1000)
    assert kick("mail").returncode == 0
    assert beanstalkd.count("mail")["ready"] == 1


@pytest.mark.parametrize(("number", "code", "name"), [(signal.SIGTERM, 143, "SIGTERM"), (signal.SIGINT, 130, "Ctrl-C")])
def test_slow_kick_that_is_stopped_says_how_many_were_kicked(beanstalkd, number, code, name):
    beanstalkd.bury_many("mail", 500)
    process = start_tubeherd("kick", "mail", "--rate", "20/s", "--server", beanstalkd.server)
    wait_for(lambda: beanstalkd.count("mail")["ready"] >= 3, "jobs are kicked")
    process.send_signal(number)
    out, err = process.communicate(timeout=PATIENCE)
    ready = beanstalkd.count("mail")["ready"]
    assert process.returncode == code
    assert f"mail: {ready} kicked (buried 500 -> {500 - ready}, ready 0 -> {ready})\n".encode() == out
    assert err == f"stopped by {name}: {ready} jobs were kicked\n".encode()


def test_slow_kick_on_a_terminal_draws_a_bar_and_stops_at_ctrl_c(beanstalkd):
    beanstalkd.bury_many("mail", 500)
    with Terminal([*COMMAND, "kick", "mail", "--rate", "20/s", "--server", beanstalkd.server], columns=60) as terminal:
        terminal.wait_for(" of 500 kicked")
        wait_for(lambda: beanstalkd.count("mail")["ready"] >= 3, "jobs are kicked")
        terminal.send(CTRL_C)
        assert terminal.wait() == 130
        ready = beanstalkd.count("mail")["ready"]
        text = terminal.text()
        assert f"mail: {ready} kicked" in text
        assert f"stopped by Ctrl-C: {ready} jobs were kicked" in text
        assert " of 500 kicked" not in text  # the bar is gone
        assert "^C" not in text


def test_server_that_hangs_is_left_at_the_second_signal(beanstalkd):
    beanstalkd.bury_many("mail", 500)
    process = start_tubeherd("kick", "mail", "--rate", "20/s", "--server", beanstalkd.server)
    wait_for(lambda: beanstalkd.count("mail")["ready"] >= 3, "jobs are kicked")
    with beanstalkd.stopped():
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode in (143, 130)
    assert b"Traceback" not in err
    said = re.search(rb"(\d+) jobs were kicked(?:, and up to (\d+) more)?", err)
    ready = beanstalkd.count("mail")["ready"]
    assert int(said[1]) <= ready <= int(said[1]) + int(said[2] or 0)


def test_slow_kick_stops_if_most_come_back_buried(beanstalkd, failing_worker, kick):
    beanstalkd.bury_many("mail", 500)
    failing_worker()
    done = kick("mail", "--rate", "20/s")
    assert done.returncode == 1
    assert b"stopped, because most of the kicked jobs come back buried" in done.stderr
    assert b"tubeherd why mail shows the reasons" in done.stderr
    kicked = int(re.match(rb"mail: (\d+) kicked", done.stdout)[1])
    assert 10 <= kicked < 500


def test_slow_kick_kicks_no_job_twice(beanstalkd, failing_worker, kick):
    ids = beanstalkd.bury_many("mail", 8)
    failing_worker()
    assert kick("mail", "--rate", "100/s").returncode == 0
    assert [beanstalkd.stats_job(job)["kicks"] for job in ids] == [1] * 8


def test_many_others_change_the_tube_meanwhile(beanstalkd):
    ids = beanstalkd.bury_many("mail", 600)
    delayed = [beanstalkd.put("mail", delay=1000) for _ in range(20)]
    process = start_tubeherd("kick", "mail", "--rate", "1000/s", "--count", "200", "--server", beanstalkd.server)
    client = beanstalkd.client()
    client.watch("mail")
    for job in ids[::3]:
        client.delete(job)
    process.communicate(timeout=PATIENCE)
    kicks = sum(beanstalkd.stats_job(job)["kicks"] for job in ids if beanstalkd.exists(job))
    assert process.returncode == 0
    assert kicks <= 200
    assert beanstalkd.count("mail")["delayed"] == len(delayed)
    assert beanstalkd.count("mail") == NOTHING | {"ready": kicks, "buried": 400 - kicks, "delayed": 20}
