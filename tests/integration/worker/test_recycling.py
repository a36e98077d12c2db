"""A slot is replaced between jobs, in place: its connection goes on, no lease is lost, no process or file is left."""

import os
from contextlib import suppress
from itertools import count
from pathlib import Path

import pytest

from tests.support.beanstalkd import NOTHING

NOTING = """
import os
from traces import note
from tubeherd import Job, executor
@executor("mail")
def mail(payload, job: Job): note(f"{payload} in {os.getpid()} lost {job.lost_deliveries}")
"""


def open_files(pid):
    return sorted(os.readlink(f"/proc/{pid}/fd/{fd}").partition(":")[0] for fd in os.listdir(f"/proc/{pid}/fd"))


def resident(pid):
    with open(f"/proc/{pid}/statm") as fields:
        return int(fields.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_after_max_jobs_another_process_goes_on_with_the_same_connection(beanstalkd, run_worker):
    jobs = beanstalkd.put_numbers("mail", 10)
    worker = run_worker(beanstalkd.server, NOTING, "--max-jobs", "3")
    worker.wait_for_lines("deleted", 10)
    connections = beanstalkd.stats()["total-connections"]
    beanstalkd.put_numbers("mail", 1, first=10)
    worker.wait_for_lines("deleted", 11)
    notes = [note.split() for note in worker.notes()]
    assert [note[0] for note in notes] == [str(number) for number in range(11)]
    pids = [note[2] for note in notes]
    assert [pids.count(pid) for pid in dict.fromkeys(pids)] == [3, 3, 3, 2]
    assert {note[4] for note in notes} == {"0"}
    assert len(worker.lines("connected")) == 1
    assert beanstalkd.stats()["total-connections"] == connections
    assert beanstalkd.stats()["cmd-reserve-with-timeout"] < 30
    assert beanstalkd.stats()["job-timeouts"] == 0
    assert jobs == sorted(line["job"] for line in worker.lines("deleted"))[:10]
    assert worker.stop() == 0


def test_idle_slot_is_recycled_after_max_time(beanstalkd, run_worker):
    worker = run_worker(beanstalkd.server, NOTING, "--max-time", "1s")
    worker.wait_for_line("slot recycled between jobs")
    beanstalkd.put_numbers("mail", 1)
    worker.wait_for_line("deleted")
    assert len(worker.lines("connected")) == 1
    assert worker.notes()[0].endswith("lost 0")
    assert worker.stop() == 0


def test_slot_has_no_locks_but_its_own(beanstalkd, run_worker):
    worker = run_worker(beanstalkd.server, NOTING, "--concurrency", "4", "--async-concurrency", "3")
    worker.wait_for_lines("connected", 4)
    maps = [Path(f"/proc/{slot}/maps").read_text() for slot in worker.slots()]
    assert [text.count("/dev/shm/sem.") for text in maps] == [3] * 4
    assert worker.stop() == 0


def test_on_limit_stop_ends_the_worker_with_exit_code_0(beanstalkd, run_worker):
    beanstalkd.put_numbers("mail", 9)
    by_jobs = run_worker(beanstalkd.server, NOTING, "--max-jobs", "2", "--on-limit", "stop", "--concurrency", "2")
    assert by_jobs.exit_code() == 0
    assert len(by_jobs.notes()) == 4
    assert beanstalkd.count("mail") == NOTHING | {"ready": 5}
    by_time = run_worker(beanstalkd.server, NOTING, "--max-time", "1s", "--on-limit", "stop")
    assert by_time.exit_code() == 0
    assert len(by_time.notes()) + beanstalkd.count("mail")["ready"] == 5  # the second may be over before a job begins
    assert not by_time.living()


@pytest.mark.slow
def test_two_hundred_recyclings_leave_nothing_behind(beanstalkd, run_worker, address):
    beanstalkd.put_numbers("mail", 10)
    worker = run_worker(beanstalkd.server, NOTING, "--max-jobs", "1", "--concurrency", "2", "--health", address)
    supervisor = worker.process.pid

    def at_rest():
        return len(worker.slots()) == 2 and beanstalkd.waiting("mail") == 2

    worker.wait_for(lambda: len(worker.notes()) == 10 and at_rest(), "ten recyclings")
    files, slot_files, size = open_files(supervisor), open_files(worker.slots()[0]), resident(supervisor)
    beanstalkd.put_numbers("mail", 190, first=10)
    worker.wait_for(lambda: len(worker.notes()) == 200 and at_rest(), "200 recyclings")
    assert len(worker.lines("slot recycled between jobs")) == 200
    assert open_files(supervisor) == files
    assert open_files(worker.slots()[0]) == slot_files
    assert resident(supervisor) < size + (1 << 20)
    assert len({note.split()[2] for note in worker.notes()}) == 200
    worker.wait_for(lambda: not list(Path("/dev/shm").glob("sem.tubeherd-*")), "no lock has a name any more")
    assert len(worker.living()) == 3
    assert len(worker.lines("connected")) == 2
    # What a slot has open is its own: its tally (mmap keeps a second file), its connection, its control socket.
    assert slot_files.count("/memfd") == 2
    assert slot_files.count("socket") == 2
    assert worker.stop() == 0


def test_limit_that_every_new_slot_passes_stops_no_work(beanstalkd, run_worker):
    beanstalkd.put_numbers("mail", 3)
    # Above the soft share of 193 MiB, below the hard one of 227, and for long enough to be seen.
    ballast = "import time\nballast = bytearray(b'x') * (185 << 20)\ntime.sleep(0.3)\n"
    worker = run_worker(beanstalkd.server, NOTING + ballast, "--max-memory", "256Mi", "--concurrency", "1")
    worker.wait_for_lines("deleted", 3)
    worker.wait_for_line("slot recycled between jobs")
    assert worker.stop() == 0


def test_import_that_kills_the_slot_ends_the_worker_with_its_reason(beanstalkd, run_worker):
    beanstalkd.put_numbers("mail", 1)
    worker = run_worker(beanstalkd.server, "import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)\n")
    assert worker.exit_code() == 3
    worker.wait_for_line("the slot died: signal 11 (SIGSEGV) while it imported the executors, 5 times in a row")
    assert beanstalkd.count("mail") == NOTHING | {"ready": 1}


def test_import_that_fails_after_a_recycling_ends_the_worker(beanstalkd, run_worker):
    worker = run_worker(beanstalkd.server, NOTING, "--max-jobs", "1")
    worker.wait_for_line("connected")
    (worker.folder / "executors_under_test.py").write_text("this is no Python")
    beanstalkd.put_numbers("mail", 2)
    assert worker.exit_code() == 3
    worker.wait_for_line("executors_under_test cannot be imported: SyntaxError")
    assert beanstalkd.count("mail") == NOTHING | {"ready": 1}


def test_killed_slots_get_their_connection_and_their_files_back(beanstalkd, run_worker):
    worker = run_worker(beanstalkd.server, NOTING)
    files = None
    for number in range(10):
        beanstalkd.put_numbers("mail", 1, first=number)  # a slot that has begun a job is replaced at once
        worker.wait_for(lambda number=number: len(worker.notes()) == number + 1, "the job is done")
        worker.wait_for(lambda: beanstalkd.waiting("mail") == 1, "the slot waits")
        files = files or open_files(worker.process.pid)
        slot = worker.kill_slot()
        worker.wait_for(lambda slot=slot: worker.slots() not in ([], [slot]), "another slot")
    worker.wait_for(lambda: beanstalkd.waiting("mail") == 1, "the slot waits")
    # Fewer may be open: the supervisor reads a file now and then, and may have had one open at first.
    worker.wait_for(lambda: open_files(worker.process.pid) <= files, "no more files are open than at first")
    assert worker.stop() == 0


def test_on_limit_stop_counts_the_jobs_that_killed_their_slots(beanstalkd, run_worker):
    for body in (b"0", b'"die"', b"1", b"2"):
        beanstalkd.put("mail", body)
    executors = NOTING.replace("): note(", "):\n    if payload == 'die': os.kill(os.getpid(), 9)\n    note(")
    worker = run_worker(beanstalkd.server, executors, "--max-jobs", "3", "--on-limit", "stop", "--retry-delays", "none")
    assert worker.exit_code() == 0
    assert [note.split()[0] for note in worker.notes()] == ["0", "1"]
    assert beanstalkd.count("mail") == NOTHING | {"ready": 1, "buried": 1}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("code", "options"),
    [
        ("os._exit(9)", ()),
        ("os.kill(os.getpid(), signal.SIGSTOP)", ("--job-timeout", "3s")),
        ("time.sleep(60)", ("--job-timeout", "3s")),
    ],
    ids=["dies", "is killed", "is replaced after a late job"],
)
def test_count_towards_max_jobs_goes_on_after_a_slot_that_was_interrupted(beanstalkd, run_worker, code, options):
    beanstalkd.put_numbers("mail", 10)
    executors = NOTING.replace("): note(", "):\n    note(").replace("import os", "import os, signal, time")
    executors += f"    if payload == 1: {code}\n"
    worker = run_worker(beanstalkd.server, executors, "--max-jobs", "4", "--retry-delays", "none", *options)
    worker.wait_for_lines("deleted", 9)
    pids = [note.split()[2] for note in worker.notes()]
    assert [pids.count(pid) for pid in dict.fromkeys(pids)] == [2, 2, 4, 2]
    assert worker.stop() == 0


