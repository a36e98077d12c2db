"""`tubeherd inspect` and `tubeherd peek`, through a pipe and on a terminal."""

import json
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest

from tests.support.burials import RECORDS
from tests.support.terminal import CTRL_C, Terminal

COMMAND = (sys.executable, "-m", "tubeherd")
HOSTILE = b"\x1b]0;title\x07\xc2\x9b2J\xe2\x80\xae mirrored \xe2\x81\xa6 \r overwritten"


@pytest.fixture
def tubeherd(beanstalkd):
    """Run a subcommand in a pipe and return it after its end."""
    return lambda name, *arguments: subprocess.run(
        [*COMMAND, name, "--server", beanstalkd.server, *arguments], capture_output=True
    )


def buried(beanstalkd, payloads, **record):
    """Bury a job for each payload, the first one first, each with a record."""
    client = beanstalkd.client()
    client.watch("mail")
    for number, payload in enumerate(payloads):
        body = payload if isinstance(payload, bytes) else json.dumps(payload)
        job = beanstalkd.put("mail", body)
        client.bury(client.reserve(timeout=1))
        fields = {
            "job": job, "tube": "mail", "time": (datetime.now(UTC) + timedelta(seconds=number)).isoformat(),
            "kind": "exception", "error": "KeyError", "place": "mail.py:3", "message": f"KeyError: 'adress {number}'",
            "attempts": 2, "worker": "here", "traceback": f"Traceback {number}\nKeyError", **record,
        }  # fmt: skip
        beanstalkd.put(RECORDS, json.dumps(fields), priority=65536, ttr=120)
    client.close()


def test_buried_jobs_show_age_attempts_reason_and_payload_the_newest_first(beanstalkd, tubeherd):
    buried(beanstalkd, [{"to": "ann"}, {"to": "bob", "lines": ["x" * 40] * 3}])
    done = tubeherd("inspect", "mail")
    assert (done.returncode, done.stderr) == (0, b"")
    lines = done.stdout.decode().splitlines()
    assert re.fullmatch(r"job 3, buried \d+s ago, put \d+s ago, 2 attempts", lines[0])
    assert lines[1:9] == [
        "  KeyError: 'adress 1' (mail.py:3)",
        "  {",
        '    "to": "bob",',
        '    "lines": [',
        f'      "{"x" * 40}",',
        f'      "{"x" * 40}",',
        f'      "{"x" * 40}"',
        "    ]",
    ]
    assert lines[-1] == '  {"to": "ann"}'


def test_pages_in_a_pipe_are_chosen_by_count_and_skip(beanstalkd, tubeherd):
    buried(beanstalkd, range(5))
    first = tubeherd("inspect", "mail", "--count", "2").stdout.decode().splitlines()
    assert [line.split(",")[0] for line in first if line.startswith("job")] == ["job 9", "job 7"]
    assert first[-1] == "2 of 5 buried jobs. --skip 2 shows the next ones."
    last = tubeherd("inspect", "mail", "--count", "2", "--skip", "4").stdout.decode().splitlines()
    assert [line.split(",")[0] for line in last if line.startswith("job")] == ["job 1"]
    assert "--skip" not in last[-1]
    middle = tubeherd("inspect", "mail", "--count", "2", "--skip", "2").stdout.decode().splitlines()
    assert middle[-1] == "2 of 5 buried jobs, after the first 2. --skip 4 shows the next ones."


def test_terminal_pages_by_enter_and_ends_by_q(beanstalkd):
    buried(beanstalkd, range(5))
    arguments = [*COMMAND, "inspect", "mail", "--count", "2", "--server", beanstalkd.server]
    with Terminal(arguments, columns=60) as terminal:
        terminal.wait_for("2 of 5. Enter: more; q: end")
        terminal.send("\n")
        screen = terminal.wait_for("4 of 5. Enter: more; q: end")
        assert sum(line.startswith("job ") for line in screen) == 4
        assert max(map(len, screen)) <= 60
        terminal.send("q\n")
        assert terminal.wait() == 0
        assert "4 of 5 buried jobs. --skip 4 shows the next ones." in terminal.text()


def test_ctrl_c_between_pages_ends_without_a_traceback(beanstalkd):
    buried(beanstalkd, range(3))
    with Terminal([*COMMAND, "inspect", "mail", "--count", "1", "--server", beanstalkd.server]) as terminal:
        terminal.wait_for("Enter: more")
        terminal.send(CTRL_C)
        assert terminal.wait() == 130
        assert "Traceback" not in terminal.text()


