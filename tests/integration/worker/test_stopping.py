"""SIGTERM and SIGINT at any moment: running jobs finish, nothing further is reserved, nothing is lost."""

import json
import os
import re
import signal
import sys
import time
from pathlib import Path

import pytest

from tests.support.beanstalkd import NOTHING
from tests.support.executors import NOTING, WAITING

DOCKERFILE = Path(__file__).resolve().parents[3] / "Dockerfile.worker"


def test_idle_worker_ends_at_once(beanstalkd, run_worker):
    for_hours = "from tubeherd.slot import slot\nslot.IDLE_SECONDS = 3600\n"
    worker = run_worker(beanstalkd.server, for_hours + WAITING, "--concurrency", "4")
    worker.wait_for(lambda: beanstalkd.waiting("mail") == 4, "all slots wait")
    assert worker.stop() == 0
    assert not worker.living()
    assert not worker.lines("the slot died")


def test_running_jobs_finish_and_no_other_is_reserved(beanstalkd, run_worker):
    jobs = beanstalkd.put_numbers("mail", 20)
    worker = run_worker(beanstalkd.server, WAITING, "--concurrency", "4")
    worker.wait_for(lambda: len(worker.notes()) == 4, "four jobs run")
    worker.ask_to_stop()
    worker.process.send_signal(signal.SIGTERM)  # a second one changes nothing
    worker.allow("go")
    assert worker.exit_code() == 0
    done = [note for note in worker.notes() if note.startswith("done")]
    assert len(done) == 4
    assert len(worker.notes()) == 8
    assert beanstalkd.count("mail") == NOTHING | {"ready": 16}
    assert all(beanstalkd.stats_job(job)["reserves"] == 0 for job in jobs[4:])
    assert not worker.living()


def test_under_load_each_job_is_deleted_or_was_never_reserved(beanstalkd, run_worker):
    beanstalkd.put_numbers("mail", 3000)
    worker = run_worker(
        beanstalkd.server,
        NOTING,
        "--concurrency", "4", "--log-level", "warning",
    )  # fmt: skip
    worker.wait_for(lambda: len(worker.notes()) > 300, "the drain is under way")
    assert worker.stop() == 0
    notes = worker.notes()
    assert len(set(notes)) == len(notes) <= 3000  # all, if the machine is held up just before the stop
    assert beanstalkd.count("mail") == NOTHING | {"ready": 3000 - len(notes)}


def test_job_past_the_grace_period_is_released_unspent(beanstalkd, run_worker):
    jobs = beanstalkd.put_numbers("mail", 2)
    worker = run_worker(
        beanstalkd.server,
        """
        import signal
        from traces import note
        from tubeherd import executor
        @executor("mail")
        def mail(payload):
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            note("begun")
            while True: signal.pause()
        """,
        "--concurrency", "2", "--grace-period", "500ms",
    )  # fmt: skip
    worker.wait_for(lambda: len(worker.notes()) == 2, "both jobs run")
    assert worker.stop() == 0
    for job in jobs:
        line = worker.wait_for_line("released", job=job, delay=0)
        assert line["reason"] == "the worker had to stop before the job was done"
        stats = beanstalkd.stats_job(job)
        assert (stats["state"], stats["reserves"], stats["releases"], stats["timeouts"]) == ("ready", 1, 1, 0)
    assert not worker.living()
    successor = run_worker(beanstalkd.server, WAITING)
    successor.wait_for_notes("begun 0 attempt 1 lost 0")


def test_interruption_gives_no_spent_retry_back(beanstalkd, run_worker):
    (job,) = beanstalkd.put_numbers("mail", 1)
    options = ("--retry-delays", "1s", "--grace-period", "0s")
    worker = run_worker(beanstalkd.server, WAITING, *options)
    worker.wait_for_notes("begun 0 attempt 1 lost 0")
    worker.kill_slot()
    worker.wait_for_notes("begun 0 attempt 2 lost 0")
    assert worker.stop() == 0
    worker.wait_for_line("released", job=job, delay=1)
    successor = run_worker(beanstalkd.server, WAITING, *options)
    successor.wait_for_notes("begun 0 attempt 2 lost 0")
    successor.kill_slot()
    successor.wait_for_line("buried", job=job)
    assert successor.stop() == 0


def test_sigint_twice_waits_for_no_job(beanstalkd, run_worker):
    (job,) = beanstalkd.put_numbers("mail", 1)
    worker = run_worker(beanstalkd.server, WAITING)
    worker.wait_for(worker.notes, "the job runs")
    worker.process.send_signal(signal.SIGINT)
    worker.wait_for_line("SIGINT: no further job is reserved")
    worker.process.send_signal(signal.SIGINT)
    assert worker.exit_code() == 0
    assert beanstalkd.stats_job(job)["state"] == "ready"
    assert beanstalkd.stats_job(job)["releases"] == 1


def test_import_that_takes_long_holds_no_stop_up(beanstalkd, run_worker):
    worker = run_worker(
        beanstalkd.server,
        """
        import time
        from traces import note, wait_for
        from tubeherd import executor
        note("importing")
        wait_for("never")
        """,
    )
    worker.wait_for_notes("importing")
    assert worker.stop() == 0
    assert not worker.living()


