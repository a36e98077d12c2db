"""SIGKILL of a slot, of the supervisor and of beanstalkd, at moments of the test's choice: no job is ever lost."""

import os
import random
import signal
import time
from pathlib import Path

import pytest

from tests.support.beanstalkd import NOTHING
from tests.support.executors import CODE, WAITING

QUICK = """
import os, time
from traces import FOLDER, note
time.sleep(0.03)  # as a real import takes, so that some kills hit it
from tubeherd import executor
@executor("mail")
def mail(payload):
    note(payload)
    (FOLDER / f"works-{os.getpid()}").touch()
    time.sleep(0.001)
"""


@pytest.fixture
def supply(beanstalkd):
    """Keep hundreds of jobs ready while workers are disturbed, however quick they are: `supply()` puts what is missing.

    `supply.total` is how many jobs it has put, with the numbers from 0 on as their payloads.
    """

    def supply():
        if beanstalkd.count("mail")["ready"] < 500:
            beanstalkd.put_numbers("mail", 500, first=supply.total)
            supply.total += 500

    supply.total = 0
    supply()
    return supply


# A slot


def test_slot_killed_in_the_middle_of_a_job_spends_an_attempt_and_loses_no_delivery(beanstalkd, run_worker):
    (job,) = beanstalkd.put_numbers("mail", 1)
    worker = run_worker(beanstalkd.server, WAITING, "--retry-delays", "1s")
    worker.wait_for_notes("begun 0 attempt 1 lost 0")
    worker.kill_slot()
    line = worker.wait_for_line("failed, retry later", job=job, delay=1)
    assert line["reason"] == "the slot died: signal 9 (SIGKILL)"
    worker.wait_for(worker.slots, "a slot in its place")
    worker.wait_for_notes("begun 0 attempt 2 lost 0")
    worker.kill_slot()
    assert worker.wait_for_line("buried", job=job)["reason"] == "the slot died: signal 9 (SIGKILL)"
    stats = beanstalkd.stats_job(job)
    assert (stats["state"], stats["pri"]) == ("buried", 1)
    assert (stats["reserves"], stats["releases"], stats["buries"], stats["timeouts"]) == (2, 1, 1, 0)
    beanstalkd.put_numbers("mail", 1, first=1)
    worker.allow("go")
    worker.wait_for_notes("done 1")
    assert worker.stop() == 0


def test_idle_slot_killed_is_replaced_and_counts_nothing(beanstalkd, run_worker):
    worker = run_worker(beanstalkd.server, WAITING)
    for _ in range(3):
        worker.wait_for_line("connected")
        worker.wait_for(lambda: beanstalkd.waiting("mail") == 1, "the slot waits for a job")
        slot = worker.kill_slot()
        worker.wait_for(lambda slot=slot: worker.slots() not in ([], [slot]), "another slot")
    worker.allow("go")
    beanstalkd.put_numbers("mail", 1)
    worker.wait_for_notes("begun 0 attempt 1 lost 0", "done 0")
    worker.wait_for(lambda: beanstalkd.count("mail") == NOTHING, "the job is deleted")
    assert worker.stop() == 0


@pytest.mark.slow
def test_slots_killed_at_random_under_load_lose_no_job(beanstalkd, run_worker, supply):
    """Whatever a slot is doing, importing included: every job has run at the end."""
    dice = random.Random(1)  # noqa: S311
    worker = run_worker(
        beanstalkd.server, QUICK, "--retry-delays", "1s,2s,3s", "--max-lost-deliveries", "9",
        "--concurrency", "2", "--log-level", "warning",
    )  # fmt: skip

    def both_work():
        supply()
        slots = worker.slots()
        return len(slots) == 2 and all((worker.folder / f"works-{slot}").exists() for slot in slots)

    def deaths():
        return worker.lines("the slot died") + worker.lines("failed")

    killed, wanted = set(), {"starting", "command", None}
    for number in range(40):
        if number >= 8 and wanted <= {line.get("phase") for line in deaths()}:
            break
        worker.wait_for(both_work, "both slots work")
        for _ in range(3):  # of which some hit a slot that imports; five such in a row would end the worker
            time.sleep(dice.uniform(0.005, 0.06))  # the fault's own moment; nothing is awaited by it
            if slots := set(worker.slots()) - killed:
                killed.add(slot := dice.choice(sorted(slots)))
                os.kill(slot, signal.SIGKILL)
        worker.wait_for(lambda: killed.isdisjoint(worker.slots()), "the killed slots are reaped")
    assert wanted <= {line.get("phase") for line in deaths()}
    worker.wait_for(lambda: len(deaths()) == len(killed), "a line of each death")  # written after the slot is reaped
    worker.wait_for(lambda: beanstalkd.count("mail") == NOTHING, "the tube is empty")
    assert {int(note) for note in worker.notes()} == set(range(supply.total))
    assert worker.stop() == 0


