"""Whatever a job leaves in event loops, in threads that Python's `threading` does not start, and in pools, is ended.

Many jobs, each of which leaves something of another kind, are late at the same time in one worker.
"""

import pytest

from tests.support.beanstalkd import NOTHING
from tubeherd.processing.deadlines import too_long_reason

LEFT = "stopped at its deadline, but something of the job goes on"

KINDS = """
import asyncio, concurrent.futures, ctypes, functools, multiprocessing, multiprocessing.pool, os, signal, socket
import subprocess, threading, time, _thread
from traces import FOLDER, note
from tubeherd import Job, executor

kept, ports = [], []
pool = concurrent.futures.ThreadPoolExecutor(8)
thread_pool = multiprocessing.pool.ThreadPool(1)
other_loop = asyncio.new_event_loop()
threading.Thread(target=other_loop.run_forever, daemon=True).start()
by_hand = asyncio.new_event_loop()
TICKING = "while :; do echo %s ticks >> %s; sleep 0.05; done"

def connect_again_and_again():
    while not (FOLDER / "end").exists():
        for port in list(ports):
            try:
                with socket.create_connection(("127.0.0.1", port)): pass
            except OSError: pass
        time.sleep(0.05)

threading.Thread(target=connect_again_and_again, daemon=True).start()

def tick(name):
    while not (FOLDER / "end").exists():
        note(f"{name} ticks")
        time.sleep(0.05)

async def tick_in_loop(name):
    while True:
        note(f"{name} ticks")
        await asyncio.sleep(0.05)

def tick_once(name, last={}):
    if time.monotonic() > last.get(name, 0) + 0.02:
        note(f"{name} ticks")
        last[name] = time.monotonic()

def again(later, name):
    tick_once(name)
    later(again, later, name)

async def endless(name):
    try:
        while True: yield name
    finally:
        for _ in range(5):
            note(f"{name} ticks")
            await asyncio.sleep(0.05)
        note(f"{name} is closed")

class Ticking(asyncio.Protocol):
    def __init__(self, name): self.name = name
    def connection_made(self, transport): note(f"{self.name} ticks")
    def data_received(self, data): note(f"{self.name} ticks")

def shell(name): return ["sh", "-c", TICKING % (name, FOLDER / "notes")]

@ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p)
def foreign(_): tick("thread of C")

def start(what):
    loop = asyncio.get_running_loop() if asyncio._get_running_loop() else None
    match what:
        case "reader" | "writer":
            kept.extend(pair := socket.socketpair())
            pair[1].send(b"data")
            (loop.add_reader if what == "reader" else loop.add_writer)(pair[0], tick_once, what)
        case "call_soon": again(loop.call_soon, what)
        case "call_soon_threadsafe": again(loop.call_soon_threadsafe, what)
        case "call_later": again(functools.partial(loop.call_later, 0.02), what)
        case "call_at":
            def at(): tick_once(what); loop.call_at(loop.time() + 0.02, at)
            at()
        case "task of no factory": kept.append(asyncio.Task(tick_in_loop(what), loop=loop))
        case "factory":
            factory = loop.get_task_factory()
            loop.set_task_factory(None)
            kept.append(loop.create_task(tick_in_loop(what)))
            loop.set_task_factory(factory)
        case "other loop": asyncio.run_coroutine_threadsafe(tick_in_loop(what), other_loop)
        case "task of another loop": other_loop.call_soon_threadsafe(other_loop.create_task, tick_in_loop(what))
        case "callback of another loop": other_loop.call_soon_threadsafe(again, other_loop.call_soon, what)
        case "loop run by hand":
            kept.append(by_hand.create_task(tick_in_loop(what)))
            by_hand.run_until_complete(asyncio.sleep(1000))
        case "interval timer":
            signal.signal(signal.SIGALRM, lambda *_: note(f"{what} ticks"))
            signal.setitimer(signal.ITIMER_REAL, 0.05, 0.05)
        case "alarm":
            signal.signal(signal.SIGALRM, lambda *_: (note(f"{what} ticks"), signal.alarm(1)))
            signal.alarm(1)
        case "timer of threading":
            def tick_later(): tick_once(what); threading.Timer(3.2, tick_later).start()
            threading.Timer(3.2, tick_later).start()
        case "bare thread": _thread.start_new_thread(tick, (what,))
        case "thread of work": pool.submit(lambda: threading.Thread(target=tick, args=(what,)).start())
        case "child of work": pool.submit(lambda: kept.append(subprocess.Popen(shell(what)))).result()
        case "thread of C": ctypes.CDLL(None).pthread_create(ctypes.byref(ctypes.c_ulong()), None, foreign, None)
        case "fork server": multiprocessing.get_context("forkserver").Process(target=tick, args=(what,)).start()
        case "child of a process pool":
            kept.append(processes := concurrent.futures.ProcessPoolExecutor(1, multiprocessing.get_context("fork")))
            processes.submit(leave_child, shell(what)).result()
        case "thread pool of multiprocessing": thread_pool.apply_async(tick, (what,))

def leave_child(words): subprocess.Popen(words)

async def start_in_loop(what):
    loop = asyncio.get_running_loop()
    match what:
        case "thread of to_thread": await asyncio.to_thread(lambda: threading.Thread(target=tick, args=(what,)).start())
        case "child of to_thread": await asyncio.to_thread(lambda: kept.append(subprocess.Popen(shell(what))))
        case "generator":
            async for _ in endless(what): await asyncio.sleep(1000)
        case "named generator":
            numbers = endless(what)
            async for _ in numbers: await asyncio.sleep(1000)
        case "server": await serve(await asyncio.start_server(lambda *_: tick_once(what), "127.0.0.1", 0))
        case "server of protocols": await serve(await loop.create_server(lambda: Ticking(what), "127.0.0.1", 0))
        case "protocol":
            pair = socket.socketpair()
            kept.append(await loop.create_connection(lambda: Ticking(what), sock=pair[0]))
            _thread.start_new_thread(lambda: [(pair[1].send(b"x"), time.sleep(0.05)) for _ in range(200)], ())
        case _: start(what)

async def serve(server):
    kept.append(server)
    ports.append(server.sockets[0].getsockname()[1])

async def second(payload):
    note(f"next attempt of {payload}")
    await asyncio.sleep(0.3)
    note(f"end of {payload}")
"""
CONCURRENT = """
@executor("mail")
async def mail(payload, job: Job):
    if payload == "neighbour":
        note(f"neighbour, attempt {job.attempt}")
        while not (FOLDER / "go").exists(): await asyncio.sleep(0.01)
    elif job.attempt > 1: await second(payload)
    else:
        await start_in_loop(payload)
        await asyncio.sleep(1000)
"""
SEQUENTIAL = """
@executor("mail")
def mail(payload, job: Job):
    if job.attempt > 1:
        note(f"next attempt of {payload}")
        by_hand.run_until_complete(asyncio.sleep(0.3))
        note(f"end of {payload}")
    else:
        start(payload)
        time.sleep(1000)
"""
ENDED_IN_LOOPS = [
    "reader", "writer", "call_soon", "call_soon_threadsafe", "call_later", "call_at", "task of no factory", "factory",
    "other loop", "task of another loop", "callback of another loop", "interval timer", "timer of threading",
    "child of to_thread", "generator", "named generator", "server", "server of protocols",
]  # fmt: skip
ONLY_ENDED_WITH_THE_SLOT_OF_LOOPS = ["protocol", "thread of to_thread"]
ENDED = [
    "other loop", "task of another loop", "callback of another loop", "loop run by hand", "interval timer", "alarm",
    "timer of threading",
]  # fmt: skip
ONLY_ENDED_WITH_THE_SLOT = [
    "bare thread", "thread of work", "child of work", "thread of C", "fork server", "child of a process pool",
    "thread pool of multiprocessing",
]  # fmt: skip