def test_stop_before_beanstalkd_was_ever_reached(beanstalkd, run_worker):
    beanstalkd.kill()
    an_hour_later = "from tubeherd.slot.lane import Lane\nLane.next_pause = lambda lane: 3600.0\n"
    worker = run_worker(beanstalkd.server, an_hour_later + WAITING, "--concurrency", "2")
    worker.wait_for_lines("cannot reach beanstalkd", 2)
    assert worker.stop() == 0
    assert not worker.living()


FLUSHING = """
from traces import note, wait_for
from tubeherd import events, executor
@executor("mail")
def mail(payload): pass
@events.flush.connect
def write(reason, count):
    note(f"flush {reason} {count}")
    wait_for("go")
    note("flushed")
"""


def test_flush_that_runs_is_waited_for(beanstalkd, run_worker):
    beanstalkd.put_numbers("mail", 3)
    worker = run_worker(beanstalkd.server, FLUSHING, "--batch-size", "2")
    worker.wait_for_notes("flush batch 2")
    worker.ask_to_stop()
    worker.allow("go")
    assert worker.exit_code() == 0
    assert worker.notes() == ["flush batch 2", "flushed"]
    assert beanstalkd.count("mail") == NOTHING | {"ready": 1}


def test_flush_that_hangs_ends_with_the_grace_period(beanstalkd, run_worker):
    beanstalkd.put_numbers("mail", 1)
    worker = run_worker(beanstalkd.server, FLUSHING, "--grace-period", "300ms")
    worker.wait_for_notes("flush idle 1")
    assert worker.stop() == 0
    assert worker.notes() == ["flush idle 1"]
    assert beanstalkd.count("mail") == NOTHING
    assert not worker.living()


@pytest.mark.slow
def test_stop_right_after_the_start(beanstalkd, run_worker):
    """At each moment of the start, before and after the handlers of signals are set: nothing stays behind.

    No process is left, and each job was done and deleted or is ready again.
    """
    undone = set()

    def start(number):
        beanstalkd.put("mail", str(number))
        undone.add(f"done {number}")
        worker = run_worker(beanstalkd.server, WAITING, "--concurrency", "4")
        worker.wait_for(worker.living, "the process is there")
        return worker

    def stop(worker):
        os.kill(worker.process.pid, signal.SIGTERM)
        if worker.notes():  # a job runs: it is to see the stop
            worker.wait_for_line("SIGTERM")
        worker.allow("go")
        assert worker.exit_code() in (0, -signal.SIGTERM)
        worker.wait_for(lambda: not worker.living(), "nothing is left running")
        undone.difference_update(worker.notes())
        left = NOTHING | {"ready": len(undone)}
        worker.wait_for(lambda: beanstalkd.count("mail") == left, f"these jobs: {left}")

    began = time.monotonic()
    worker = start(0)
    worker.wait_for(worker.notes, "the job runs")
    seconds = time.monotonic() - began
    stop(worker)
    for moment in range(1, 6):
        worker = start(moment)
        time.sleep(seconds * moment / 5)  # the fault's own moment; nothing is awaited by it
        stop(worker)


def test_sigterm_before_the_worker_listens_is_heard_where_it_is_process_1(beanstalkd, run_worker):
    """With the entry point of the image; the kernel drops signals that process 1 has no handler for."""
    (entry_point,) = re.findall(r"^ENTRYPOINT (.*)$", DOCKERFILE.read_text(), re.MULTILINE)
    *before, command = json.loads(entry_point)
    assert command == "tubeherd"
    container = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]
    worker = run_worker(beanstalkd.server, WAITING, prefix=[*container, *before])
    worker.wait_for(worker.slots, "process 1 of the container")
    (process_1,) = worker.slots()
    program = Path(f"/proc/{process_1}/cmdline")
    worker.wait_for(lambda: program.read_bytes().startswith(sys.executable.encode()), "the worker's own program")
    os.kill(process_1, signal.SIGTERM)
    assert worker.exit_code() == 0
    assert not worker.lines("connected")


LISTENING = """
import os, time
from traces import note, wait_for
from tubeherd import events, executor
note("imported")
{at_import}
def buried(job, error, reason, attempts):
    note(f"buried {{job.id}}: {{reason}}")
    {in_listener}
events.job_buried.connect(buried)
@executor("mail")
def mail(payload):
    note(f"begun {{payload}}")
    wait_for("go")
    os._exit(9)
"""


def stop_before_a_burial(beanstalkd, run_worker, *options, at_import="", in_listener=""):
    """Stop a worker while a job runs that ends its slot then, which buries the job; return the worker."""
    source = LISTENING.format(at_import=at_import, in_listener=in_listener)
    worker = run_worker(beanstalkd.server, source, "--retry-delays", "none", *options)
    worker.wait_for(lambda: any(note.startswith("begun") for note in worker.notes()), "a job runs")
    worker.ask_to_stop()
    worker.allow("go")
    return worker


