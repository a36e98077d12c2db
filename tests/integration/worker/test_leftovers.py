"""What a job has started that was stopped at its deadline is gone before its next attempt, and costs no other job."""

import pytest

from tests.support.beanstalkd import NOTHING
from tests.support.processes import children
from tubeherd.processes import has_ended
from tubeherd.processing.deadlines import too_long_reason

EXECUTORS = """
import asyncio, concurrent.futures, multiprocessing, os, signal, subprocess, sys, threading, time
from traces import FOLDER, note
from tubeherd import Job, events, executor

pool = concurrent.futures.ThreadPoolExecutor(2)

def tick(name):
    while not (FOLDER / "end").exists():
        note(f"{name} ticks")
        time.sleep(0.05)

async def tick_in_loop(name):
    while True:
        note(f"{name} ticks")
        try: await asyncio.sleep(0.05)
        except asyncio.CancelledError:
            if "swallows" not in name: raise

def ticking(name): return f"while :; do echo {name} ticks >> {FOLDER / 'notes'}; sleep 0.05; done"

def daemon(name):
    subprocess.run(["sh", "-c", 'setsid sh -c "$0" & exit 0', ticking(name)])

async def start(what):
    loop = asyncio.get_running_loop() if what in LOOP else None
    match what:
        case "to_thread": await asyncio.to_thread(tick, what)
        case "work of the loop": await loop.run_in_executor(None, tick, what)
        case "work of a pool": await asyncio.wrap_future(pool.submit(tick, what))
        case "thread": threading.Thread(target=tick, args=(what,), daemon=True).start()
        case "thread of a thread":
            threading.Thread(target=lambda: threading.Thread(target=tick, args=(what,)).start()).start()
        case "task": globals()["kept"] = loop.create_task(tick_in_loop(what))
        case "task that swallows": globals()["kept"] = loop.create_task(tick_in_loop(what))
        case "timer":
            def again(): note("timer ticks"); loop.call_later(0.05, again)
            again()
        case "subprocess": await (await asyncio.create_subprocess_shell(ticking(what))).wait()
        case "session": await (await asyncio.create_subprocess_shell(ticking(what), start_new_session=True)).wait()
        case "popen": subprocess.Popen(["sh", "-c", ticking(what)])
        case "popen, process group": subprocess.Popen(["sh", "-c", ticking(what)], process_group=0)
        case "posix_spawn": os.posix_spawn("/bin/sh", ["sh", "-c", ticking(what)], os.environ, setsid=True)
        case "fork":
            if os.fork() == 0: os.setsid(); tick(what)
        case "daemon": daemon(what)
        case "daemon of a thread": await asyncio.to_thread(daemon, what)
        case "multiprocessing": multiprocessing.get_context("fork").Process(target=tick, args=(what,)).start()
        case "swallows": await tick_in_loop(what)
LOOP = ["work of the loop", "task", "task that swallows", "timer"]
"""
CONCURRENT = """
@executor("mail")
async def mail(payload, job: Job):
    if payload == "neighbour":
        note(f"neighbour, attempt {job.attempt}")
        child = await asyncio.create_subprocess_exec("sleep", "1000")
        note(f"child {child.pid}")
        while not (FOLDER / "go").exists(): await asyncio.sleep(0.01)
        note(f"neighbour's child has {'ended' if child.returncode is not None else 'not ended'}")
        child.kill()
        await child.wait()
        return
    if job.attempt > 1:
        note("next attempt")
        time.sleep(0.3)
        note("end of the next attempt")
        return
    await start(payload)
    await asyncio.sleep(1000)
"""
SEQUENTIAL = """
@executor("mail")
def mail(payload, job: Job):
    if job.attempt > 1:
        note(f"{payload}: next attempt")
        time.sleep(0.3)
        note(f"{payload}: end of the next attempt")
        return
    asyncio.run(start(payload))
    time.sleep(1000)
"""
IN_BOTH = [
    "thread", "thread of a thread", "popen", "popen, process group", "posix_spawn", "fork", "daemon",
    "daemon of a thread", "multiprocessing",
]  # fmt: skip
IN_COROUTINES = [
    *IN_BOTH, "to_thread", "work of the loop", "work of a pool", "task", "task that swallows", "timer", "subprocess",
    "session", "swallows",
]  # fmt: skip


