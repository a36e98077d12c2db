"""Jobs that are done by commands: exit codes are verdicts, and all that a worker promises holds as for Python."""

import os
import shlex
import sys

import pytest

from tests.support.beanstalkd import NOTHING
from tests.support.burials import burial_records
from tests.support.processes import session_of
from tubeherd.processing.deadlines import too_long_reason

NONE = ""
"""No executors in Python."""
TICKS = "while :; do echo tick $TUBEHERD_JOB_ATTEMPT >> $FOLDER/notes; sleep 0.05; done"


@pytest.fixture
def run_command(beanstalkd, run_worker, tmp_path):
    """Run a worker that does the jobs of `mail` by a shell script: `run_command(script, *options)`."""

    def start(script, *options, executors=NONE, **more):
        (tmp_path / "mail.sh").write_text(script)
        command = ("--command", f"mail=sh {tmp_path}/mail.sh")
        return run_worker(beanstalkd.server, executors, *command, *options, **more)

    return start


def alive(worker):
    """Return the processes that commands have noted as `pid N` and that still run."""
    pids = [int(note.split()[1]) for note in worker.notes() if note.startswith("pid ")]
    return [pid for pid in pids if session_of(pid)]


def test_exit_code_is_the_verdict(beanstalkd, run_command):
    script = 'read code; case $code in KILL) kill -9 $$;; *) echo "first\nlast" >&2; exit $code;; esac'
    jobs = {code: beanstalkd.put("mail", code) for code in ("0", "75", "100", "3", "KILL", "255")}
    worker = run_command(script, "--retry-delays", "none", "--reschedule-delay", "90s")
    worker.wait_for_line("deleted", job=jobs["0"])
    line = worker.wait_for_line("released", job=jobs["75"])
    assert (line["delay"], line["reason"]) == (90, "exit code 75: first last")
    worker.wait_for_lines("buried", 4)
    records = {record["job"]: record for record in burial_records(beanstalkd)}
    assert {
        code: (records[job]["kind"], records[job]["error"], records[job]["message"])
        for code, job in jobs.items()
        if job in records
    } == {
        "100": ("rejected", "CommandRejected", "exit code 100: first last"),
        "3": ("exception", "CommandFailed", "CommandFailed: exit code 3: first last"),
        "KILL": ("exception", "CommandFailed", "CommandFailed: killed by signal 9 (SIGKILL)"),
        "255": ("exception", "CommandFailed", "CommandFailed: exit code 255: first last"),
    }
    assert records[jobs["3"]]["traceback"] == "first\nlast"
    assert {record["place"] for record in records.values()} == {f"sh {worker.folder.parent}/mail.sh"}
    assert "first\nlast\n" in worker.output()  # standard error is passed on


def test_failure_is_tried_again_and_an_interruption_or_75_spends_nothing(beanstalkd, run_command):
    script = 'echo "attempt $TUBEHERD_JOB_ATTEMPT" >> $FOLDER/notes; cat $FOLDER/code > /dev/null && exit 0; exit 3'
    job = beanstalkd.put("mail", "1")
    worker = run_command(script, "--retry-delays", "0s")
    worker.wait_for_line("failed, retry later", job=job)
    worker.wait_for_line("buried", job=job)
    assert worker.notes() == ["attempt 1", "attempt 2"]


def test_body_is_on_standard_input_and_facts_are_in_the_environment(beanstalkd, run_command):
    body = bytes(range(256)) * 250
    job = beanstalkd.put("mail", body, priority=9)
    worker = run_command("cat > $FOLDER/body; env > $FOLDER/env; pwd > $FOLDER/pwd")
    worker.wait_for_line("deleted", job=job)
    assert (worker.folder / "body").read_bytes() == body
    facts = dict(line.split("=", 1) for line in (worker.folder / "env").read_text().splitlines() if "_JOB_" in line)
    assert {name: text for name, text in facts.items() if name != "TUBEHERD_JOB_AGE"} == {
        "TUBEHERD_JOB_ID": str(job),
        "TUBEHERD_JOB_TUBE": "mail",
        "TUBEHERD_JOB_ATTEMPT": "1",
        "TUBEHERD_JOB_PRIORITY": "9",
        "TUBEHERD_JOB_LOST_DELIVERIES": "0",
    }
    assert (worker.folder / "pwd").read_text().strip() == os.getcwd()


