"""Coroutines: a loop that lives as long as the slot, deadlines that cancel, and many at a time in one process."""

import pytest

from tests.support.beanstalkd import NOTHING
from tubeherd.processing.deadlines import too_long_reason

CODE = """
import asyncio, os, signal, threading, time
from traces import note, wait_for
from tubeherd import Abort, Job, Reschedule, events, executor
@executor("code")
async def code(payload: bytes, job: Job):
    scope = globals() | {"job": job}
    exec("async def run():\\n" + "".join(f"  {line}\\n" for line in payload.decode().splitlines()), scope)
    await scope["run"]()
async def wait(name):
    while not (traces.FOLDER / name).exists(): await asyncio.sleep(0.01)
import traces
"""


def run(run_worker, beanstalkd, *options, executors=CODE):
    return run_worker(beanstalkd.server, executors, *options)


def many(run_worker, beanstalkd, *options, at_a_time=4, executors=CODE):
    return run(run_worker, beanstalkd, "--async-concurrency", str(at_a_time), *options, executors=executors)


# One at a time


def test_loop_lives_as_long_as_the_slot(beanstalkd, run_worker):
    for _ in range(3):
        beanstalkd.put_code("note(id(asyncio.get_running_loop()))")
    worker = run(run_worker, beanstalkd)
    worker.wait_for_lines("deleted", 3)
    assert len(set(worker.notes())) == 1
    assert worker.stop() == 0


def test_deadline_cancels_the_coroutine_and_leaves_the_slot_alone(beanstalkd, run_worker):
    code = "try: await asyncio.sleep(100)\nexcept asyncio.CancelledError: note('cancelled'); raise\n"
    late = beanstalkd.put_code(code + "finally: await asyncio.sleep(0.01); note('cleaned up')")
    worker = run(run_worker, beanstalkd, "--job-timeout", "1s", "--retry-delays", "1m")
    line = worker.wait_for_line("failed, retry later", job=late, delay=61)
    assert line["reason"] == too_long_reason(1)
    assert line["at"] == "<string>:2"
    beanstalkd.put_code("note('next')")
    worker.wait_for_notes("next")
    assert worker.notes() == ["cancelled", "cleaned up", "next"]
    assert not worker.lines("slot recycled")
    assert worker.stop() == 0


def test_code_that_holds_the_loop_is_broken_off(beanstalkd, run_worker):
    late = beanstalkd.put_code("try: time.sleep(100)\nfinally: note('cleaned up')")
    worker = run(run_worker, beanstalkd, "--job-timeout", "1s", "--retry-delays", "1m")
    (slot,) = worker.wait_for(worker.slots, "a slot")
    line = worker.wait_for_line("failed, retry later", job=late)
    assert line["reason"] == too_long_reason(1)
    worker.wait_for_line("slot recycled between jobs", pid=slot)
    assert worker.notes() == ["cleaned up"]
    assert worker.stop() == 0


@pytest.mark.slow
def test_coroutine_that_swallows_its_cancellation_is_killed_five_seconds_later(beanstalkd, run_worker):
    swallow = "while True:\n try: await asyncio.sleep(100)\n except asyncio.CancelledError: note('swallowed')"
    late = beanstalkd.put_code(swallow)
    worker = run(run_worker, beanstalkd, "--job-timeout", "1s", "--retry-delays", "none")
    line = worker.wait_for_line("buried", job=late)
    assert line["reason"] == f"{too_long_reason(1)} and did not end on SIGTERM"
    assert worker.notes() == ["swallowed"]
    assert worker.stop() == 0


SWALLOWED = {
    "except": "try: await asyncio.sleep(100)\nexcept asyncio.CancelledError: note('swallowed')",
    "return in finally": "try: await asyncio.sleep(100)\nfinally: note('swallowed'); return",
    "another exception": "try: await asyncio.sleep(100)\nfinally: note('swallowed'); raise ValueError",
    "a reschedule": "try: await asyncio.sleep(100)\nfinally: note('swallowed'); raise Reschedule(60)",
    "an abort": "try: await asyncio.sleep(100)\nfinally: note('swallowed'); raise Abort('x')",
    "code that holds the loop": "try: time.sleep(100)\nexcept BaseException: note('swallowed')",
    "a task that holds the loop": "async def late(): time.sleep(100)\n"
    "try: await asyncio.gather(late(), return_exceptions=True)\nfinally: note('swallowed'); return",
    "a handler of its own": "signal.signal(signal.SIGTERM, lambda *_: note('swallowed')); time.sleep(3.5)",
}