def last_attempt(worker):
    notes = worker.notes()
    return notes[notes.index("next attempt") : notes.index("end of the next attempt") + 1]


@pytest.mark.parametrize("what", IN_COROUTINES)
def test_nothing_of_a_late_coroutine_goes_on_beside_its_next_attempt(beanstalkd, run_worker, what):
    neighbour = beanstalkd.put_json("mail", "neighbour", ttr=60)
    late = beanstalkd.put_json("mail", what, ttr=2)
    options = ("--async-concurrency", "4", "--retry-delays", "1s", "--drain-limit", "1s")
    worker = run_worker(beanstalkd.server, EXECUTORS + CONCURRENT, *options)
    line = worker.wait_for_line("failed, retry later", job=late)
    assert line["reason"] == too_long_reason(2)
    worker.wait_for_notes("end of the next attempt")
    assert last_attempt(worker) == ["next attempt", "end of the next attempt"]
    worker.wait_for_line("deleted", job=late)
    worker.allow("go")
    worker.wait_for_line("deleted", job=neighbour)
    assert "neighbour's child has not ended" in worker.notes()
    assert {note for note in worker.notes() if "neighbour, " in note} == {"neighbour, attempt 1"}
    assert worker.stop() == 0
    assert beanstalkd.count("mail") == NOTHING


def test_nothing_of_a_late_job_goes_on_beside_its_next_attempt(beanstalkd, run_worker):
    late = {what: beanstalkd.put_json("mail", what, ttr=3) for what in IN_BOTH}
    options = ("--retry-delays", "1s", "--concurrency", str(len(late)))
    worker = run_worker(beanstalkd.server, EXECUTORS + SEQUENTIAL, *options)
    for job in late.values():
        line = worker.wait_for_line("failed, retry later", job=job)
        assert line["reason"] == too_long_reason(3)
    for what, job in late.items():
        worker.wait_for_line("deleted", job=job)
        own = [note for note in worker.notes() if note in (f"{what} ticks", f"{what}: next attempt")]
        assert own[0] == f"{what} ticks", "what the job has started goes on until the deadline"
        assert own[-1] == f"{what}: next attempt", "and is gone by the next attempt"
    assert worker.stop() == 0
    assert beanstalkd.count("mail") == NOTHING


def test_what_can_be_ended_is_ended_at_once_and_the_slot_goes_on(beanstalkd, run_worker):
    kinds = ("task", "timer", "subprocess", "session", "popen", "posix_spawn", "daemon")
    for what in kinds:
        beanstalkd.put_json("mail", what, ttr=2)
    # All begin together: to start a process holds the loop, past the deadlines of others if the machine is busy.
    options = ("--async-concurrency", str(len(kinds)), "--retry-delays", "none")
    worker = run_worker(beanstalkd.server, EXECUTORS + CONCURRENT, *options)
    worker.wait_for_lines("buried", len(kinds))
    assert not worker.lines("slot recycled")
    assert not worker.lines("stopped at its deadline, but")
    assert worker.stop() == 0


DRAINING = """
import asyncio, os, threading, time
from traces import FOLDER, note
from tubeherd import Job, events, executor

rows = []

@events.flush.connect
def flush(reason, count): note(f"flush {rows}"); rows.clear()

@executor("mail")
async def mail(payload, job: Job):
    note(f"{payload} begins, attempt {job.attempt}, in {os.getpid()}")
    if payload == "late":
        await asyncio.to_thread(lambda: [time.sleep(0.05) for _ in range(10**6)])
    elif payload == "row":
        rows.append(payload)
        return
    while not (FOLDER / payload).exists(): await asyncio.sleep(0.01)
    note(f"{payload} ends")
"""
LEFT = "stopped at its deadline, but something of the job goes on"


def slot_of(worker, payload):
    return [int(note.split()[-1]) for note in worker.notes() if note.startswith(f"{payload} begins")]


