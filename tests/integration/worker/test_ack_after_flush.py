"""`--ack-after-flush`: jobs are deleted only after the listeners of worker.flush have returned."""

import os
import random
import signal
import sqlite3
import time
from contextlib import closing, suppress

import pytest

from tests.support.beanstalkd import NOTHING

BATCHES = """
import os, signal, time
from traces import FOLDER, note, wait_for
from tubeherd import Job, Reschedule, events, executor
rows = []
@executor("rows")
def collect(payload: dict, job: Job):
    note(f"ran {payload['row']}")
    exec(payload.get("code", ""))
    rows.append(payload["row"])
@events.flush.connect
def write(reason, count):
    batch, rows[:] = list(rows), []
    note(f"flush {reason} {batch}")
    if (FOLDER / "refuse").exists(): raise OSError("no space left")
    if (FOLDER / "die").exists(): os.kill(os.getpid(), signal.SIGKILL)
    if (FOLDER / "hold").exists(): wait_for("go")
    note(f"flushed {batch}")
"""


@pytest.fixture
def put(beanstalkd):
    """Put a job with a row for the batch, and code to run before."""
    return lambda row, code="", ttr=60: beanstalkd.put_json("rows", {"row": row, "code": code}, ttr=ttr)


def run(run_worker, beanstalkd, *options, executors=BATCHES):
    return run_worker(beanstalkd.server, executors, "--ack-after-flush", *options)


def flushes(worker):
    return [note for note in worker.notes() if note.startswith("flush ")]


def test_jobs_are_deleted_only_when_their_batch_was_flushed(beanstalkd, run_worker, put):
    for row in range(5):
        put(row)
    worker = run(run_worker, beanstalkd, "--batch-size", "3")
    worker.allow("hold")
    worker.wait_for_notes("flush batch [0, 1, 2]")
    assert beanstalkd.count("rows") == NOTHING | {"ready": 2, "reserved": 3}
    assert not worker.lines("deleted")
    worker.allow("go")
    worker.wait_for_lines("deleted", 5)
    assert beanstalkd.count("rows") == NOTHING
    assert flushes(worker) == ["flush batch [0, 1, 2]", "flush idle [3, 4]"]
    assert worker.stop() == 0


def test_listener_that_raises_fails_every_job_of_its_batch_and_stops_the_worker(beanstalkd, run_worker, put):
    jobs = [put(row) for row in range(3)]
    failing = put(3, "raise ValueError(row)")
    worker = run(run_worker, beanstalkd, "--batch-size", "4", "--retry-delays", "7m")
    worker.allow("refuse")
    assert worker.exit_code() == 1
    reason = "a listener of worker.flush raised OSError: no space left"
    assert {line["job"]: line["reason"] for line in worker.lines("failed, retry later", delay=421)} == {
        **dict.fromkeys(jobs, reason),
        failing: "NameError: name 'row' is not defined",
    }
    assert beanstalkd.count("rows") == NOTHING | {"delayed": 4}
    assert {beanstalkd.stats_job(job)["delay"] for job in jobs} == {421}


def test_listener_that_raises_after_the_last_retry_buries_the_batch(beanstalkd, run_worker, put):
    put(0)
    put(1)
    worker = run(run_worker, beanstalkd, "--retry-delays", "none")
    worker.allow("refuse")
    assert worker.exit_code() == 1
    assert beanstalkd.count("rows") == NOTHING | {"buried": 2}
    assert len(worker.lines("buried", reason="a listener of worker.flush raised OSError: no space left")) == 2


def test_failures_by_a_flush_whose_verdicts_are_lost_are_published(interceptor, beanstalkd, run_worker, put):
    told = "@events.job_failed.connect\ndef failed(job, error, reason, attempts): note(f'failed {job.id}: {reason}')\n"
    jobs = [put(row) for row in range(3)]
    interceptor.answers["release"] = [b"INTERNAL_ERROR"]
    options = ("--ack-after-flush", "--batch-size", "3", "--retry-delays", "7m")
    worker = run_worker(interceptor.server, BATCHES + told, *options)
    worker.allow("refuse")
    assert worker.exit_code() == 1
    reason = "a listener of worker.flush raised OSError: no space left"
    assert [note for note in worker.notes() if note.startswith("failed")] == [f"failed {job}: {reason}" for job in jobs]
    lost = worker.lines("executed, but its verdict was lost: it may run again", reason=reason)
    assert {line["job"] for line in lost} >= {jobs[0]}
    assert not worker.lines("executed, but the connection broke before it was deleted")