HOLDING = ["code that holds the loop", "a task that holds the loop", "a handler of its own"]
"""Those that hold the event loop: a job beside them in their slot could not be cancelled."""


def check_that_swallowed_break_offs_fail(worker, beanstalkd, names):
    jobs = {beanstalkd.put_code(SWALLOWED[name].replace("'swallowed'", repr(name)), ttr=2): name for name in names}
    for job, name in jobs.items():
        assert worker.wait_for_line("buried", job=job)["reason"] == too_long_reason(2), name
    assert sorted(note for note in worker.notes() if note in names) == sorted(names)
    worker.wait_for_line("deleted", job=beanstalkd.put_code("note('next')"))


@pytest.mark.slow
def test_coroutine_that_was_broken_off_has_failed_whatever_it_does_next(beanstalkd, run_worker):
    worker = run(run_worker, beanstalkd, "--retry-delays", "none", "--concurrency", str(len(SWALLOWED)))
    check_that_swallowed_break_offs_fail(worker, beanstalkd, list(SWALLOWED))
    assert worker.stop() == 0


@pytest.mark.slow
def test_coroutine_that_was_broken_off_among_others_has_failed_whatever_it_does_next(beanstalkd, run_worker):
    worker = many(run_worker, beanstalkd, "--retry-delays", "none", at_a_time=len(SWALLOWED))
    check_that_swallowed_break_offs_fail(worker, beanstalkd, [name for name in SWALLOWED if name not in HOLDING])
    for name in HOLDING:
        check_that_swallowed_break_offs_fail(worker, beanstalkd, [name])
    assert worker.stop() == 0


@pytest.mark.slow
def test_job_that_held_the_loop_past_the_deadline_of_another_has_failed_whatever_it_does_next(beanstalkd, run_worker):
    swallow = "note('holds')\ntry: time.sleep(100)\nexcept BaseException: note('swallowed')"
    holder = beanstalkd.put_code(f"await wait('hold')\n{swallow}", ttr=60)
    beanstalkd.put_code("note('waits'); await asyncio.sleep(100)", ttr=4)
    worker = many(run_worker, beanstalkd, "--retry-delays", "none")
    worker.wait_for_notes("waits")
    worker.allow("hold")
    reason = worker.wait_for_line("buried", job=holder)["reason"]
    assert reason == "the job held the event loop of its slot past the deadline of another job: await instead"
    assert "swallowed" in worker.notes()
    assert worker.stop() == 0


def test_timeout_of_the_executors_own_is_told_from_the_deadline(beanstalkd, run_worker):
    job = beanstalkd.put_code("async with asyncio.timeout(0.01): await asyncio.sleep(100)")
    worker = run(run_worker, beanstalkd, "--retry-delays", "none")
    assert worker.wait_for_line("buried", job=job)["reason"] == "TimeoutError"
    assert worker.stop() == 0


# Many at a time


def test_one_slot_has_as_many_jobs_in_flight_as_it_may(beanstalkd, run_worker):
    for number in range(6):
        beanstalkd.put_code(f"note('begun {number}'); await wait('go'); note('done {number}')")
    worker = many(run_worker, beanstalkd, at_a_time=4)
    worker.wait_for_notes("begun 0", "begun 1", "begun 2", "begun 3")
    assert beanstalkd.count("code") == NOTHING | {"ready": 2, "reserved": 4}
    assert len(worker.slots()) == 1
    worker.allow("go")
    worker.wait_for(lambda: beanstalkd.count("code") == NOTHING, "all are done")
    assert sorted(note for note in worker.notes() if "done" in note) == [f"done {number}" for number in range(6)]
    assert worker.stop() == 0