def went_on(worker, what):
    """Return what was noted of the first attempt after the next one began."""
    notes = worker.notes()
    return [note for note in notes[notes.index(f"next attempt of {what}") :] if note == f"{what} ticks"]


def show_nothing_goes_on(worker, jobs):
    worker.wait_for_notes(*(f"end of {what}" for what in jobs))
    assert {what: len(ticks) for what in jobs if (ticks := went_on(worker, what))} == {}


@pytest.mark.slow
def test_what_late_coroutines_have_left_in_loops_is_ended_and_the_slot_goes_on(beanstalkd, run_worker):
    beanstalkd.put_json("mail", "neighbour", ttr=60)
    jobs = {what: beanstalkd.put_json("mail", what, ttr=2) for what in ENDED_IN_LOOPS}
    options = ("--async-concurrency", str(len(jobs) + 1), "--retry-delays", "1s")
    worker = run_worker(beanstalkd.server, KINDS + CONCURRENT, *options)
    worker.wait_for_lines("failed, retry later", len(jobs))
    worker.allow("go")
    show_nothing_goes_on(worker, jobs)
    assert not worker.lines(LEFT)
    assert {"generator is closed", "named generator is closed"} <= set(worker.notes())
    worker.wait_for_lines("deleted", len(jobs) + 1)
    assert [note for note in worker.notes() if "neighbour, " in note] == ["neighbour, attempt 1"]
    assert worker.stop() == 0
    assert beanstalkd.count("mail") == NOTHING