@pytest.mark.parametrize("arguments", [["inspect", "mail"], ["inspect", "--job", "1"], ["peek", "mail"]])
def test_nothing_of_a_payload_or_reason_controls_the_terminal(beanstalkd, arguments):
    buried(beanstalkd, [HOSTILE], message=HOSTILE.decode(), place="\x1b[2J", traceback="\x1b[31m\x9b1m")
    with Terminal([*COMMAND, *arguments, "--server", beanstalkd.server]) as terminal:
        assert terminal.wait() == 0
        assert "\x1b" not in terminal.written()
        assert "mirrored" in terminal.text()  # and `Screen` refuses all else that is no text


def test_one_job_with_all_counters_payload_and_traceback(beanstalkd, tubeherd):
    buried(beanstalkd, [{"to": "ann"}])
    done = tubeherd("inspect", "--job", "1")
    assert done.returncode == 0
    text = done.stdout.decode()
    for line in ("tube       mail", "state      buried", "priority   65,536", "TTR        60 s", '{"to": "ann"}'):
        assert line in text.splitlines()
    assert text.endswith("Traceback 0\nKeyError\n")
    assert len(re.findall("^(job|tube) ", text, re.MULTILINE)) == 2
    assert "delay      0 s, when it was put" in text.splitlines()
    found = json.loads(tubeherd("inspect", "--job", "1", "--json").stdout)
    assert (found["payload"], found["buries"], found["record"]["error"]) == ({"to": "ann"}, 1, "KeyError")


def test_job_without_a_record_says_so(beanstalkd, tubeherd):
    beanstalkd.bury("mail")
    assert tubeherd("inspect", "--job", "1").stdout.endswith(b"\nNo record says why it is buried.\n")


@pytest.mark.parametrize("job", ["99", "9223372036854775808", "18446744073709551615"])
def test_job_that_is_not_there(tubeherd, job):
    done = tubeherd("inspect", "--job", job)
    assert done.returncode == 1
    assert done.stderr.startswith(f"there is no job {job}: ".encode())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], b"name either a tube, or a job by --job"),
        (["mail", "--job", "1"], b"the id of a job is enough: tubeherd inspect --job 1"),
        (["mail", "--state", "done"], b"'done' is no state of a job: write ready, reserved, delayed or buried"),
        (["mail", "--job", "one"], b"Invalid value for '--job'"),
        (["mail", "--count", "0"], b"Invalid value for '--count'"),
        (["mail", "--count", "9" * 30], b"Invalid value for '--count'"),
        (["mail", "--skip", "9" * 30], b"Invalid value for '--skip'"),
        (["mail", "--walk", "9" * 30], b"Invalid value for '--walk'"),
        (["--job", "0"], b"the id of a job is a whole number from 1 to 18446744073709551615, not 0"),
        (["--job", "-1"], b"the id of a job is a whole number from 1"),
        (["--job", "18446744073709551616"], b"the id of a job is a whole number from 1"),
        (["mail", "--server", ""], b"'' is no server"),
        (["two words"], b"'two words' is no tube name"),
        (["tubeherd.burials"], b"'tubeherd.burials' is reserved"),
    ],
)
def test_wrong_arguments_are_refused(tubeherd, arguments, said):
    done = tubeherd("inspect", *arguments)
    assert (done.returncode, done.stdout) == (2, b"")
    assert said in done.stderr
    assert b"Traceback" not in done.stderr


def test_jobs_that_were_not_found_are_counted(beanstalkd, tubeherd):
    beanstalkd.put("mail")
    beanstalkd.put_numbers("other", 30)
    beanstalkd.put("mail")
    done = tubeherd("inspect", "mail", "--state", "ready", "--walk", "10")
    assert done.stdout.decode().replace("\n", " ").endswith(
        "1 of 2 ready jobs were found among 10 job ids. A larger --walk finds more, unless the others have left the "
        "state. "
    )  # fmt: skip


def test_where_all_jobs_are_left_out_this_is_said(beanstalkd, tubeherd):
    buried(beanstalkd, range(3))
    done = tubeherd("inspect", "mail", "--skip", "3")
    assert (done.returncode, done.stdout) == (0, b"No further job: 3 of tube mail are buried.\n")


@pytest.mark.parametrize("command", [["peek", "mail"], ["inspect", "mail"]])
def test_payload_that_is_no_whole_text_hides_no_other_job(beanstalkd, tubeherd, command):
    buried(beanstalkd, ["one", b'"\\ud800"'])
    beanstalkd.put("mail", b"[" * 300 + b"]" * 300)
    done = tubeherd(*command, "--json")
    assert (done.returncode, done.stderr) == (0, b"")
    assert json.loads(done.stdout)