def test_each_verdict_is_given_while_others_run(beanstalkd, run_worker):
    beanstalkd.put_code("note('begun'); await wait('go')")
    verdicts = {
        beanstalkd.put_code("pass"): ("deleted", {}),
        beanstalkd.put_code("raise ValueError('x')"): (
            "failed, retry later",
            {"reason": "ValueError: x", "delay": 421},
        ),
        beanstalkd.put_code("raise Reschedule('1 hour')"): ("released", {"delay": 3600}),
        beanstalkd.put_code("raise SystemExit(3)"): ("failed, retry later", {"reason": "SystemExit: 3"}),
        beanstalkd.put_code("raise asyncio.CancelledError"): ("failed, retry later", {"reason": "CancelledError"}),
    }
    worker = many(run_worker, beanstalkd, "--retry-delays", "7m")
    for job, (event, fields) in verdicts.items():
        worker.wait_for_line(event, job=job, **fields)
    assert beanstalkd.count("code") == NOTHING | {"reserved": 1, "delayed": 4}
    worker.allow("go")
    worker.wait_for(lambda: beanstalkd.count("code") == NOTHING | {"delayed": 4}, "the first is done")
    assert worker.stop() == 0


def test_deadline_cancels_only_the_job_that_is_late(beanstalkd, run_worker):
    for _ in range(3):
        beanstalkd.put_code("await wait('go'); note('done')", ttr=60)
    late = beanstalkd.put_code("try: await asyncio.sleep(100)\nfinally: note('cleaned up')", ttr=2)
    worker = many(run_worker, beanstalkd, "--retry-delays", "none")
    assert worker.wait_for_line("buried", job=late)["reason"] == too_long_reason(2)
    assert worker.notes() == ["cleaned up"]
    worker.allow("go")
    worker.wait_for_lines("deleted", 3)
    assert not worker.lines("slot recycled")
    assert worker.stop() == 0


def test_job_that_holds_the_loop_is_the_one_that_is_broken_off(beanstalkd, run_worker):
    """Another's deadline passes meanwhile: it is cancelled as soon as the loop is free."""
    other = beanstalkd.put_code("note('waits'); await asyncio.sleep(100)", ttr=4)
    holder = beanstalkd.put_code("await wait('hold'); note('holds'); time.sleep(100)", ttr=2)
    worker = many(run_worker, beanstalkd, "--retry-delays", "none")
    worker.allow("hold")
    worker.wait_for_lines("buried", 2)
    reasons = {line["job"]: line["reason"] for line in worker.lines("buried")}
    assert reasons == {
        holder: too_long_reason(2),
        other: too_long_reason(4),
    }
    worker.wait_for_line("slot recycled between jobs")
    assert worker.stop() == 0


@pytest.mark.slow
def test_killing_one_job_for_its_deadline_spends_no_attempt_of_the_others(beanstalkd, run_worker):
    others = [beanstalkd.put_code("note(f'attempt {job.attempt}'); await wait('go')") for _ in range(2)]
    late = beanstalkd.put_code("while True:\n try: time.sleep(100)\n except BaseException: pass", ttr=2)
    worker = many(run_worker, beanstalkd, "--retry-delays", "none")
    line = worker.wait_for_line("buried", job=late)
    assert line["reason"] == f"{too_long_reason(2)} and did not end on SIGTERM"
    for job in others:
        line = worker.wait_for_line("released", job=job, delay=0)
        assert line["reason"].startswith("not the job's fault: the job ran longer")
    worker.wait_for(lambda: worker.notes() == ["attempt 1"] * 4, "both run again")
    worker.allow("go")
    worker.wait_for(lambda: beanstalkd.count("code") == NOTHING | {"buried": 1}, "both are done")
    assert worker.stop() == 0


def test_slot_that_dies_fails_every_job_that_ran_in_it(beanstalkd, run_worker):
    jobs = [beanstalkd.put_code(f"note({number}); await wait('go')") for number in range(3)]
    worker = many(run_worker, beanstalkd, "--retry-delays", "1s")
    worker.wait_for_notes("0", "1", "2")
    worker.kill_slot()
    for job in jobs:
        line = worker.wait_for_line("failed, retry later", job=job, delay=1)
        assert line["reason"] == "the slot died: signal 9 (SIGKILL)"
    worker.allow("go")
    worker.wait_for(lambda: beanstalkd.count("code") == NOTHING, "all are done")
    assert sorted(worker.notes()[3:]) == ["0", "1", "2"]  # a lane that becomes free may take a later job first
    assert worker.stop() == 0


