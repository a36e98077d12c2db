"""The command `tubeherd`, as a user types it."""

import json
import os
import re
import runpy
import signal
import subprocess
import sys

import pytest

from tubeherd import QueueManager
from tubeherd.settings import WorkerSettings

MAIL = """
from tubeherd import executor
@executor("mail")
def mail(payload): ...
"""


def tubeherd(*arguments, stdin=b"", **env):
    command = [sys.executable, "-m", "tubeherd", *arguments]
    return subprocess.run(command, input=stdin, capture_output=True, env=os.environ | env)


@pytest.fixture
def schedule(beanstalkd):
    return lambda *arguments, stdin=b"": tubeherd("schedule", *arguments, "--server", beanstalkd.server, stdin=stdin)


def test_schedule_a_payload(beanstalkd, schedule):
    done = schedule("mail", '{"to": "ann"}', "--delay", "10 minutes", "--priority", "3", "--ttr", "2m")
    assert (done.returncode, done.stdout) == (0, b"job 1 put into tube mail\n")
    stats = beanstalkd.stats_job(1)
    assert (stats["tube"], stats["delay"], stats["pri"], stats["ttr"]) == ("mail", 600, 3, 120)
    assert beanstalkd.client().peek(1).body == b'{"to": "ann"}'


def test_schedule_lines_of_stdin(beanstalkd, schedule):
    done = schedule("mail", stdin=b'{"n": 1}\n\n"\xc3\xbc"\r\n[3]')
    assert (done.returncode, done.stdout) == (0, b"3 jobs put into tube mail\n")
    client = beanstalkd.client()
    assert [client.peek(job).body for job in (1, 2, 3)] == [b'{"n": 1}', b'"\xc3\xbc"', b"[3]"]


def test_schedule_stops_at_the_first_bad_line_and_says_what_was_put(beanstalkd, schedule):
    done = schedule("mail", stdin=b'{"n": 1}\n{oops}\n{"n": 3}\n')
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith(b"line 2 is no JSON: key must be a string at column 2")
    assert last.endswith(b"; 1 job was put. Go on with --skip 1")
    assert beanstalkd.count("mail")["ready"] == 1


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["mail", "{oops}"], 2, b"the payload is no JSON"),
        (["two words", "{}"], 2, b"'two words' is no tube name"),
        (["tubeherd.burials", "{}"], 2, b"'tubeherd.burials' is reserved"),
        (["mail", "[NaN]"], 2, b"the payload is no JSON"),
        (["mail", "{}", "--delay", "soon"], 2, b"'soon' is no duration"),
        (["mail", "{}", "--priority", "-1"], 2, b"a priority is from 0"),
        (
            ["mail", '"' + "x" * 70_000 + '"'],
            1,
            b"it is larger than the 65535 bytes that this beanstalkd takes (JOB_TOO_BIG; see its -z); no jobs were put",
        ),
    ],
)
def test_schedule_refuses_what_could_not_work(schedule, arguments, code, said):
    done = schedule(*arguments)
    assert done.returncode == code
    assert said in done.stderr
    assert b"Traceback" not in done.stderr


def test_schedule_takes_the_server_from_its_variable(beanstalkd):
    done = tubeherd("schedule", "mail", "{}", TUBEHERD_SERVER=beanstalkd.server)
    assert (done.returncode, done.stdout) == (0, b"job 1 put into tube mail\n")


def test_schedule_without_a_payload_and_without_lines_puts_nothing(beanstalkd, schedule):
    done = schedule("mail", stdin=b"\n  \n")
    assert (done.returncode, done.stdout) == (0, b"0 jobs put into tube mail\n")
    assert beanstalkd.count("mail")["ready"] == 0


def test_schedule_a_line_that_is_too_big_says_what_was_put(beanstalkd, schedule):
    done = schedule("mail", stdin=b'1\n2\n"' + b"x" * 70_000 + b'"\n4\n')
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        b"line 3 is too big: it has 70002 bytes, and this beanstalkd takes 65535 (JOB_TOO_BIG; see its -z); "
        b"2 jobs were put. Go on with --skip 2"
    )
    assert beanstalkd.count("mail")["ready"] == 2