@pytest.mark.parametrize(
    ("script", "event", "reason"),
    [
        ("exit 0", "deleted", None),  # does not read
        ("exec 0<&-; exit 0", "deleted", None),
        ("exec 0<&- 1>&- 2>&-; exit 3", "buried", "CommandFailed: exit code 3"),
        ("setsid sleep 1000 & exit 0", "deleted", None),  # holds standard error open
        ("head -c 30000000 /dev/zero | tr '\\0' 'x' >&2; exit 3", "buried", "CommandFailed: exit code 3: xxx"),
        ("yes | head -c 6000000 >&2; echo last >&2; exit 3", "buried", "CommandFailed: exit code 3: y y y"),
        ("printf '\\377\\033[31mred\\a\\n' >&2; exit 3", "buried", "CommandFailed: exit code 3: \ufffd [31mred"),
    ],
    ids=["reads-nothing", "no-stdin", "no-streams", "daemon", "one-long-line", "many-lines", "no-text"],
)
def test_whatever_a_command_does_with_its_streams_the_job_gets_its_verdict(
    beanstalkd, run_command, script, event, reason
):
    job = beanstalkd.put("mail", b"x" * 65_000)
    worker = run_command(script, "--retry-delays", "none", "--max-memory", "150Mi")
    line = worker.wait_for_line(event, job=job)
    assert worker.lines("", level="error") == ([] if reason is None else [line])
    assert (line.get("reason") or "").startswith(reason or "")
    assert len(line.get("reason") or "") <= 500
    assert len(line.get("traceback") or "") <= 4096


IGNORES = "trap '' TERM; echo pid $$ >> $FOLDER/notes; "
LATE = {
    "itself": "sleep 1000",
    "ignores SIGTERM": IGNORES + TICKS,
    "in the background": f"({TICKS}) & sleep 1000",
    "ignores it in the background": f'sh -c "{IGNORES}{TICKS.replace("$", chr(92) + "$")}" & sleep 1000',
    "a daemon": f"setsid sh -c '{TICKS}' & sleep 1000",
    "a daemon whose parent has ended": f"(setsid sh -c '{TICKS}' &); sleep 1000",
    "job control": f"set -m; ({TICKS}) & sleep 1000",
}


@pytest.mark.slow
@pytest.mark.parametrize("options", [(), ("--async-concurrency", "4")], ids=["sequential", "concurrent"])
@pytest.mark.parametrize("what", LATE)
def test_all_of_a_late_command_is_gone_before_its_next_attempt(beanstalkd, run_command, what, options):
    script = f"""
        [ $TUBEHERD_JOB_ATTEMPT = 1 ] || {{ echo next >> $FOLDER/notes; sleep 0.3; echo end >> $FOLDER/notes; exit; }}
        echo pid $$ >> $FOLDER/notes
        {LATE[what]}"""
    job = beanstalkd.put("mail", "1", ttr=2)
    worker = run_command(script, "--retry-delays", "0s", *options)
    line = worker.wait_for_line("failed, retry later", job=job)
    assert line["reason"] == too_long_reason(2)
    assert line["at"].endswith("mail.sh")
    worker.wait_for_line("deleted", job=job)
    notes = worker.notes()
    assert notes[notes.index("next") :] == ["next", "end"]
    assert alive(worker) == []
    assert worker.lines("stopped at its deadline, but") == []  # the slot goes on
    assert worker.stop() == 0
    assert beanstalkd.count("mail") == NOTHING


def test_late_command_costs_those_beside_it_nothing(beanstalkd, run_command):
    script = """
        echo begun $TUBEHERD_JOB_ID $TUBEHERD_JOB_ATTEMPT >> $FOLDER/notes
        (sleep 1000 &)
        while ! [ -e $FOLDER/go ]; do sleep 0.05; done"""
    late = beanstalkd.put("mail", "1", ttr=2)
    others = [beanstalkd.put("mail", "1") for _ in range(3)]
    worker = run_command(script, "--async-concurrency", "4", "--retry-delays", "none")
    worker.wait_for_line("buried", job=late)
    worker.allow("go")
    for job in others:
        worker.wait_for_line("deleted", job=job)
    assert sorted(worker.notes()) == sorted(f"begun {job} 1" for job in [late, *others])
    assert worker.lines("stopped at its deadline, but") == []


@pytest.mark.parametrize("what", ["sleep 1000", f"(setsid sh -c '{TICKS}' &) ; {TICKS}"], ids=["plain", "daemon"])
def test_slot_killed_in_the_middle_leaves_nothing_of_a_command(beanstalkd, run_command, what):
    script = f"""
        [ $TUBEHERD_JOB_ATTEMPT = 1 ] || {{ echo next >> $FOLDER/notes; sleep 0.3; echo end >> $FOLDER/notes; exit; }}
        echo pid $$ >> $FOLDER/notes
        {what}"""
    job = beanstalkd.put("mail", "1")
    worker = run_command(script, "--retry-delays", "0s")
    worker.wait_for(lambda: any(note.startswith("pid") for note in worker.notes()), "the command")
    worker.kill_slot()
    line = worker.wait_for_line("failed, retry later", job=job)
    assert line["reason"] == "the slot died: signal 9 (SIGKILL)"
    worker.wait_for_line("deleted", job=job)
    notes = worker.notes()
    assert notes[notes.index("next") :] == ["next", "end"]
    assert alive(worker) == []