# The supervisor


def test_supervisor_killed_leaves_slots_that_finish_their_jobs_and_end(beanstalkd, run_worker):
    beanstalkd.put_numbers("mail", 4)
    worker = run_worker(beanstalkd.server, WAITING, "--concurrency", "2")
    worker.wait_for_notes("begun 0 attempt 1 lost 0", "begun 1 attempt 1 lost 0")
    worker.kill_supervisor()
    assert beanstalkd.count("mail") == NOTHING | {"ready": 2, "reserved": 2}
    worker.allow("go")
    worker.wait_for(lambda: not worker.living(), "the slots have ended")
    assert sorted(worker.notes()[2:]) == ["done 0", "done 1"]
    assert beanstalkd.count("mail") == NOTHING | {"ready": 2}
    successor = run_worker(beanstalkd.server, WAITING)
    successor.allow("go")
    successor.wait_for_notes("begun 2 attempt 1 lost 0", "done 2", "begun 3 attempt 1 lost 0", "done 3")
    successor.wait_for(lambda: beanstalkd.count("mail") == NOTHING, "the tube is empty")
    assert successor.stop() == 0


def test_supervisor_killed_while_idle_takes_its_slots_along(beanstalkd, run_worker):
    worker = run_worker(beanstalkd.server, WAITING, "--concurrency", "2")
    worker.wait_for(lambda: beanstalkd.waiting("mail") == 2, "both slots wait")
    worker.kill_supervisor()
    worker.wait_for(lambda: not worker.living(), "the slots have ended")


# beanstalkd


def test_beanstalkd_killed_in_the_middle_of_jobs_loses_none(beanstalkd, run_worker):
    beanstalkd.put_numbers("mail", 6)
    worker = run_worker(beanstalkd.server, WAITING, "--concurrency", "2")
    worker.wait_for_notes("begun 0 attempt 1 lost 0", "begun 1 attempt 1 lost 0")
    beanstalkd.kill()
    worker.allow("go")
    worker.wait_for_notes("done 0", "done 1")
    worker.wait_for_lines("executed, but its verdict was lost", 2)
    worker.wait_for_line("cannot reach beanstalkd")
    beanstalkd.start()
    worker.wait_for_notes(*(f"done {number}" for number in range(6)))
    worker.wait_for(lambda: beanstalkd.count("mail") == NOTHING, "the tube is empty")
    assert sorted(note for note in worker.notes() if note.startswith("done")) == sorted(
        [f"done {number}" for number in range(6)] + ["done 0", "done 1"]  # at least once
    )
    assert worker.stop() == 0


def test_beanstalkd_killed_again_and_again_under_load_loses_no_job(beanstalkd, run_worker, supply):
    dice = random.Random(7)  # noqa: S311
    worker = run_worker(
        beanstalkd.server, QUICK, "--concurrency", "2", "--log-level", "warning", "--max-lost-deliveries", "9"
    )
    for _ in range(4):
        # If it is killed while it moves jobs out of its oldest binlog file, beanstalkd may lose one: see the README.
        worker.wait_for(
            lambda: supply() or beanstalkd.binlog_files() <= 2, "beanstalkd has removed its oldest binlog file"
        )
        enough = len(worker.notes()) + 1 + dice.randrange(200)
        worker.wait_for(lambda enough=enough: supply() or len(worker.notes()) >= enough, "the drain goes on")
        beanstalkd.kill()
        beanstalkd.start()
    worker.wait_for(lambda: beanstalkd.count("mail") == NOTHING, "the tube is empty")
    assert {int(note) for note in worker.notes()} == set(range(supply.total))
    assert worker.stop() == 0


# What else an executor can do to its process


