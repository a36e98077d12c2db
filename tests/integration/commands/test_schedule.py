"""`tubeherd schedule`: many jobs, what stops them, and that it is known exactly what was put."""

import json
import os
import signal
import subprocess
import sys
import threading
from contextlib import closing, suppress

import pytest

from tests.support.beanstalkd import NOTHING
from tests.support.hostile import Server
from tests.support.terminal import CTRL_C, Terminal
from tests.support.waiting import PATIENCE, wait_for
from tubeherd.queue.bulk import connect_to_tube

COMMAND = [sys.executable, "-m", "tubeherd", "schedule"]


@pytest.fixture
def schedule(beanstalkd):
    def run(*arguments, stdin=b"", server=beanstalkd.server, **options):
        command = [*COMMAND, *arguments, "--server", server]
        return subprocess.run(command, input=stdin, capture_output=True, **options)

    return run


@pytest.fixture
def start(beanstalkd):
    """Start the command with a pipe for its lines: `start("mail", server=…)`; it is ended after the test."""
    started = []

    def run(*arguments, server=beanstalkd.server, **options):
        pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE) | options
        started.append(subprocess.Popen([*COMMAND, *arguments, "--server", server], **pipes))
        return started[-1]

    yield run
    for process in started:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()


def lines(count, first=0):
    return b"".join(b'{"n": %d}\n' % number for number in range(first, first + count))


def numbers(beanstalkd):
    """Return the numbers of the ready jobs of `mail`, and take them out; without bodies that a kill has spoilt."""
    with closing(connect_to_tube(beanstalkd.server, "mail", 10)) as connection:
        connection.body_bytes_most = 65535
        taken = connection.take(beanstalkd.count("mail")["ready"])
        connection.delete([job.id for job in taken])
    return [json.loads(job.body)["n"] for job in taken if job.body is not None]


def last_line(done):
    return done.stderr.decode().splitlines()[-1]


# Sources


def test_file_and_stdin_by_a_dash(beanstalkd, schedule, tmp_path):
    (tmp_path / "mails.jsonl").write_bytes(b"\xef\xbb\xbf" + lines(600) + b'{"n": 600}')
    done = schedule("mail", "--file", str(tmp_path / "mails.jsonl"))
    assert (done.returncode, done.stdout) == (0, b"601 jobs put into tube mail\n")
    assert schedule("mail", "--file", "-", stdin=lines(1)).stdout == b"1 job put into tube mail\n"
    assert numbers(beanstalkd) == [*range(601), 0]


def test_skip_leaves_out_the_first_lines_whatever_is_in_them(beanstalkd, schedule):
    done = schedule("mail", "--skip", "3", stdin=b"oops\n\n" + lines(2))
    assert (done.returncode, done.stdout) == (0, b"1 job put into tube mail\n")
    assert numbers(beanstalkd) == [1]


def test_a_line_is_put_as_soon_as_it_comes(beanstalkd, start):
    process = start("mail")
    for number in range(2):
        process.stdin.write(lines(1, number))
        process.stdin.flush()
        wait_for(lambda n=number: beanstalkd.count("mail")["ready"] == n + 1, f"job {number} is put")
    assert process.communicate(timeout=PATIENCE)[0] == b"2 jobs put into tube mail\n"


def test_lines_of_any_length_and_end(beanstalkd, schedule):
    done = schedule("mail", stdin=b'\r\n  {"n": 1}\r\n\n{"n":' + b" " * 60_000 + b'2}\n{"n": 3}')
    assert done.stdout == b"3 jobs put into tube mail\n"
    assert numbers(beanstalkd) == [1, 2, 3]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["mail", "--file", "nowhere.jsonl"], 2, "--file nowhere.jsonl: No such file or directory"),
        (["mail", "--file", "/"], 1, "line 1 cannot be read: Is a directory; no jobs were put"),
        (["mail", "{}", "--file", "-"], 2, "give either a payload or lines"),
        (["mail", "{}", "--skip", "1"], 2, "give either a payload or lines"),
    ],
)
def test_wrong_source(beanstalkd, schedule, arguments, code, said):
    done = schedule(*arguments)
    assert done.returncode == code
    assert said in done.stderr.decode()
    assert b"Traceback" not in done.stderr
    assert beanstalkd.count("mail") == NOTHING