def test_schedule_into_a_server_that_is_to_be_emptied(beanstalkd, schedule):
    os.kill(beanstalkd.stats()["pid"], signal.SIGUSR1)  # draining: it takes no further job
    done = schedule("mail", "{}")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        b"the job was refused: this beanstalkd takes no more jobs, because it is to be emptied (DRAINING): "
        b"put into another one; no jobs were put"
    )


def test_schedule_without_a_server():
    done = tubeherd("schedule", "mail", "{}", "--server", "127.0.0.1:1")
    assert (done.returncode, done.stderr) == (
        1,
        b"cannot reach beanstalkd at 127.0.0.1:1: Connection refused: start it, or name another one with --server "
        b"or TUBEHERD_SERVER\n",
    )


def test_run_with_wrong_options_and_variables_names_them_all():
    done = tubeherd("run", "--concurrency", "0", "--max-memory", "lots", TUBEHERD_MAX_TIME="soon")
    assert done.returncode == 2
    lines = done.stderr.splitlines()
    assert lines[0].startswith(b"--concurrency (TUBEHERD_CONCURRENCY): '0' does not fit: write 1 to 1000")
    assert lines[1].startswith(b"--max-time (TUBEHERD_MAX_TIME): 'soon' is no duration")
    assert lines[2].startswith(b"--max-memory (TUBEHERD_MAX_MEMORY): 'lots' is no size of memory")
    assert len(lines) == 3


def test_schedule_warns_of_a_misspelt_variable_and_goes_on(beanstalkd):
    done = tubeherd("schedule", "mail", "{}", "--server", beanstalkd.server, TUBEHERD_SERVR="elsewhere:1")
    assert (done.returncode, done.stdout) == (0, b"job 1 put into tube mail\n")
    assert b"did you mean TUBEHERD_SERVER?" in done.stderr


def test_run_warns_of_a_misspelt_variable_and_goes_on(beanstalkd, run_worker):
    variables = ("TUBEHERD_MAX_JOB=1", "TUBEHERD_BEANSTALKD_SERVICE_HOST=10.0.0.1", "TUBEHERD_OPERATOR_HEALTH=x")
    worker = run_worker(beanstalkd.server, MAIL, prefix=("env", *variables))
    worker.wait_for_line("connected")
    (warning,) = worker.lines(level="warning")
    assert warning["event"] == "TUBEHERD_MAX_JOB is no setting and has no effect: did you mean TUBEHERD_MAX_JOBS?"


def test_unknown_option_is_wrong_usage():
    done = tubeherd("run", "--nope")
    assert done.returncode == 2
    assert done.stderr == b"No such option: --nope: see tubeherd run --help\n"
    assert tubeherd("--nope").stderr == b"No such option: --nope: see tubeherd --help\n"
    assert tubeherd("inspect", "mail", "--count", "0").stderr.endswith(b": see tubeherd inspect --help\n")


def test_run_with_variables_only(beanstalkd, tmp_path):
    (tmp_path / "jobs_under_test.py").write_text(MAIL)
    beanstalkd.put("mail")
    done = tubeherd(
        "run",
        PYTHONPATH=os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]),
        TUBEHERD_EXECUTORS="jobs_under_test",
        TUBEHERD_SERVER=beanstalkd.server,
        TUBEHERD_INCLUDE="mail",
        TUBEHERD_MAX_JOBS="1",
        TUBEHERD_ON_LIMIT="stop",
        TUBEHERD_LOG_FORMAT="text",
        TUBEHERD_HEALTH="",
    )
    assert done.returncode == 0
    assert b"deleted" in done.stderr
    assert beanstalkd.count("mail")["ready"] == 0


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (MAIL + MAIL, "executors_under_test: two executors for tube 'mail'"),
        ("def mail(:", "executors_under_test cannot be imported: SyntaxError: "),
        (
            "import nowhere_to_be_found",
            "cannot be imported: ModuleNotFoundError: No module named 'nowhere_to_be_found'",
        ),
        ("from tubeherd import executor", "no executor found in executors_under_test"),
        (MAIL.replace("(payload)", "()"), "the executor 'mail' must take a payload"),
    ],
)
def test_run_with_executors_that_cannot_be_used_reserves_nothing(beanstalkd, run_worker, code, said):
    beanstalkd.put("mail")
    worker = run_worker(beanstalkd.server, code, "--concurrency", "3")
    assert worker.exit_code() == 3
    (error,) = worker.lines(level="error")
    assert said in error["event"]
    assert beanstalkd.stats_job(1)["reserves"] == 0


