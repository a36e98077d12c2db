"""The command `tubeherd`, as a user types it."""

import os
import subprocess
import sys

import pytest

MAIL = """
from tubeherd import executor
@executor("mail")
def mail(payload): ...
"""


def tubeherd(*arguments, stdin=b"", **env):
    command = [sys.executable, "-m", "tubeherd", *arguments]
    return subprocess.run(command, input=stdin, capture_output=True, timeout=30, env=os.environ | env)


@pytest.fixture
def schedule(beanstalkd):
    return lambda *arguments, stdin=b"": tubeherd("schedule", *arguments, "--server", beanstalkd.server, stdin=stdin)


def test_schedule_a_payload(beanstalkd, schedule):
    done = schedule("mail", '{"to": "ann"}', "--delay", "10 minutes", "--priority", "3", "--ttr", "2m")
    assert (done.returncode, done.stdout) == (0, b"job 1 put into tube mail\n")
    client = beanstalkd.client()
    stats = client.job_stats(1)
    assert (stats.tube, stats.delay, stats.priority, stats.ttr) == ("mail", 600, 3, 120)
    assert client.peek(1).body == b'{"to": "ann"}'


def test_schedule_lines_of_stdin(beanstalkd, schedule):
    done = schedule("mail", stdin=b'{"n": 1}\n\n"\xc3\xbc"\r\n[3]')
    assert (done.returncode, done.stdout) == (0, b"3 jobs put into tube mail\n")
    client = beanstalkd.client()
    assert [client.peek(job).body for job in (1, 2, 3)] == [b'{"n": 1}', b'"\xc3\xbc"', b"[3]"]


def test_schedule_stops_at_the_first_bad_line_and_says_what_was_put(beanstalkd, schedule):
    done = schedule("mail", stdin=b'{"n": 1}\n{oops}\n{"n": 3}\n')
    assert done.returncode == 1
    assert done.stderr.startswith(b"line 2 is no JSON")
    assert done.stderr.rstrip().endswith(b"; 1 jobs before it were put")
    assert beanstalkd.count("mail")["ready"] == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["mail", "{oops}"], b"the payload is no JSON"),
        (["two words", "{}"], b"'two words' is no tube name"),
        (["mail", "{}", "--delay", "soon"], b"'soon' is no duration"),
        (["mail", "{}", "--priority", "-1"], b"a priority is from 0"),
        (["mail", '"' + "x" * 70_000 + '"'], b"beanstalkd refused job 1: JobTooBigError"),
    ],
)
def test_schedule_refuses_what_could_not_work(schedule, arguments, said):
    done = schedule(*arguments)
    assert done.returncode == 1
    assert said in done.stderr
    assert b"Traceback" not in done.stderr


def test_schedule_without_a_server():
    done = tubeherd("schedule", "mail", "{}", "--server", "127.0.0.1:1")
    assert (done.returncode, done.stderr) == (1, b"cannot reach beanstalkd at 127.0.0.1:1: Connection refused\n")


def test_run_with_a_wrong_option_says_which():
    done = tubeherd("run", "--concurrency", "0")
    assert done.returncode == 2
    assert done.stderr.startswith(b"--concurrency (TUBEHERD_CONCURRENCY): Input should be greater than or equal to 1")


def test_run_with_a_wrong_variable_says_which():
    done = tubeherd("run", TUBEHERD_MAX_TIME="soon")
    assert done.returncode == 2
    assert done.stderr.startswith(b"--max-time (TUBEHERD_MAX_TIME): 'soon' is no duration")


def test_run_without_executors_says_where_it_looked():
    done = tubeherd("run", "--executors", "nowhere_to_be_found")
    assert done.returncode == 3
    assert b"nowhere_to_be_found cannot be imported: ModuleNotFoundError" in done.stderr


def test_run_with_an_unknown_tube_says_which_it_knows(beanstalkd, run_worker):
    worker = run_worker(beanstalkd.server, MAIL, "--include", "mial")
    assert worker.process.wait(15) == 3
    worker.wait_for_line("tube 'mial' has no executor here; the tubes with one are: mail", level="error")


def test_run_with_exclude_leaves_a_tube_alone(beanstalkd, run_worker):
    client = beanstalkd.client()
    client.put_in("report", b"{}", priority=1, delay=0, ttr=60)
    client.put_in("mail", b"{}", priority=9, delay=0, ttr=60)
    worker = run_worker(beanstalkd.server, MAIL + MAIL.replace("mail", "report"), "--exclude", "report")
    worker.wait_for_line("deleted", tube="mail")
    assert beanstalkd.count("report")["ready"] == 1


def test_run_where_health_cannot_listen(beanstalkd, run_worker):
    worker = run_worker(beanstalkd.server, MAIL, "--health", beanstalkd.server)
    assert worker.process.wait(15) == 2
    assert f"--health (TUBEHERD_HEALTH): cannot listen on {beanstalkd.server}" in worker.output()


@pytest.mark.parametrize("command", [["run"], ["schedule"], []])
def test_help(command):
    done = tubeherd(*command, "--help")
    assert done.returncode == 0
    assert b"Usage: " in done.stdout