def test_answer_that_is_no_text_shows_the_next_page(beanstalkd):
    buried(beanstalkd, range(3))
    with Terminal([*COMMAND, "inspect", "mail", "--count", "2", "--server", beanstalkd.server]) as terminal:
        terminal.wait_for("2 of 3. Enter: more; q: end")
        terminal.send_bytes(b"\xff\n")
        assert terminal.wait() == 0
        assert "job 1, " in terminal.text()


def test_each_state_as_json(beanstalkd, tubeherd):
    beanstalkd.put("mail", b"\xff\x00", delay=100)
    found = json.loads(tubeherd("inspect", "mail", "--state", "delayed", "--json").stdout)
    assert found["counted"] == 1
    (job,) = found["jobs"]
    assert (job["payload"], job["body"], job["body_base64"], job["state"]) == (None, None, "/wA=", "delayed")


def test_peek_shows_the_next_job_in_each_state(beanstalkd, tubeherd):
    buried(beanstalkd, [{"n": 1}])
    beanstalkd.put("mail", b'{"n": 2}', priority=9)
    beanstalkd.put("mail", b'{"n": 3}', priority=3)
    done = tubeherd("peek", "mail")
    lines = done.stdout.decode().splitlines()
    assert [lines[0], lines[2], lines[3], lines[4]] == [
        "Next ready:",
        '  {"n": 3}',
        "No job is delayed.",
        "Next buried:",
    ]
    found = json.loads(tubeherd("peek", "mail", "--json").stdout)
    assert (found["ready"]["payload"], found["delayed"], found["buried"]["id"]) == ({"n": 3}, None, 1)


def test_peek_shows_why_the_next_buried_job_is_buried(beanstalkd, tubeherd):
    buried(beanstalkd, [{"n": 1}, {"n": 2}])
    lines = tubeherd("peek", "mail").stdout.decode().splitlines()
    assert lines[3].endswith(" ago, 2 attempts")
    assert lines[4:] == ["  KeyError: 'adress 0' (mail.py:3)", '  {"n": 1}']
    found = json.loads(tubeherd("peek", "mail", "--json").stdout)["buried"]
    assert found["record"]["message"] == "KeyError: 'adress 0'"


def test_id_in_place_of_a_tube_is_answered_by_the_option(tubeherd):
    done = tubeherd("inspect", "5")
    assert done.returncode == 0
    assert done.stderr.endswith(b"; tubeherd inspect --job 5 shows the job with that id\n")


def test_reader_that_goes_away_is_no_traceback(beanstalkd):
    buried(beanstalkd, ["x" * 5000] * 20)
    shell = f"{' '.join(COMMAND)} inspect mail --json --server {beanstalkd.server} | head -1"
    done = subprocess.run(["bash", "-c", shell], capture_output=True)
    assert (done.stdout, done.stderr) == (b"{\n", b"")


@pytest.mark.slow
def test_looking_changes_nothing_but_what_beanstalkd_counts_of_its_own_commands(beanstalkd, tubeherd):
    """Nor do jobs lose a place: the order in which a kick would take the buried jobs is the same."""
    buried(beanstalkd, range(3))
    beanstalkd.put_numbers("mail", 2)
    beanstalkd.put("mail", delay=1000)
    client = beanstalkd.client()
    before = counters(client)
    for arguments in (
        ["list"], ["list", "--json"], ["peek", "mail"], ["inspect", "mail"], ["inspect", "--job", "1"],
        *(["inspect", "mail", "--state", state] for state in ("ready", "reserved", "delayed")),
    ):  # fmt: skip
        assert tubeherd(*arguments).returncode == 0
    assert counters(client) == before
    client.use("mail")
    order = []
    for _ in range(3):
        order.append(client.peek_buried().id)
        client.delete(order[-1])
    assert order == [1, 3, 5]


def counters(client):
    """Return what beanstalkd counts of jobs, tube and server, without times, connections and commands."""
    passing = ("age", "time-left")
    jobs = [
        {name: value for name, value in client.stats_job(job).items() if name not in passing}
        for job in (1, 3, 5, 7, 8, 9)
    ]
    names = ("current-jobs", "total-jobs", "job-timeouts", "binlog-records")
    kept = {name: value for name, value in client.stats().items() if name.startswith(names)}
    return jobs, client.stats_tube("mail"), {name: kept[name] for name in kept if not name.startswith("binlog")}