@pytest.mark.slow
def test_leases_are_kept_while_jobs_outlive_their_ttr(beanstalkd, run_worker):
    for number in range(4):
        beanstalkd.put_code(f"note({number}); await asyncio.sleep(4.5)", ttr=3)
    worker = many(run_worker, beanstalkd, "--job-timeout", "20s")
    worker.wait_for_lines("deleted", 4)
    assert worker.notes() == ["0", "1", "2", "3"]
    assert not [line for line in worker.lines() if line["level"] != "info"]
    assert worker.stop() == 0


def test_sigterm_lets_all_jobs_finish_and_takes_no_other(beanstalkd, run_worker):
    for number in range(5):
        beanstalkd.put_code(f"note({number}); await wait('go')")
    worker = many(run_worker, beanstalkd, at_a_time=3)
    worker.wait_for_notes("0", "1", "2")
    worker.ask_to_stop()
    worker.allow("go")
    assert worker.exit_code() == 0
    assert beanstalkd.count("code") == NOTHING | {"ready": 2}
    assert worker.notes() == ["0", "1", "2"]


def test_jobs_that_do_not_finish_in_time_for_a_stop_are_released(beanstalkd, run_worker):
    for number in range(2):
        beanstalkd.put_code(f"note({number}); await wait('never')")
    worker = many(run_worker, beanstalkd, "--grace-period", "200ms")
    worker.wait_for_notes("0", "1")
    assert worker.stop() == 0
    assert beanstalkd.count("code") == NOTHING | {"ready": 2}
    assert len(worker.lines("released", delay=0)) == 2


def test_idle_slot_with_room_for_many_opens_no_connection_it_does_not_need_and_stops_at_once(beanstalkd, run_worker):
    worker = many(run_worker, beanstalkd, at_a_time=50)
    beanstalkd.put_code("note('done')")
    worker.wait_for_line("deleted")
    worker.wait_for(lambda: beanstalkd.waiting("code") == 1, "it waits for a job")
    assert len(worker.lines("connected")) <= 2
    assert worker.stop() == 0


def test_abort_stops_the_worker_when_the_other_jobs_are_done(beanstalkd, run_worker):
    beanstalkd.put_code("note('begun'); await wait('go'); note('done')")
    worker = many(run_worker, beanstalkd)
    worker.wait_for_notes("begun")
    beanstalkd.put_code("raise Abort('no key')")
    worker.wait_for_line("released", delay=60, reason="no key")
    worker.allow("go")
    assert worker.exit_code() == 1
    assert "done" in worker.notes()
    assert beanstalkd.count("code") == NOTHING | {"delayed": 1}


def test_jobs_that_wait_for_nothing_leave_the_others_their_turn(beanstalkd, run_worker):
    beanstalkd.put_code("while not ran: await asyncio.sleep(0)\nnote(len(ran))")
    for _ in range(100):
        beanstalkd.put_code("ran.append(1)")
    worker = many(run_worker, beanstalkd, at_a_time=2, executors=CODE + "ran = []\n")
    worker.wait_for_lines("deleted", 101)
    (already,) = worker.notes()
    assert int(already) < 5
    assert worker.stop() == 0


def test_forked_process_that_comes_back_does_no_other_job(beanstalkd, run_worker):
    beanstalkd.put_code("await wait('fork'); time.sleep(0.1); note('done')")
    beanstalkd.put_code("while not (traces.FOLDER / 'fork').exists(): await asyncio.sleep(0.01)\nos.fork()")
    worker = many(run_worker, beanstalkd, at_a_time=2)
    worker.wait_for(lambda: beanstalkd.count("code") == NOTHING | {"reserved": 2}, "both run")
    worker.allow("fork")
    worker.wait_for_lines("deleted", 2)
    worker.wait_for_line("a process that a job forked came back from the executor: it ends here", job=2)
    assert worker.stop() == 0
    assert worker.notes() == ["done"]


def test_failed_job_keeps_nothing_of_its_executor_alive(beanstalkd, run_worker):
    executor = """
    import gc, weakref
    from traces import note
    from tubeherd import executor
    gc.disable()
    class Thing: pass
    things = []
    @executor("mail")
    async def mail(payload):
        note(f"{sum(thing() is not None for thing in things)} alive")
        thing = Thing()
        things.append(weakref.ref(thing))
        raise ValueError
    """
    beanstalkd.put_numbers("mail", 6)
    worker = run_worker(beanstalkd.server, executor, "--async-concurrency", "2", "--retry-delays", "none")
    worker.wait_for(lambda: beanstalkd.count("mail") == NOTHING | {"buried": 6}, "all are buried")
    assert set(worker.notes()) <= {"0 alive", "1 alive"}  # that of the job beside it
    assert worker.stop() == 0