@pytest.mark.slow
def test_slot_drains_if_it_cannot_end_what_late_coroutines_have_left(beanstalkd, run_worker):
    kinds = [*ONLY_ENDED_WITH_THE_SLOT, *ONLY_ENDED_WITH_THE_SLOT_OF_LOOPS]
    neighbour = beanstalkd.put_json("mail", "neighbour", ttr=60)
    jobs = {what: beanstalkd.put_json("mail", what, ttr=2) for what in kinds}
    options = ("--async-concurrency", str(len(jobs) + 1), "--retry-delays", "1s", "--drain-limit", "5s")
    worker = run_worker(beanstalkd.server, KINDS + CONCURRENT, *options)
    worker.wait_for(lambda: worker.lines(LEFT), "the slot drains")
    worker.wait_for_lines("failed, retry later", len(jobs))
    show_nothing_goes_on(worker, jobs)
    assert {line["job"] for line in worker.lines(LEFT)} == set(jobs.values())
    worker.allow("go")
    worker.wait_for_line("deleted", job=neighbour)
    assert {note for note in worker.notes() if "neighbour, " in note} == {"neighbour, attempt 1"}
    assert worker.stop() == 0


@pytest.mark.slow
def test_thread_of_a_coroutine_that_held_the_loop_drains_the_slot_too(beanstalkd, run_worker):
    executors = """
    import _thread, time
    from tubeherd import executor
    @executor("mail")
    async def mail(payload):
        _thread.start_new_thread(time.sleep, (1000,))
        time.sleep(1000)
    """
    late = beanstalkd.put_json("mail", None, ttr=2)
    worker = run_worker(beanstalkd.server, executors, "--async-concurrency", "2", "--retry-delays", "none")
    worker.wait_for_line(LEFT, job=late)
    worker.wait_for_line("buried", job=late, reason=too_long_reason(2))
    assert worker.stop() == 0


@pytest.mark.parametrize("kinds", [ENDED, ONLY_ENDED_WITH_THE_SLOT], ids=["ended", "only ended with the slot"])
def test_nothing_that_late_jobs_have_left_goes_on_beside_their_next_attempts(beanstalkd, run_worker, kinds):
    jobs = {what: beanstalkd.put_json("mail", what, ttr=2) for what in kinds}
    options = ("--concurrency", str(len(jobs)), "--retry-delays", "1s", "--drain-limit", "1s")
    worker = run_worker(beanstalkd.server, KINDS + SEQUENTIAL, *options)
    show_nothing_goes_on(worker, jobs)
    assert {line["job"] for line in worker.lines(LEFT)} == (set() if kinds is ENDED else set(jobs.values()))
    assert worker.stop() == 0
    assert beanstalkd.count("mail") == NOTHING