@pytest.mark.parametrize("size", [65_536, 70_000, 200_000, 3_000_000])
@pytest.mark.parametrize("end", [b"", b"\n", b"\n" + lines(3, 5)])
def test_line_that_is_too_big_stops_it_before_a_later_one_is_put(beanstalkd, schedule, size, end):
    done = schedule("mail", stdin=lines(2) + b'"' + b"x" * (size - 2) + b'"' + end)
    assert done.returncode == 1
    assert last_line(done).startswith("line 3 is too big: it has ")
    assert last_line(done).endswith("; 2 jobs were put. Go on with --skip 2")
    assert numbers(beanstalkd) == [0, 1]


def test_line_without_end_takes_no_memory(start):
    def memory(lines):
        """Return the most memory of a command that is given a line of so many times 100,000 bytes, in KiB."""
        process = start("mail")
        with suppress(BrokenPipeError):
            for _ in range(lines):
                process.stdin.write(b"x" * 100_000)
            process.stdin.close()
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        assert process.returncode == 1
        assert b"line 1 is too big: it has more than 65535 bytes" in process.stderr.read()
        return used.ru_maxrss

    # What the process of the tests has counts in both, because the command was forked from it.
    assert memory(10_000) - memory(10) < 20_000


# Dry run, JSON


def test_dry_run_names_every_wrong_line_counts_those_before_the_first_and_puts_nothing(beanstalkd, schedule):
    text = lines(2) + b"oops\n" + lines(1) + b'"' + b"x" * 300_000 + b'"\n[NaN]\n' + lines(1)
    done = schedule("mail", "--dry-run", stdin=text)
    assert (done.returncode, done.stdout) == (1, b"")
    *_, first, second, third = done.stderr.decode().splitlines()
    assert first.startswith("line 3 is no JSON: ")
    assert second.startswith("line 5 is too big: ")
    assert third.startswith("line 6 is no JSON: ")
    assert third.endswith("; 2 jobs would be put before the first of these lines")
    assert beanstalkd.count("mail") == NOTHING
    done = schedule("mail", "--dry-run", stdin=lines(5))
    assert (done.returncode, done.stdout) == (0, b"5 jobs would be put into tube mail\n")
    assert schedule("mail", "--dry-run", "{}").stdout == b"1 job would be put into tube mail\n"
    assert beanstalkd.count("mail") == NOTHING


def test_json(beanstalkd, schedule):
    done = schedule("mail", "--json", "{}")
    first = json.loads(done.stdout)
    assert (first["job"], first["put"], first["at_most"], first["error"]) == (1, 1, 1, None)
    assert done.stdout.startswith(b'{\n  "tube": "mail",\n')
    assert first["warning"].startswith("no worker takes jobs from tube mail")
    done = schedule("mail", "--json", stdin=lines(3) + b"oops")
    assert done.returncode == 1
    second = json.loads(done.stdout)
    assert (second["put"], second["at_most"], second["skip"], second["left_out"]) == (3, 3, 3, [])
    assert second["error"].startswith("line 4 is no JSON")
    assert second["error"] in done.stderr.decode()
    third = json.loads(schedule("mail", "--json", "--dry-run", "{}").stdout)
    assert (third["put"], third["at_most"], third["would"]) == (0, 0, 1)


# What stops it


@pytest.mark.parametrize(
    ("number", "code", "words"),
    [
        (signal.SIGINT, 130, "stopped by Ctrl-C"),
        (signal.SIGTERM, 143, "stopped by SIGTERM"),
        (signal.SIGHUP, 129, "stopped by SIGHUP"),
    ],
)
@pytest.mark.parametrize("busy", [True, False], ids=["busy", "waiting for lines"])
def test_signal_stops_it_and_what_was_put_is_exact(beanstalkd, start, number, code, words, busy):
    process = start("mail")
    feeder = threading.Thread(target=feed, args=(process.stdin, 100_000 if busy else 300))
    feeder.start()
    wait_for(lambda: beanstalkd.count("mail")["ready"] >= 300, "jobs are put")
    process.send_signal(number)
    assert process.wait(PATIENCE) == code
    feeder.join()
    said = process.stderr.read().decode().splitlines()[-1]
    put = beanstalkd.count("mail")["ready"]
    assert said == f"{words}; {put} jobs were put. Go on with --skip {put}"
    assert numbers(beanstalkd) == list(range(put))