def test_run_without_executors_says_where_it_looked():
    done = tubeherd("run", "--executors", "nowhere_to_be_found")
    assert done.returncode == 3
    assert b"nowhere_to_be_found cannot be imported: ModuleNotFoundError" in done.stderr


def test_run_with_an_unknown_tube_says_which_it_knows(beanstalkd, run_worker):
    worker = run_worker(beanstalkd.server, MAIL, "--include", "mial")
    assert worker.exit_code() == 3
    worker.wait_for_line("tube 'mial' has no executor here; the tubes with one are: mail", level="error")


def test_run_with_exclude_leaves_a_tube_alone(beanstalkd, run_worker):
    beanstalkd.put("report", priority=1)
    beanstalkd.put("mail", priority=9)
    worker = run_worker(beanstalkd.server, MAIL + MAIL.replace("mail", "report"), "--exclude", "report")
    worker.wait_for_line("deleted", tube="mail")
    assert beanstalkd.count("report")["ready"] == 1


def test_run_where_health_cannot_listen(beanstalkd, run_worker):
    worker = run_worker(beanstalkd.server, MAIL, "--health", beanstalkd.server)
    assert worker.exit_code() == 2
    assert (
        f"--health (TUBEHERD_HEALTH): cannot listen on {beanstalkd.server}: Address already in use\n" in worker.output()
    )


# Why jobs are buried

FAILING = """
import os, signal
from tubeherd import executor
@executor("mail")
def mail(payload): raise ConnectionRefusedError("the mail server is down")
@executor("report")
def report(payload: dict): return payload["customer"]["name"]
"""


@pytest.fixture
def buried(beanstalkd, tmp_path, no_executors):
    """Two jobs of `mail` and one of `report` that were buried as a worker does, the ones of `mail` first."""
    module = tmp_path / "executors_under_test.py"
    module.write_text(FAILING)
    runpy.run_path(str(module))
    jobs = [beanstalkd.put("mail"), beanstalkd.put("mail"), beanstalkd.put("report")]
    with QueueManager(beanstalkd.server, retry_delays=[]) as queue:
        for _ in jobs:
            queue.process(queue.get())
    return jobs


@pytest.fixture
def why(beanstalkd):
    return lambda *arguments, **env: tubeherd("why", *arguments, "--server", beanstalkd.server, **env)


def test_why_prints_a_table_of_reasons_in_80_columns(buried, why):
    done = why(COLUMNS="80")
    assert (done.returncode, done.stderr) == (0, b"")
    head, first, second, sum_ = done.stdout.decode().splitlines()
    assert head.split() == ["COUNT", "TUBE", "ERROR", "PLACE", "FIRST", "LAST", "SAMPLE"]
    assert first.split()[:2] == ["2", "mail"]
    assert "ConnectionRefused" in first  # the rest of the name is cut, because the place is long
    assert second.split()[:3] == ["1", "report", "KeyError"]
    assert first.split()[-1] == str(buried[1])
    assert second.split()[-1] == str(buried[2])
    assert sum_ == "3 buried jobs in 2 groups. tubeherd why --job SAMPLE shows all about one."
    assert max(map(len, done.stdout.decode().splitlines())) <= 80


def test_why_of_one_tube(buried, why, beanstalkd):
    beanstalkd.bury("report", 2)
    lines = why("report").stdout.decode().splitlines()
    assert lines[1].split()[:3] == ["1", "report", "KeyError"]
    assert lines[2].startswith("1 buried job in 1 group. ")
    assert lines[3].startswith("2 further buried jobs have no record: ")