def test_burial_by_the_supervisor_while_it_stops_is_published_by_a_last_slot(beanstalkd, run_worker):
    jobs = beanstalkd.put_numbers("mail", 2)
    worker = stop_before_a_burial(beanstalkd, run_worker)
    assert worker.exit_code() == 0
    assert worker.notes() == [
        "imported",
        "begun 0",
        "imported",
        f"buried {jobs[0]}: the slot died: exit code 9",
    ]
    assert beanstalkd.count("mail") == NOTHING | {"ready": 1, "buried": 1}
    assert not worker.living()


def test_burials_of_several_slots_that_die_while_the_worker_stops_are_published(beanstalkd, run_worker):
    jobs = beanstalkd.put_numbers("mail", 3)
    worker = run_worker(
        beanstalkd.server,
        LISTENING.format(at_import="", in_listener=""),
        "--retry-delays", "none", "--concurrency", "3",
    )  # fmt: skip
    worker.wait_for_notes("begun 0", "begun 1", "begun 2")
    worker.ask_to_stop()
    worker.allow("go")
    assert worker.exit_code() == 0
    published = sorted(note for note in worker.notes() if note.startswith("buried"))
    assert published == sorted(f"buried {job}: the slot died: exit code 9" for job in jobs)
    assert not worker.living()


def test_stop_while_the_slot_that_is_to_publish_a_burial_still_starts(beanstalkd, run_worker):
    job = beanstalkd.put("mail", "1")
    at_import = 'os.path.exists(f"{os.environ[\'FOLDER\']}/go") and wait_for("import")'
    worker = run_worker(
        beanstalkd.server, LISTENING.format(at_import=at_import, in_listener=""), "--retry-delays", "none"
    )
    worker.wait_for_notes("begun 1")
    worker.allow("go")
    worker.wait_for(lambda: worker.notes().count("imported") == 2, "the next slot starts")
    worker.ask_to_stop()
    worker.allow("import")
    assert worker.exit_code() == 0
    assert worker.notes()[-1] == f"buried {job}: the slot died: exit code 9"


def test_last_slot_gets_no_more_than_the_grace_period_and_what_it_did_not_publish_is_logged(beanstalkd, run_worker):
    job = beanstalkd.put("mail", "1")
    at_import = 'os.path.exists(f"{os.environ[\'FOLDER\']}/go") and wait_for("never")'
    worker = stop_before_a_burial(beanstalkd, run_worker, "--grace-period", "3s", at_import=at_import)
    assert worker.exit_code() == 0
    worker.wait_for_line("the worker stopped before worker.job.buried was published", job=job, tube="mail")
    assert worker.notes().count("imported") <= 2  # on a busy machine the last slot may not come so far
    assert not worker.living()


FORKING_ONCE = """
import os, sys
from tubeherd import cli
fork = os.fork
def fail(): raise BlockingIOError(11, "Resource temporarily unavailable")
def fork_once():
    os.fork = fail
    return fork()
os.fork = fork_once
sys.argv = sys.argv[3:]  # without the interpreter and -m, which come before `tubeherd run`
cli.main()
"""


@pytest.mark.parametrize("end", ["grace period", "second signal"])
def test_last_slot_that_cannot_be_forked_holds_the_end_up_no_longer_than_jobs_may(beanstalkd, run_worker, end):
    job = beanstalkd.put("mail", "1")
    source = LISTENING.format(at_import="", in_listener="")
    grace = "1s" if end == "grace period" else "1h"
    options = ("--retry-delays", "none", "--grace-period", grace)
    worker = run_worker(beanstalkd.server, source, *options, prefix=[sys.executable, "-c", FORKING_ONCE])
    worker.wait_for_notes("begun 1")
    worker.allow("go")
    worker.wait_for_line("a slot could not be started (Resource temporarily unavailable); trying again in 5 s")
    worker.ask_to_stop()
    if end == "second signal":
        worker.process.send_signal(signal.SIGINT)
    assert worker.exit_code() == 0
    worker.wait_for_line("the worker stopped before worker.job.buried was published", job=job, tube="mail")
    assert beanstalkd.count("mail") == NOTHING | {"buried": 1}


def test_last_slot_that_dies_is_not_followed_by_another(beanstalkd, run_worker):
    job = beanstalkd.put("mail", "1")
    at_import = "os.path.exists(f\"{os.environ['FOLDER']}/go\") and os._exit(9)"
    worker = stop_before_a_burial(beanstalkd, run_worker, at_import=at_import)
    assert worker.exit_code() == 0
    worker.wait_for_line("the worker stopped before worker.job.buried was published", job=job, tube="mail")
    assert worker.notes().count("imported") == 2


def test_listener_that_ends_the_last_slot_is_called_once(beanstalkd, run_worker):
    beanstalkd.put("mail", "1")
    worker = stop_before_a_burial(beanstalkd, run_worker, in_listener="os._exit(4)")
    assert worker.exit_code() == 0
    assert [note.split()[0] for note in worker.notes()] == ["imported", "begun", "imported", "buried"]