def feed(file, count):
    with suppress(BrokenPipeError):
        file.write(lines(count))
        file.flush()


def test_signal_that_is_ignored_stays_so(beanstalkd, start):
    process = start("mail", preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    feed(process.stdin, 1)
    wait_for(lambda: beanstalkd.count("mail")["ready"] == 1, "a job is put")
    process.send_signal(signal.SIGHUP)
    assert process.communicate(timeout=PATIENCE)[0] == b"1 job put into tube mail\n"


def test_server_that_is_killed_and_how_to_go_on(beanstalkd, schedule, start, tmp_path):
    os.mkfifo(tmp_path / "mails.jsonl")
    process = start("mail", "--json", "--file", str(tmp_path / "mails.jsonl"))
    with open(tmp_path / "mails.jsonl", "wb") as file:
        feeder = threading.Thread(target=feed, args=(file, 100_000))  # there are more lines to come until the kill
        feeder.start()
        wait_for(lambda: beanstalkd.count("mail")["ready"] >= 300, "jobs are put")
        beanstalkd.kill()
        out, err = process.communicate(timeout=PATIENCE)
        feeder.join()
    assert process.returncode == 1
    told = json.loads(out)
    beanstalkd.start()
    there = beanstalkd.count("mail")["ready"]
    assert told["put"] <= there <= told["at_most"]
    said = err.decode().splitlines()[-1]
    if told["put"] < told["at_most"]:
        assert f"; at least {told['put']} and at most {told['at_most']} jobs were put. To go on, " in said
        assert f"--skip {told['at_most']} puts none of them twice" in said
        assert f"--skip {told['put']} leaves out none" in said
    first = numbers(beanstalkd)
    (tmp_path / "rest.jsonl").write_bytes(lines(told["at_most"] + 5))
    schedule("mail", "--file", str(tmp_path / "rest.jsonl"), "--skip", str(told["at_most"]))
    assert numbers(beanstalkd) == list(range(told["at_most"], told["at_most"] + 5))
    assert first in (list(range(there)), list(range(there - 1)))


def test_server_that_begins_to_drain(beanstalkd, start):
    process = start("mail")
    feed(process.stdin, 300)
    wait_for(lambda: beanstalkd.count("mail")["ready"] == 300, "jobs are put")
    os.kill(beanstalkd.stats()["pid"], signal.SIGUSR1)
    feed(process.stdin, 300)
    said = process.communicate(timeout=PATIENCE)[1].decode().splitlines()[-1]
    assert said.startswith("the job of line 301 was refused: this beanstalkd takes no more jobs")
    assert said.endswith("; 300 jobs were put. Go on with --skip 300")


def test_closed_streams(beanstalkd):
    shell = f"{' '.join(COMMAND)} mail --server {beanstalkd.server}"
    done = subprocess.run(["bash", "-c", f"{shell} <&-"], capture_output=True)
    assert (done.returncode, done.stdout) == (0, b"0 jobs put into tube mail\n")
    done = subprocess.run(["bash", "-c", f"{shell} >&- 2>&-"], input=lines(2))
    assert done.returncode == 0
    assert numbers(beanstalkd) == [0, 1]


def test_reader_of_the_output_that_is_gone_learns_on_standard_error(beanstalkd, start):
    read, write = os.pipe()
    os.close(read)
    process = start("mail", stdout=write)
    os.close(write)
    feed(process.stdin, 2)
    process.stdin.close()
    assert process.wait(PATIENCE) == 0  # not an error, because nobody should put these jobs again
    assert process.stderr.read().splitlines()[-1] == b"2 jobs put into tube mail"
    assert numbers(beanstalkd) == [0, 1]


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"-ERR\r\n"])
def test_wrong_server(schedule, answer):
    def script(peer):
        for _ in peer.commands():
            peer.send(answer)
            if not answer:
                return

    with closing(Server(script)) as server:
        done = schedule("mail", "{}", server=server.server)
    assert (done.returncode, done.stdout) == (1, b"")
    assert b"beanstalkd" in done.stderr
    assert b"Traceback" not in done.stderr