def test_on_limit_stop_ends_in_time_whatever_dies(beanstalkd, run_worker):
    """It would never end if its time began anew with each slot, because no slot lives so long."""
    worker = run_worker(beanstalkd.server, NOTING, "--max-time", "2s", "--on-limit", "stop")

    def has_ended_or_done(jobs):
        return worker.process.poll() is not None or len(worker.notes()) == jobs

    for number in count():
        if worker.process.poll() is not None:
            break
        beanstalkd.put_numbers("mail", 1, first=number)
        worker.wait_for(lambda number=number: has_ended_or_done(number + 1), "the job is done")
        with suppress(IndexError, ProcessLookupError):  # the slot has ended by itself
            worker.kill_slot()
    assert worker.exit_code() == 0
    assert len(worker.lines("slot ended: it reached a limit")) == 1


def test_slot_with_other_executors_than_the_one_before_watches_only_its_own_tubes(beanstalkd, run_worker):
    both = NOTING + '@executor("old")\ndef old(payload): note("old")\n'
    worker = run_worker(beanstalkd.server, both, "--max-jobs", "1")
    worker.wait_for_line("connected")
    (worker.folder / "executors_under_test.py").write_text(NOTING)
    beanstalkd.put_numbers("mail", 1)
    worker.wait_for_line("slot recycled between jobs")
    beanstalkd.put_numbers("mail", 1, first=1)
    worker.wait_for(lambda: len(worker.notes()) == 2, "the next slot works")
    beanstalkd.put("old", "1")
    beanstalkd.put_numbers("mail", 1, first=2)
    worker.wait_for(lambda: len(worker.notes()) == 3, "it takes what it has an executor for")
    assert beanstalkd.count("old") == NOTHING | {"ready": 1}
    assert len(worker.lines("connected")) == 1
    assert worker.stop() == 0