@pytest.mark.parametrize(
    ("option", "payload"), [("--log-payloads", '{"row": 7, "code": ""}'), ("--batch-size=100", None)]
)
def test_job_that_a_flush_fails_is_logged_with_its_payload_if_the_setting_says_so(
    beanstalkd, run_worker, put, option, payload
):
    job = put(7)
    worker = run(run_worker, beanstalkd, option)
    worker.allow("refuse")
    assert worker.exit_code() == 1
    (line,) = worker.lines("failed, retry later", job=job)
    assert line.get("payload") == payload


def test_other_verdicts_do_not_wait_for_the_flush(beanstalkd, run_worker, put):
    put(0)
    put(1, "raise Reschedule('1 hour')")
    put(2, "wait_for('go')")
    worker = run(run_worker, beanstalkd)
    worker.wait_for_line("released", delay=3600)
    worker.wait_for_notes("ran 2")
    assert beanstalkd.count("rows") == NOTHING | {"reserved": 2, "delayed": 1}
    worker.allow("go")
    worker.wait_for(lambda: flushes(worker) == ["flush idle [0, 2]"], "the flush")
    assert worker.stop() == 0


@pytest.mark.slow
def test_leases_of_waiting_jobs_are_kept_while_another_runs_and_while_listeners_do(beanstalkd, run_worker, put):
    """Each takes longer than the TTR of the jobs that wait."""
    jobs = [put(row, ttr=3) for row in range(3)]
    jobs.append(put(3, "time.sleep(3.5)"))
    worker = run(run_worker, beanstalkd, "--batch-size", "4", "--job-timeout", "30s")
    worker.allow("hold")
    worker.wait_for_line("connected")
    begun = time.monotonic()
    worker.wait_for_notes("flush batch [0, 1, 2, 3]")
    worker.wait_for(
        lambda: time.monotonic() > begun + 7, "longer than two TTRs"
    )  # of the flush; nothing else awaits it
    assert beanstalkd.count("rows") == NOTHING | {"reserved": 4}
    worker.allow("go")
    worker.wait_for(lambda: sorted(line["job"] for line in worker.lines("deleted")) == jobs, "all are deleted")
    assert beanstalkd.count("rows") == NOTHING
    assert not worker.lines("lease was gone")
    assert [note for note in worker.notes() if note.startswith("ran")] == [f"ran {row}" for row in range(4)]
    assert worker.stop() == 0


def test_batch_is_flushed_early_when_half_a_lease_is_gone(beanstalkd, run_worker, put):
    put(0, ttr=4)
    for row in range(1, 12):
        put(row, "time.sleep(0.25)")
    worker = run(run_worker, beanstalkd, "--batch-size", "1000")
    worker.wait_for_lines("deleted", 12)
    first, *_ = flushes(worker)
    assert first.startswith("flush batch [0, 1, 2")
    assert "11" not in first
    assert not worker.lines("lease was gone")
    assert worker.stop() == 0


def test_batch_is_flushed_at_recycling(beanstalkd, run_worker, put):
    for row in range(4):
        put(row)
    worker = run(run_worker, beanstalkd, "--batch-size", "100", "--max-jobs", "3")
    worker.wait_for(lambda: beanstalkd.count("rows") == NOTHING, "all are deleted")
    assert flushes(worker) == ["flush end [0, 1, 2]", "flush idle [3]"]
    assert worker.stop() == 0


def test_batch_is_flushed_on_sigterm(beanstalkd, run_worker, put):
    put(0)
    put(1, "wait_for('go')")
    put(2)
    worker = run(run_worker, beanstalkd)
    worker.wait_for_notes("ran 1")
    worker.ask_to_stop()
    worker.allow("go")
    assert worker.exit_code() == 0
    assert flushes(worker) == ["flush end [0, 1]"]
    assert beanstalkd.count("rows") == NOTHING | {"ready": 1}