# The warning


def warning(done):
    return next((line for line in done.stderr.decode().splitlines() if line.startswith("warning: ")), None)


def test_warns_of_a_tube_that_nobody_takes_jobs_from(beanstalkd, schedule):
    for tube in ("mail", "mail.weekly", "report", "tubeherd.burials"):
        beanstalkd.put(tube)
    said = warning(schedule("mial", "{}"))
    assert said == (
        "warning: no worker takes jobs from tube mial yet; one that was just started, or that "
        "finds it by a glob, does within 10 seconds. "
        "Did you mean mail?"
    )
    assert warning(schedule("nothing-like-it", "{}")).endswith("within 10 seconds")
    assert warning(schedule("mail", "{}", "--dry-run")) is not None


def test_does_not_warn_of_a_tube_that_is_watched_or_was(beanstalkd, schedule):
    beanstalkd.connection("mail")
    assert warning(schedule("mail", "{}")) is None
    beanstalkd.bury("report")
    assert warning(schedule("report", "{}")) is None
    client = beanstalkd.client()
    client.watch("done")
    for _ in range(2):
        beanstalkd.put("done")
    client.delete(client.reserve(timeout=1))
    client.close()
    wait_for(lambda: warning(schedule("done", "{}")) is None, "a deleted job is a sign of a worker")
    assert warning(schedule("default", "{}")) is None


# On a terminal


def test_progress_of_a_pipe(beanstalkd):
    read, write = os.pipe()
    with Terminal([*COMMAND, "mail", "--server", beanstalkd.server], columns=60, stdin=read) as terminal:
        os.close(read)

        def shows_progress():
            os.write(write, lines(1))
            return " jobs put, " in terminal.text()

        wait_for(shows_progress, "progress", pause=0.1)
        os.close(write)
        assert terminal.wait() == 0
        put = beanstalkd.count("mail")["ready"]
        assert f"{put} jobs put into tube mail" in terminal.screen()
        assert max(map(len, terminal.screen())) <= 60


def test_no_message_is_broken_inside_a_word(beanstalkd):
    command = [*COMMAND, "mail", "[", "--server", beanstalkd.server]
    words = subprocess.run(command, capture_output=True, text=True).stderr.split()
    with Terminal(command, columns=40) as terminal:
        assert terminal.wait() != 0
        assert " ".join(terminal.screen()).split() == words


def test_file_on_a_terminal(beanstalkd, tmp_path):
    (tmp_path / "mails.jsonl").write_bytes(lines(20_000))
    command = [*COMMAND, "mail", "--server", beanstalkd.server, "--file", str(tmp_path / "mails.jsonl"), "--dry-run"]
    with Terminal(command, columns=60) as terminal:
        assert terminal.wait() == 0
        assert "20000 jobs would be put into tube mail" in terminal.screen()


def test_lines_typed_on_a_terminal(beanstalkd):
    with Terminal([*COMMAND, "mail", "--server", beanstalkd.server]) as terminal:
        terminal.wait_for("Type a payload as JSON on each line; Ctrl-D ends, Ctrl-C stops.")
        terminal.send('{"n": 1}\n')
        wait_for(lambda: beanstalkd.count("mail")["ready"] == 1, "the line is put")
        terminal.send(CTRL_C)
        assert terminal.wait() == 130
        assert "stopped by Ctrl-C; 1 job was put. Go on with --skip 1" in terminal.text()


def test_terminal_that_is_closed_stops_it(beanstalkd):
    with Terminal([*COMMAND, "mail", "--server", beanstalkd.server]) as terminal:
        terminal.send('{"n": 1}\n')
        wait_for(lambda: beanstalkd.count("mail")["ready"] == 1, "the line is put")
        terminal.hang_up()
        assert terminal.process.wait(PATIENCE) in (0, 129)  # the end of its input may come before the signal