def test_job_that_calls_its_own_task_off_hits_no_other(beanstalkd, run_worker):
    late = "asyncio.get_running_loop().call_later(0.05, asyncio.current_task().cancel)"
    for number in range(4):
        beanstalkd.put_code(f"note({number}); asyncio.current_task().cancel(); {late}")
    beanstalkd.put_code("await asyncio.sleep(0.1); note(4)")
    worker = many(run_worker, beanstalkd, at_a_time=2)
    worker.wait_for(lambda: beanstalkd.count("code") == NOTHING, "each is deleted")
    assert sorted(worker.notes()) == ["0", "1", "2", "3", "4"]
    assert worker.stop() == 0


def test_limit_of_jobs_holds_while_the_second_lane_connects(beanstalkd, run_worker):
    for _ in range(20):
        beanstalkd.put_code("note('ran')")
    worker = many(run_worker, beanstalkd, "--max-jobs", "3", "--on-limit", "stop", at_a_time=2)
    assert worker.exit_code() == 0
    assert worker.notes() == ["ran"] * 3
    assert beanstalkd.count("code") == NOTHING | {"ready": 17}


def test_limit_of_jobs_counts_the_one_that_may_come_of_a_reserve_that_waits(beanstalkd, run_worker):
    beanstalkd.put_code("note(1); await wait('hold'); note('holds'); wait_for('go')")
    worker = many(run_worker, beanstalkd, "--max-jobs", "2", "--on-limit", "stop", at_a_time=2)
    worker.wait_for(lambda: beanstalkd.waiting("code") == 1, "the second lane waits")
    worker.allow("hold")
    worker.wait_for_notes("holds")  # the loop, so that the second lane cannot see that a job has come
    beanstalkd.put_code("note(2)")
    beanstalkd.put_code("note(3)")
    worker.wait_for(lambda: beanstalkd.count("code") == NOTHING | {"ready": 1, "reserved": 2}, "one has come")
    worker.allow("go")
    assert worker.exit_code() == 0
    assert worker.notes() == ["1", "holds", "2"]
    assert beanstalkd.count("code") == NOTHING | {"ready": 1}


def test_limits_recycle_the_slot_between_jobs(beanstalkd, run_worker):
    for number in range(25):
        beanstalkd.put(
            "code", f"note('{number} in', ) if {number} % 2 else None\nawait asyncio.sleep(0.01)\nnote(os.getpid())"
        )
    worker = many(run_worker, beanstalkd, "--max-jobs", "10")
    worker.wait_for_lines("deleted", 25)
    pids = [note for note in worker.notes() if note.isdigit()]
    assert sorted(pids.count(pid) for pid in set(pids)) == [5, 10, 10]
    assert not worker.lines("lease was gone")
    assert worker.stop() == 0


def test_beanstalkd_killed_in_the_middle_of_jobs_loses_none(beanstalkd, run_worker):
    for number in range(6):
        beanstalkd.put_code(f"note({number}); await wait('go')")
    worker = many(run_worker, beanstalkd, at_a_time=3)
    worker.wait_for_notes("0", "1", "2")
    beanstalkd.kill()
    worker.allow("go")
    worker.wait_for_lines("executed, but its verdict was lost", 3)
    beanstalkd.start()
    worker.wait_for(lambda: beanstalkd.count("code") == NOTHING, "the tube is empty")
    assert sorted(worker.notes()) == sorted(["0", "1", "2"] * 2 + ["3", "4", "5"])
    assert worker.stop() == 0


ROWS = (
    CODE
    + """
rows = []
@events.flush.connect
def write(reason, count):
    batch, rows[:] = list(rows), []
    note(f"flush {batch}")
    if (traces.FOLDER / "refuse").exists(): raise OSError("no space left")
"""
)


def test_flush_acknowledges_the_jobs_of_all_lanes(beanstalkd, run_worker):
    for number in range(3):
        beanstalkd.put_code(f"rows.append({number})")
    beanstalkd.put_code("await wait('go'); rows.append(3)")
    worker = many(run_worker, beanstalkd, "--ack-after-flush", "--batch-size", "2", executors=ROWS)
    worker.wait_for_lines("deleted", 3)
    assert beanstalkd.count("code") == NOTHING | {"reserved": 1}
    worker.allow("go")
    worker.wait_for(lambda: beanstalkd.count("code") == NOTHING, "all are deleted")
    assert worker.notes()[-1] == "flush [3]"
    assert worker.stop() == 0