def test_worker_that_stops_lets_a_command_finish(beanstalkd, run_command):
    job = beanstalkd.put("mail", "1")
    worker = run_command("echo begun >> $FOLDER/notes; while ! [ -e $FOLDER/go ]; do sleep 0.05; done")
    worker.wait_for_notes("begun")
    worker.ask_to_stop()
    worker.allow("go")
    assert worker.exit_code() == 0
    assert worker.lines("deleted", job=job)


def test_memory_of_a_command_counts(beanstalkd, run_command):
    job = beanstalkd.put("mail", "1")
    code = "import time; kept = bytearray(b'x') * (150 << 20); time.sleep(1000)"
    script = f"echo pid $$ >> $FOLDER/notes; exec {sys.executable} -c {shlex.quote(code)}"
    worker = run_command(script, "--max-memory", "120Mi", "--retry-delays", "none")
    line = worker.wait_for_line("buried", job=job)
    assert line["reason"].startswith("memory limit passed")
    assert worker.notes()
    assert alive(worker) == []


def test_many_commands_run_at_a_time_in_one_slot(beanstalkd, run_command):
    script = """
        touch $FOLDER/begun.$TUBEHERD_JOB_ID
        while [ $(ls $FOLDER | grep -c begun) -lt 8 ]; do sleep 0.05; done"""
    jobs = [beanstalkd.put("mail", "1") for _ in range(8)]
    worker = run_command(script, "--async-concurrency", "8")
    for job in jobs:
        worker.wait_for_line("deleted", job=job)


def test_command_that_is_not_there_stops_the_worker_and_no_job_is_taken(beanstalkd, run_worker):
    job = beanstalkd.put("mail", "1")
    worker = run_worker(beanstalkd.server, NONE, "--command", "mail=no-such-program --password s3cret")
    assert worker.exit_code() == 3
    (line,) = worker.lines("the command of tube 'mail' cannot be run: 'no-such-program' was not found")
    assert line["level"] == "error"
    assert "s3cret" not in worker.output()
    assert beanstalkd.stats_job(job)["reserves"] == 0


def test_file_that_is_no_program_fails_its_job(beanstalkd, run_worker, tmp_path):
    program = tmp_path / "mail"
    program.write_bytes(b"\x7fELF no program")
    program.chmod(0o755)
    job = beanstalkd.put("mail", "1")
    worker = run_worker(beanstalkd.server, NONE, "--command", f"mail={program}", "--retry-delays", "none")
    line = worker.wait_for_line("buried", job=job)
    assert line["reason"] == "CommandFailed: it could not be started: Exec format error"


def test_job_is_not_done_if_nobody_knows_the_exit_code(beanstalkd, run_command):
    job = beanstalkd.put("mail", "1")
    code = "import signal; signal.signal(signal.SIGCHLD, signal.SIG_IGN)"  # the kernel reads the exit codes then
    worker = run_command("exit 3", "--retry-delays", "none", executors=code)
    line = worker.wait_for_line("buried", job=job)
    assert line["reason"] == "CommandFailed: its exit code was read by other code of its slot"


def test_secrets_of_a_command_are_in_no_log_line_and_no_record(beanstalkd, run_worker):
    job = beanstalkd.put("mail", "1")
    options = ("--command", "mail=sh -c 'exit 3' --password=s3cret", "--retry-delays", "none", "--log-level", "debug")
    worker = run_worker(beanstalkd.server, NONE, *options)
    worker.wait_for_line("buried", job=job)
    assert "s3cret" not in worker.output()
    (record,) = burial_records(beanstalkd)
    assert "s3cret" not in str(record)


def test_without_details_nothing_that_a_command_writes_is_in_reason_or_record(beanstalkd, run_command):
    job = beanstalkd.put("mail", "1")
    worker = run_command("echo s3cret >&2; exit 3", "--retry-delays", "none", "--error-detail", "place")
    line = worker.wait_for_line("buried", job=job)
    assert (line["reason"], line.get("traceback")) == ("CommandFailed", None)
    assert "s3cret" not in str(burial_records(beanstalkd))