@pytest.mark.slow
@pytest.mark.parametrize(("command", "event"), [("delete", "deleted"), ("bury", "buried")])
def test_last_flush_takes_its_time_if_beanstalkd_is_slow_but_answers(
    interceptor, beanstalkd, run_worker, put, command, event
):
    """All its answers together take longer than the supervisor waits for one while it stops."""

    def slowly(line):
        time.sleep(0.05)  # how slow beanstalkd is; nothing is awaited by it
        return line

    interceptor.others[command] = slowly
    for row in range(40):
        put(row)
    put(40, "wait_for('go')")
    worker = run(run_worker, interceptor, "--batch-size", "1000", "--retry-delays", "none", "--burial-records", "off")
    worker.wait_for(lambda: beanstalkd.count("rows") == NOTHING | {"reserved": 41}, "all wait for the flush")
    worker.wait_for_notes("ran 40")
    worker.ask_to_stop()
    if command == "bury":
        worker.allow("refuse")
    worker.allow("go")
    worker.exit_code()
    assert len(worker.lines(event)) == 41
    assert beanstalkd.count("rows") == NOTHING | {"buried": 41 if command == "bury" else 0}


def test_slot_killed_in_a_flush_fails_the_batch_and_in_a_job_only_that(beanstalkd, run_worker, put):
    first = put(0)
    second = put(1, "wait_for('go')")
    worker = run(run_worker, beanstalkd, "--retry-delays", "7m")
    worker.wait_for_notes("ran 1")
    worker.kill_slot()
    line = worker.wait_for_line("released", job=first, delay=0)
    assert line["reason"] == "executed, but not flushed: the slot died: signal 9 (SIGKILL)"
    worker.wait_for_line("failed, retry later", job=second)
    worker.wait_for_line("deleted", job=first)
    worker.allow("die")
    third = put(2)
    line = worker.wait_for_line("failed, retry later", job=third)
    assert line["reason"] == "the slot died: signal 9 (SIGKILL)"
    assert beanstalkd.stats_job(third)["reserves"] == 1
    assert worker.stop() == 0


def test_process_that_a_listener_forks_says_nothing_for_its_slot(beanstalkd, run_worker, put):
    """The child comes back from the listener, which still runs in the slot: its death there fails the batch."""
    listener = """
    import os, signal, sys
    from tubeherd import events, executor
    @executor("rows")
    def collect(payload): pass
    @events.flush.connect
    def write(reason, count):
        child = os.fork()
        if child == 0:
            sys.exit(0)
        os.waitpid(child, 0)
        os.kill(os.getpid(), signal.SIGKILL)
    """
    job = put(1)
    worker = run_worker(beanstalkd.server, listener, "--ack-after-flush")
    line = worker.wait_for_line("failed, retry later", job=job)
    assert line["reason"] == "the slot died: signal 9 (SIGKILL)"
    assert worker.lines("released") == []
    assert worker.stop() == 0


def test_connection_that_breaks_before_the_flush_brings_the_jobs_back(beanstalkd, run_worker, put):
    first = put(0)
    put(1, "wait_for('go')")
    worker = run(run_worker, beanstalkd)
    worker.wait_for_notes("ran 1")
    beanstalkd.kill()
    worker.allow("go")
    worker.wait_for_line("executed, but the connection broke before it was deleted", job=first)
    beanstalkd.start()
    worker.wait_for(lambda: beanstalkd.count("rows") == NOTHING, "both are deleted")
    assert sorted(note for note in worker.notes() if note.startswith("ran")) == ["ran 0", "ran 0", "ran 1", "ran 1"]
    assert worker.stop() == 0


COROUTINES = """
import asyncio
from traces import FOLDER, note
from tubeherd import events, executor
@executor("rows")
async def collect(payload):
    note(f"ran {payload['row']}")
    while not (FOLDER / f"go {payload['row']}").exists(): await asyncio.sleep(0.005)
@events.flush.connect
def write(reason, count):
    note(f"flush {reason} {count}")
"""