def test_flush_that_fails_fails_the_waiting_jobs_of_all_lanes(beanstalkd, run_worker):
    for number in range(3):
        beanstalkd.put_code(f"await wait('go'); rows.append({number})")
    worker = many(
        run_worker, beanstalkd, "--ack-after-flush", "--batch-size", "3", "--retry-delays", "7m", executors=ROWS
    )
    worker.allow("refuse")
    worker.wait_for(lambda: beanstalkd.count("code")["reserved"] == 3, "all run")
    worker.allow("go")
    assert worker.exit_code() == 1
    assert beanstalkd.count("code") == NOTHING | {"delayed": 3}
    assert not worker.lines("deleted")


# What jobs must not do to each other, or to their slot


def test_job_that_holds_the_loop_past_the_deadline_of_another_is_the_one_that_fails(beanstalkd, run_worker):
    holder = beanstalkd.put_code("await wait('hold'); note('holds'); time.sleep(100)", ttr=60)
    other = beanstalkd.put_code("note('waits'); await asyncio.sleep(100)", ttr=4)
    worker = many(run_worker, beanstalkd, "--retry-delays", "none")
    worker.wait_for_notes("waits")
    worker.allow("hold")
    line = worker.wait_for_line("buried", job=holder)
    assert line["reason"].startswith("the job held the event loop of its slot past the deadline of another job")
    assert worker.wait_for_line("buried", job=other)["reason"] == too_long_reason(4)
    assert worker.stop() == 0


HANGING_WHEN_A_LANE_BREAKS = """
import asyncio
from traces import note
from tubeherd import executor
@executor("mail")
async def mail(payload):
    if payload == "next": return
    tasks = []
    def begin(loop, coroutine, **options):
        tasks.append(asyncio.Task(coroutine, loop=loop, **options))
        return tasks[-1]
    asyncio.get_running_loop().set_task_factory(begin)
    note("begun")
    while not tasks: await asyncio.sleep(0)  # until the slot waits, in a task, before it opens another connection
    note("hangs")
    while True: pass
"""


@pytest.mark.slow
def test_job_that_hangs_just_when_the_connection_of_a_waiting_lane_breaks_is_broken_off(beanstalkd, proxy, run_worker):
    hanging = beanstalkd.put_json("mail", "hangs", ttr=5)
    options = ("--async-concurrency", "2", "--retry-delays", "none")
    worker = run_worker(proxy.server, HANGING_WHEN_A_LANE_BREAKS, *options)
    worker.wait_for_notes("begun")
    worker.wait_for(lambda: beanstalkd.waiting("mail"), "the other lane waits")
    proxy.broken.add(2)
    beanstalkd.put_json("mail", "next")  # the answer to its reserve never comes
    worker.wait_for_notes("hangs")
    worker.wait_for_line("buried", job=hanging, reason=too_long_reason(5))
    worker.wait_for(lambda: beanstalkd.count("mail") == NOTHING | {"buried": 1}, "the next job is done")
    assert worker.stop() == 0


def test_lanes_are_connected_though_jobs_have_taken_all_threads_of_the_loop(beanstalkd, run_worker):
    hogs = "hogs = [asyncio.get_running_loop().run_in_executor(None, wait_for, 'go') for _ in range(40)]\n"
    for number in range(2):
        beanstalkd.put_code(f"{hogs}note('hog {number}'); await asyncio.gather(*hogs)")
    worker = many(run_worker, beanstalkd)
    worker.wait_for_notes("hog 0", "hog 1")
    beanstalkd.put_code("note('third')")
    worker.wait_for_notes("third")
    worker.allow("go")
    worker.wait_for_lines("deleted", 3)
    assert worker.stop() == 0