@pytest.mark.slow
def test_slot_with_a_late_lane_finishes_its_other_jobs_while_another_slot_takes_the_next_ones(beanstalkd, run_worker):
    late = beanstalkd.put_json("mail", "late", ttr=2)
    beanstalkd.put_json("mail", "beside", ttr=60)
    worker = run_worker(beanstalkd.server, DRAINING, "--async-concurrency", "3", "--retry-delays", "none")
    worker.wait_for_line(LEFT, job=late)
    beanstalkd.put_json("mail", "next", ttr=60)
    worker.wait_for(lambda: slot_of(worker, "next"), "the next job begins")
    assert slot_of(worker, "next") != slot_of(worker, "beside") == slot_of(worker, "late")
    worker.wait_for(lambda: len(worker.slots()) == 2, "a second slot runs")
    assert beanstalkd.stats_job(late)["state"] == "reserved"
    assert beanstalkd.stats_job(late)["timeouts"] == 0
    for payload in ("next", "beside"):
        worker.allow(payload)
        worker.wait_for_notes(f"{payload} ends")
    worker.wait_for_line("buried", job=late, reason=too_long_reason(2))
    worker.wait_for(lambda: len(worker.slots()) == 1, "the first slot has ended")
    assert not worker.lines("released")
    assert worker.stop() == 0
    assert beanstalkd.count("mail") == NOTHING | {"buried": 1}


@pytest.mark.slow
def test_late_lane_keeps_its_lease_and_held_back_jobs_are_flushed(beanstalkd, run_worker):
    late = beanstalkd.put_json("mail", "late", ttr=2)
    beside = beanstalkd.put_json("mail", "beside", ttr=60)
    row = beanstalkd.put_json("mail", "row", ttr=60)
    options = ("--async-concurrency", "4", "--retry-delays", "none", "--ack-after-flush", "--batch-size", "50")
    worker = run_worker(beanstalkd.server, DRAINING, *options)
    worker.wait_for_line(LEFT, job=late)
    worker.allow("beside")
    worker.wait_for_line("buried", job=late)
    for job in (beside, row):
        worker.wait_for_line("deleted", job=job)
    stats = beanstalkd.stats_job(late)
    assert (stats["reserves"], stats["timeouts"], stats["buries"]) == (1, 0, 1)
    assert worker.stop() == 0


@pytest.mark.slow
def test_neighbours_that_do_not_end_in_time_are_interrupted_and_spend_no_attempt(beanstalkd, run_worker):
    late = beanstalkd.put_json("mail", "late", ttr=2)
    beside = beanstalkd.put_json("mail", "beside", ttr=60)
    options = ("--async-concurrency", "3", "--retry-delays", "none", "--drain-limit", "500ms")
    worker = run_worker(beanstalkd.server, DRAINING, *options)
    worker.wait_for_line("released", job=beside, delay=0)
    worker.wait_for_line("buried", job=late, reason=too_long_reason(2))
    worker.wait_for(lambda: len(slot_of(worker, "beside")) == 2, "it runs again")
    worker.allow("beside")
    worker.wait_for_line("deleted", job=beside)
    assert {note.split(", in")[0] for note in worker.notes() if "beside begins" in note} == {"beside begins, attempt 1"}
    assert worker.stop() == 0


@pytest.mark.slow
def test_slot_whose_lanes_are_all_late_ends_when_the_last_one_is(beanstalkd, run_worker):
    """So its jobs get their verdicts at once, and not at the limit of a minute that jobs beside them would have."""
    jobs = {ttr: beanstalkd.put_json("mail", "late", ttr=ttr) for ttr in (2, 4)}
    worker = run_worker(beanstalkd.server, DRAINING, "--async-concurrency", "2", "--retry-delays", "none")
    for ttr, job in jobs.items():
        worker.wait_for_line("buried", job=job, reason=too_long_reason(ttr))
        assert worker.lines(LEFT, job=job)
    worker.wait_for_line("slot recycled between jobs", pid=slot_of(worker, "late")[0])
    assert worker.stop() == 0