def test_flush_that_finds_the_connection_of_another_lane_broken_keeps_its_own(beanstalkd, proxy, run_worker, put):
    options = ("--ack-after-flush", "--async-concurrency", "2", "--batch-size", "2")
    worker = run_worker(proxy.server, COROUTINES, *options)
    deferred = put(0)
    worker.wait_for_notes("ran 0")  # on the first connection
    flushing = put(1)
    worker.wait_for_notes("ran 1")
    put(2)
    worker.allow("go 0")
    worker.wait_for_notes("ran 2")  # on the first connection, which still has the job 0
    proxy.broken.add(1)
    worker.allow("go 1")
    worker.wait_for_line("executed, but the connection broke before it was deleted", job=deferred)
    worker.wait_for_line("deleted", job=flushing)
    worker.allow("go 3")
    put(3)
    worker.wait_for(lambda: "ran 3" in worker.notes() or worker.notes().count("ran 0") == 2, "the next job runs")
    assert len(worker.lines("connected")) == 2
    worker.allow("go 2")
    worker.wait_for(lambda: beanstalkd.count("rows") == NOTHING, "all are deleted")
    assert worker.stop() == 0


def test_without_a_listener_jobs_are_deleted_at_once(beanstalkd, run_worker, put):
    put(0)
    put(1, "wait_for('go')")
    worker = run(run_worker, beanstalkd, executors=BATCHES.replace("@events.flush.connect", ""))
    worker.wait_for_notes("ran 1")
    worker.wait_for(lambda: beanstalkd.count("rows") == NOTHING | {"reserved": 1}, "the first is deleted")
    worker.allow("go")
    worker.wait_for(lambda: beanstalkd.count("rows") == NOTHING, "the second is deleted")
    assert worker.stop() == 0


ROWS = """
import sqlite3
from traces import FOLDER
from tubeherd import events, executor
rows = []
@executor("rows")
def collect(payload: dict): rows.append(payload["row"])
@events.flush.connect
def write(reason, count):
    with sqlite3.connect(FOLDER / "rows.db", timeout=30) as database:
        database.executemany("INSERT OR IGNORE INTO rows VALUES (?)", [(row,) for row in rows])
    database.close()
    rows.clear()
"""


@pytest.mark.slow
def test_every_row_is_there_whatever_is_killed(beanstalkd, run_worker, put):
    """Slots, supervisors and beanstalkd are killed at random while rows are written to a database in batches."""
    total = 3000
    for row in range(total):
        put(row)
    dice = random.Random(4)  # noqa: S311
    options = ("--batch-size", "20", "--concurrency", "2", "--log-level", "warning", "--max-lost-deliveries", "0",
               "--retry-delays", "1s,2s,3s,4s,5s")  # fmt: skip
    workers = [run(run_worker, beanstalkd, *options, executors=ROWS)]
    path = workers[0].folder / "rows.db"
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("CREATE TABLE rows (row INTEGER PRIMARY KEY)")

    def written():
        with closing(sqlite3.connect(path)) as database:
            return database.execute("SELECT count(*) FROM rows").fetchone()[0]

    def kill_something():
        worker, what = workers[-1], dice.choice(["slot", "slot", "slot", "supervisor", "beanstalkd"])
        if what == "beanstalkd":
            beanstalkd.kill()
            beanstalkd.start()
        elif what == "supervisor":
            worker.kill_supervisor()
            worker.wait_for(lambda: not worker.living(), "its slots have ended")
            workers.append(
                run(run_worker, beanstalkd, *options, executors=ROWS.replace("FOLDER /", f"'{path.parent}/' +"))
            )
        else:
            for slot in worker.slots()[:1]:
                with suppress(ProcessLookupError):
                    os.kill(slot, signal.SIGKILL)

    for _ in range(12):
        seen = written()
        if seen == total:
            break
        workers[-1].wait_for(lambda seen=seen: written() > seen or seen == total, "rows are written")
        time.sleep(dice.uniform(0, 0.05))  # the fault's own moment; nothing is awaited by it
        kill_something()
    workers[-1].wait_for(lambda: beanstalkd.count("rows") == NOTHING, "the tube is empty")
    assert written() == total
    assert workers[-1].stop() == 0