def test_why_of_one_job_shows_the_whole_record(buried, why):
    done = why("--job", str(buried[2]))
    assert done.returncode == 0
    lines = done.stdout.decode().splitlines()
    assert lines[0].split() == ["job", str(buried[2])]
    assert "message  KeyError: 'customer'" in lines
    assert "Traceback (most recent call last):" in lines
    assert lines[-1] == "KeyError: 'customer'"


def test_why_as_json(buried, why):
    first, second = json.loads(why("--json").stdout)["groups"]
    assert (first["count"], first["tube"], first["error"], first["sample"]) == (
        2, "mail", "ConnectionRefusedError", buried[1],
    )  # fmt: skip
    assert second["kind"] == "exception"
    record = json.loads(why("--job", str(buried[2]), "--json").stdout)
    assert (record["job"], record["tube"], record["error"]) == (buried[2], "report", "KeyError")
    assert record["traceback"].endswith("KeyError: 'customer'")


def test_why_of_a_tube_and_a_job_is_refused_with_what_to_write(why):
    done = why("mail", "--job", "5")
    assert (done.returncode, done.stderr) == (2, b"the id of a job is enough: tubeherd why --job 5\n")


def test_why_of_a_job_without_a_record(buried, why, beanstalkd):
    beanstalkd.kick_job(buried[0])
    for job in (buried[0], 987654):
        done = why("--job", str(job))
        assert (done.returncode, done.stdout) == (1, b"")
        assert done.stderr.startswith(f"no record says why job {job} is buried: it is not buried, or".encode())


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_why_prints_what_the_encoding_of_the_terminal_lacks_as_question_marks(buried, why, encoding):
    done = why(COLUMNS="60", PYTHONIOENCODING=encoding)  # so narrow that names are cut, which is shown by …
    assert (done.returncode, done.stderr) == (0, b"")
    assert re.search(rb" Connect\w*\? ", done.stdout)


def test_why_as_json_is_utf_8_whatever_the_encoding_of_the_terminal(beanstalkd, run_worker, why):
    beanstalkd.put("mail")
    worker = run_worker(beanstalkd.server, FAILING.replace("is down", "is ü漢"), "--retry-delays", "none")
    worker.wait_for_line("buried")
    done = why("--json", PYTHONIOENCODING="latin-1")
    assert (done.returncode, done.stderr) == (0, b"")
    assert json.loads(done.stdout)["groups"][0]["message"].endswith("is ü漢")


def test_why_where_nothing_is_buried(why):
    assert (why().returncode, why().stdout) == (0, b"No job is buried.\n")
    assert why("mail").stdout == b"No job of tube mail is buried.\n"
    assert json.loads(why("--json").stdout) == {"groups": [], "read_elsewhere": 0, "without_record": 0}


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["two words"], 2, b"'two words' is no tube name"),
        (["tubeherd.burials"], 2, b"'tubeherd.burials' is reserved"),
        (["--job", "0"], 2, b"Invalid value for '--job'"),
        (["--server", "127.0.0.1:1"], 1, b"cannot reach beanstalkd at 127.0.0.1:1: Connection refused"),
    ],
)
def test_why_refuses_what_could_not_work(beanstalkd, arguments, code, said):
    arguments = arguments if "--server" in arguments else [*arguments, "--server", beanstalkd.server]
    done = tubeherd("why", *arguments)
    assert (done.returncode, done.stdout) == (code, b"")
    assert said in done.stderr
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ([], ["run", "schedule", "why"]),
        (["why"], ["--job", "--json", "--server", "TUBE"]),
        (["schedule"], ["--delay", "--priority", "--ttr", "--server", "stdin"]),
        (["run"], [f"--{name.replace('_', '-')}" for name in WorkerSettings.model_fields] + ["TUBEHERD_MAX_JOBS"]),
    ],
    ids=["tubeherd", "why", "schedule", "run"],
)
def test_help_names_everything_in_80_columns(command, words):
    done = tubeherd(*command, "--help", COLUMNS="80")
    text = done.stdout.decode()
    assert done.returncode == 0
    assert [word for word in words if word not in text] == []
    assert max(map(len, text.splitlines())) <= 80