@pytest.mark.slow
def test_at_most_one_slot_of_a_place_drains_and_is_replaced(beanstalkd, run_worker):
    for _ in range(2):
        beanstalkd.put_json("mail", "beside", ttr=60)
    beanstalkd.put_json("mail", "late", ttr=2)
    worker = run_worker(beanstalkd.server, DRAINING, "--async-concurrency", "3", "--retry-delays", "none")
    worker.wait_for_line(LEFT)
    beanstalkd.put_json("mail", "late", ttr=2)
    beanstalkd.put_json("mail", "second", ttr=60)
    worker.wait_for_lines(LEFT, 2)
    third = beanstalkd.put_json("mail", "third", ttr=60)
    worker.wait_for(lambda: len(worker.slots()) == 2, "a second slot runs")
    worker.allow("beside")
    worker.wait_for(lambda: slot_of(worker, "third"), "the third slot begins when the first has ended")
    assert len({*slot_of(worker, "beside"), *slot_of(worker, "second"), *slot_of(worker, "third")}) == 3
    for payload in ("second", "third"):
        worker.allow(payload)
    worker.wait_for_line("deleted", job=third)
    worker.wait_for_lines("buried", 2)
    assert worker.stop() == 0


@pytest.mark.slow
def test_slot_is_killed_at_once_if_the_connection_of_its_late_lane_breaks(beanstalkd, run_worker, proxy):
    late = beanstalkd.put_json("mail", "late", ttr=2)
    beside = beanstalkd.put_json("mail", "beside", ttr=60)
    worker = run_worker(proxy.server, DRAINING, "--async-concurrency", "3", "--retry-delays", "none")
    worker.wait_for_line(LEFT, job=late)
    (slot,) = set(slot_of(worker, "late"))
    proxy.broken |= set(range(1, proxy.connections + 1))
    worker.wait_for(lambda: slot not in worker.slots(), "the slot is killed")
    worker.wait_for(lambda: len(slot_of(worker, "beside")) == 2, "the neighbour runs again")
    worker.allow("beside")
    worker.wait_for_line("deleted", job=beside)
    worker.wait_for_line("buried", job=late, reason=too_long_reason(2))


@pytest.mark.slow
def test_burial_of_a_late_lane_is_announced(beanstalkd, run_worker):
    late = beanstalkd.put_json("mail", "late", ttr=2)
    listener = '\n@events.job_buried.connect\ndef buried(job, **_): note(f"buried {job.id}")\n'
    worker = run_worker(beanstalkd.server, DRAINING + listener, "--async-concurrency", "2", "--retry-delays", "none")
    worker.wait_for_notes(f"buried {late}")
    worker.wait_for(lambda: len(worker.slots()) == 1, "one slot is left")
    assert worker.stop() == 0


@pytest.mark.slow
def test_worker_stops_although_a_slot_drains(beanstalkd, run_worker):
    late = beanstalkd.put_json("mail", "late", ttr=2)
    beanstalkd.put_json("mail", "beside", ttr=60)
    worker = run_worker(beanstalkd.server, DRAINING, "--async-concurrency", "2", "--retry-delays", "none")
    worker.wait_for_line(LEFT, job=late)
    worker.ask_to_stop()
    worker.allow("beside")
    assert worker.exit_code() == 0
    assert worker.lines("buried", job=late)
    assert not worker.living()


@pytest.mark.slow
def test_late_coroutine_of_a_sequential_slot_leaves_nothing_and_its_slot_only_if_need_be(beanstalkd, run_worker):
    worker = run_worker(beanstalkd.server, EXECUTORS + CONCURRENT, "--retry-delays", "none")

    def slots_after(*late):
        for job in [beanstalkd.put_json("mail", what, ttr=2) for what in late]:
            worker.wait_for_line("buried", job=job)
        return worker.slots()

    slots = worker.wait_for(worker.slots, "a slot")
    assert slots_after("subprocess", "task") == slots
    slots_after("to_thread")
    worker.wait_for(lambda: worker.slots() not in ([], slots), "another slot")
    ticks = len(worker.notes())
    beanstalkd.put_json("mail", "neighbour", ttr=60)
    worker.allow("go")
    worker.wait_for_notes("neighbour's child has not ended")
    assert not [note for note in worker.notes()[ticks:] if "ticks" in note]
    assert worker.stop() == 0