@pytest.mark.slow
def test_code_that_hears_no_signal_fails_every_job_of_its_slot(beanstalkd, run_worker):
    jobs = [
        beanstalkd.put_code("await wait('hold'); sum(range(10**15))", ttr=60),
        beanstalkd.put_code("note('waits'); await asyncio.sleep(100)", ttr=4),
    ]
    worker = many(run_worker, beanstalkd, "--retry-delays", "none")
    worker.wait_for_notes("waits")
    worker.allow("hold")
    for job in jobs:
        reason = worker.wait_for_line("buried", job=job)["reason"]
        assert reason == f"code that ignored SIGTERM held the event loop past the deadline of job {jobs[1]}"
    assert worker.stop() == 0


@pytest.mark.slow
def test_slot_is_recycled_whatever_threads_and_tasks_its_jobs_have_left(beanstalkd, run_worker):
    beanstalkd.put_code("await asyncio.to_thread(time.sleep, 1000)", ttr=2)
    beanstalkd.put_code("async def endless():\n while True:\n  try: await asyncio.sleep(1000)\n"
        "  except BaseException: pass\nglobals()['kept'] = asyncio.create_task(endless())")  # fmt: skip
    for number in range(4):
        beanstalkd.put_code(f"note({number})")
    worker = many(run_worker, beanstalkd, "--max-jobs", "3", "--retry-delays", "none")
    worker.wait_for_notes("0", "1", "2", "3")
    worker.wait_for_line("slot recycled between jobs")
    assert worker.stop() == 0


@pytest.mark.parametrize("options", [[], ["--async-concurrency", "2"]], ids=["sequential", "concurrent"])
def test_variables_of_one_job_are_not_the_next_ones(beanstalkd, run_worker, options):
    for number in range(3):
        beanstalkd.put_code(f"note(seen.get()); seen.set({number})")
    executors = CODE + "import contextvars\nseen = contextvars.ContextVar('seen', default='nothing')\n"
    worker = run(run_worker, beanstalkd, *options, executors=executors)
    worker.wait_for_lines("deleted", 3)
    assert worker.notes() == ["nothing"] * 3
    assert worker.stop() == 0


@pytest.mark.slow
def test_more_lanes_than_select_can_look_at(beanstalkd, run_worker):
    worker = many(run_worker, beanstalkd, at_a_time=600)
    for _ in range(600):
        beanstalkd.put_code("while not (traces.FOLDER / 'go').exists(): await asyncio.sleep(0.5)")
    worker.wait_for(lambda: beanstalkd.count("code")["reserved"] == 600, "all are in flight")
    worker.allow("go")
    worker.wait_for(lambda: beanstalkd.count("code") == NOTHING, "all are done")
    beanstalkd.put_code("note('idle')")
    worker.wait_for_notes("idle")
    assert not [line for line in worker.lines() if line["level"] != "info"]
    assert worker.stop() == 0


AWAITABLE = """
import functools
from traces import note
from tubeherd import executor
class Result:
    def __await__(self):
        note("awaited")
        yield from ()
def hidden(function):
    return lambda payload: function(payload)
@executor("awaitable")
def awaitable(payload): return Result()
@executor("generator")
@hidden
def generator(payload):
    note("ran")
    yield
"""


def test_result_that_is_still_to_be_run_is_awaited_or_refused_and_never_deleted(beanstalkd, run_worker):
    for options in ((), ("--async-concurrency", "2")):
        for tube in ("awaitable", "generator"):
            beanstalkd.put(tube, "1")
        worker = run(run_worker, beanstalkd, "--retry-delays", "none", *options, executors=AWAITABLE)
        worker.wait_for_line("deleted", tube="awaitable")
        reason = worker.wait_for_line("buried", tube="generator")["reason"]
        assert "the executor has a yield, so its call ran nothing" in reason
        assert worker.notes() == ["awaited"]
        assert worker.stop() == 0


def test_flush_does_not_wait_for_the_longest_job_when_the_slot_is_to_stop(beanstalkd, run_worker):
    beanstalkd.put_code("note('long'); await wait('end')")
    beanstalkd.put_code("note('begun'); await wait('go'); rows.append(1)")
    worker = many(run_worker, beanstalkd, "--ack-after-flush", "--batch-size", "50", executors=ROWS)
    worker.wait_for_notes("long", "begun")
    worker.ask_to_stop()
    worker.allow("go")
    worker.wait_for_notes("flush [1]")
    worker.wait_for(lambda: beanstalkd.count("code") == NOTHING | {"reserved": 1}, "only the longest job is left")
    worker.allow("end")
    assert worker.exit_code() == 0
    assert beanstalkd.count("code") == NOTHING