def test_executor_that_ends_or_harms_its_process(beanstalkd, run_worker):
    """Each in one attempt: the reason says how the slot ended, and the next job runs."""
    bodies = {
        "os._exit(0)": "the slot died: exit code 0",
        "sys.exit(3)": "SystemExit: 3",
        "os.kill(os.getpid(), signal.SIGSEGV)": "the slot died: signal 11 (SIGSEGV)",
        "os.abort()": "the slot died: signal 6 (SIGABRT)",
        "os.closerange(0, 1024)": "the slot died: exit code 70",
        "[os.dup2(1, file) for file in range(3, 100)]": "the slot died: exit code 70",
        "os.execv('/bin/true', ['true'])": "the slot died: exit code 0",
        "raise KeyboardInterrupt": "KeyboardInterrupt",
        "os.killpg(0, signal.SIGKILL)": "the slot died: signal 9 (SIGKILL)",
        "signal.signal(signal.SIGTERM, signal.SIG_DFL); os.kill(0, signal.SIGTERM)":
            "the slot died: signal 15 (SIGTERM)",
    }  # fmt: skip
    jobs = {beanstalkd.put_code(body): body for body in bodies}
    worker = run_worker(
        beanstalkd.server,
        CODE,
        "--retry-delays", "none",
    )  # fmt: skip
    worker.wait_for_lines("buried", len(bodies))
    assert beanstalkd.count("code") == NOTHING | {"buried": len(bodies)}
    reasons = {jobs[line["job"]]: line["reason"] for line in worker.lines("buried")}
    assert reasons == bodies
    assert all(beanstalkd.stats_job(job)["reserves"] == 1 for job in jobs)
    assert worker.stop() == 0


def test_forked_child_that_comes_back_from_the_executor_touches_nothing(beanstalkd, run_worker):
    """A fork has the slot's connection in hand; it must neither give verdicts nor take jobs."""
    beanstalkd.put_numbers("mail", 20)
    worker = run_worker(
        beanstalkd.server,
        """
        import os
        from traces import note
        from tubeherd import executor
        slot = []
        @executor("mail")
        def mail(payload):
            slot.append(os.getpid())
            if os.fork() == 0:
                pipe = os.pipe()  # its files get the numbers of those that it has given up
                if os.fork() == 0:
                    os._exit(0)
                os.wait()
                os.write(pipe[1], b"x")
                if payload % 2:
                    raise ValueError("in the child")
            note(f"{payload} in {'slot' if os.getpid() == slot[0] else 'child'}")
        """,
    )
    worker.wait_for(lambda: len(worker.notes()) == 30, "all notes are there")
    worker.wait_for(lambda: beanstalkd.count("mail") == NOTHING, "the tube is empty")
    assert [note for note in worker.notes() if "slot" in note] == [f"{number} in slot" for number in range(20)]
    children = [note for note in worker.notes() if "child" in note]
    assert sorted(children) == sorted(f"{number} in child" for number in range(0, 20, 2))
    worker.wait_for(lambda: len(worker.living()) == 2, "the children have ended")
    assert not worker.lines("failed")
    assert "Exception ignored" not in worker.output()
    assert "the slot ends" not in worker.output()
    assert worker.stop() == 0


def test_process_that_a_job_left_running_goes_with_its_slot(beanstalkd, run_worker):
    beanstalkd.put_numbers("mail", 1)
    worker = run_worker(
        beanstalkd.server,
        """
        import subprocess
        from traces import note
        from tubeherd import executor
        @executor("mail")
        def mail(payload):
            note(subprocess.Popen(["sleep", "1000"]).pid)
            note("left")
        """,
    )
    worker.wait_for_notes("left")
    left = int(worker.notes()[0])
    assert left in worker.living()
    worker.kill_slot()
    worker.wait_for(lambda: left not in worker.living(), "the process has gone")
    assert worker.stop() == 0


def test_much_on_standard_output_hurts_nobody(beanstalkd, run_worker):
    beanstalkd.put_numbers("mail", 3)
    worker = run_worker(
        beanstalkd.server,
        """
        from tubeherd import executor
        @executor("mail")
        def mail(payload): print("x" * 3_000_000)
        """,
    )
    worker.wait_for_lines("deleted", 3)
    assert worker.stop() == 0


def test_orphans_are_reaped_where_the_worker_is_process_1(beanstalkd, run_worker):
    beanstalkd.put_numbers("mail", 5)
    worker = run_worker(
        beanstalkd.server,
        """
        import os, subprocess, time
        from traces import note
        from tubeherd import executor
        @executor("mail")
        def mail(payload):
            subprocess.run(["sh", "-c", "sleep 0 & exit 0"])  # its grandchild becomes the supervisor's
            note(f"supervisor is {os.getppid()}")
        """,
        prefix=["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"],
    )  # fmt: skip
    worker.wait_for_lines("deleted", 5)
    assert set(worker.notes()) == {"supervisor is 1"}
    (supervisor,) = worker.slots()
    children = Path(f"/proc/{supervisor}/task/{supervisor}/children")
    worker.wait_for(lambda: len(children.read_text().split()) == 1, "only the slot is left")
    os.kill(supervisor, signal.SIGTERM)
    assert worker.exit_code() == 0