def test_orphans_of_jobs_are_reaped_by_their_slot_and_exit_codes_are_left_to_the_jobs(beanstalkd, run_worker):
    executors = """
    import subprocess
    from traces import note
    from tubeherd import executor
    kept = []
    @executor("mail")
    def mail(payload):
        if payload is None: return
        subprocess.run(["sh", "-c", "sleep 0 & exit 0"])
        kept.append(subprocess.Popen(["sh", "-c", "exit 7"]))
        if payload: note([process.wait() for process in kept])
    """
    for payload in (False, False):
        beanstalkd.put_json("mail", payload)
    worker = run_worker(beanstalkd.server, executors)
    worker.wait_for_lines("deleted", 2)
    (slot,) = worker.slots()
    worker.wait_for(lambda: beanstalkd.waiting("mail") == 1, "it waits")
    beanstalkd.put_json("mail", True)
    worker.wait_for_notes("[7, 7, 7]")
    worker.wait_for(lambda: beanstalkd.waiting("mail") == 1, "it waits")
    worker.wait_for(lambda: not _looked_again(beanstalkd, worker, slot), "the orphans are reaped")
    assert worker.stop() == 0


@pytest.mark.parametrize("lanes", ["1", "2"])
def test_slot_that_never_waits_for_a_job_reaps_orphans_too(beanstalkd, run_worker, lanes):
    executors = """
    import subprocess, time
    from tubeherd import executor
    @executor("mail")
    def mail(orphans):
        for _ in range(orphans): subprocess.run(["sh", "-c", "sleep 0 & exit 0"])
        time.sleep(0.1)
    """
    beanstalkd.put_json("mail", 5)
    beanstalkd.put_json("mail", 0)
    worker = run_worker(beanstalkd.server, executors, "--async-concurrency", lanes)
    worker.wait_for_lines("deleted", 1)
    (slot,) = worker.slots()

    def has_no_orphans():
        """Return whether there are none, and keep the slot busy: it has another job whenever it ends one."""
        while beanstalkd.count("mail")["ready"] < 20:
            beanstalkd.put_json("mail", 0)
        return not children(slot)

    assert children(slot)
    worker.wait_for(has_no_orphans, "the orphans are reaped")


def _looked_again(beanstalkd, worker, slot):
    """Have a slot look for orphans, which it does when it waits for a job, and return its children."""
    job = beanstalkd.put_json("mail", None)
    worker.wait_for_line("deleted", job=job)
    worker.wait_for(lambda: beanstalkd.waiting("mail") == 1, "it waits")
    return children(slot)


def test_exit_code_of_a_process_that_a_library_starts_is_left_to_the_library(beanstalkd, run_worker):
    executors = """
    import asyncio, ctypes
    from traces import FOLDER, note
    from tubeherd import executor
    @executor("mail")
    async def mail(payload):
        if payload:
            libc, pid, status = ctypes.CDLL(None), ctypes.c_int(), ctypes.c_int()
            words = (ctypes.c_char_p * 2)(b"false", None)
            libc.posix_spawn(ctypes.byref(pid), b"/bin/false", None, None, words, None)
            note("started")
            while not (FOLDER / "go").exists(): await asyncio.sleep(0.01)
            note(f"own {libc.waitpid(pid.value, ctypes.byref(status), 0) == pid.value}")
    """
    worker = run_worker(beanstalkd.server, executors, "--async-concurrency", "2")
    beanstalkd.put_json("mail", True)
    worker.wait_for_notes("started")
    (slot,) = worker.slots()
    worker.wait_for(lambda: all(map(has_ended, children(slot))), "the process has ended")
    job = beanstalkd.put_json("mail", None)
    worker.wait_for_line("deleted", job=job)
    worker.wait_for(lambda: beanstalkd.waiting("mail") == 1, "it looks for orphans, and waits")
    worker.allow("go")
    worker.wait_for_notes("own True")
