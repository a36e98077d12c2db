"""What user code does outside of its executor's call harms its own job only: the jobs beside it go on."""

import pytest

from tubeherd.processing.deadlines import too_long_reason

EXECUTORS = """
import asyncio, os, signal, sys, threading, time, weakref
from pydantic import BaseModel, model_validator
from traces import FOLDER, note
from tubeherd import Abort, Job, Reject, Reschedule, events, executor

def harm():
    match HARM:
        case "SystemExit": raise SystemExit(3)
        case "KeyboardInterrupt": raise KeyboardInterrupt
        case "BaseException": raise BaseException
        case "CancelledError": raise asyncio.CancelledError
        case "stops": asyncio.get_running_loop().stop()
    return "harm"

class Text(str):
    def __str__(self): return harm()
    def split(self, *_): return [harm()]
    def __len__(self): harm(); return 1
class Harmful:
    def __str__(self): return harm()
    def __repr__(self): return harm()
    def __eq__(self, other): harm(); return True
    def __hash__(self): harm(); return 1
    def __bool__(self): harm(); return True
    def __del__(self): harm()
class Error(Harmful, Exception):
    __traceback__ = property(lambda self: harm())
    __cause__ = property(lambda self: harm())
    __notes__ = property(lambda self: harm())
    __class__ = property(lambda self: harm() and Exception)
class Later(Reschedule):
    def delay(self, now): return harm()
class Much(Reschedule):
    def delay(self, now): return 2**40
class Stops(Abort):
    def __str__(self): return harm()
class Refuses(Reject):
    def __str__(self): return harm()
class Manager:
    def __enter__(self): pass
    def __exit__(self, *_): harm()
class Payload(BaseModel):
    place: str = ""
    @model_validator(mode="after")
    def check(self):
        if self.place == "validator": harm()
        return self

@events.job_buried.connect
def buried(job, reason, **_):
    if "listener" in reason: harm()

@executor("mail")
async def mail(payload: Payload, job: Job):
    loop = asyncio.get_running_loop()
    if job.priority == 7:
        note(f"neighbour, attempt {job.attempt}")
        while not (FOLDER / "go").exists(): await asyncio.sleep(0.01)
        return
    match payload.place:
        case "listener": raise ValueError("listener")
        case "exception": raise Error
        case "group": raise ExceptionGroup(Text("x"), [Error(), Error()])
        case "message": raise ValueError(Text("x"), Harmful())
        case "reschedule": raise Later(5)
        case "long reschedule": raise Much(5)
        case "message of a reschedule": raise Reschedule(5, message=Text("x"))
        case "priority of a reschedule":
            error = Reschedule(5); error.priority = Harmful(); raise error
        case "text as priority":
            error = Reschedule(5); error.priority = "x"; raise error
        case "abort's text": raise Refuses("x")
        case "result": return Harmful()
        case "result that is awaitable":
            class Result:
                def __await__(self): harm(); yield
            return Result()
        case "callback": loop.call_soon(harm); await asyncio.sleep(0.1)
        case "callback from a thread":
            threading.Thread(target=lambda: loop.call_soon_threadsafe(harm)).start(); await asyncio.sleep(0.1)
        case "later callback": loop.call_later(0.05, harm)
        case "callback of its own task": asyncio.current_task().add_done_callback(lambda _: harm())
        case "task":
            async def other(): harm()
            task = loop.create_task(other())
            await asyncio.sleep(0.1)
        case "forgotten task":
            async def other(): raise Error
            loop.create_task(other())
        case "task that is left":
            async def other(): await asyncio.sleep(0.05); harm()
            globals()["kept"] = loop.create_task(other())
        case "context manager":
            with Manager(): pass
        case "weak reference":
            thing = Harmful()
            globals()["reference"] = weakref.ref(thing, lambda _: harm())
        case "exception handler":
            loop.set_exception_handler(lambda *_: harm())
            loop.call_soon(lambda: 1 / 0); await asyncio.sleep(0.1)
        case "the call": harm()
"""
KINDS = ["SystemExit", "KeyboardInterrupt", "BaseException", "stops"]
PLACES = [
    "exception", "group", "message", "reschedule", "long reschedule", "message of a reschedule",
    "priority of a reschedule", "text as priority", "abort's text", "result", "result that is awaitable", "callback",
    "callback from a thread", "later callback", "callback of its own task", "task", "forgotten task",
    "task that is left", "context manager", "weak reference", "exception handler", "the call", "listener", "validator",
]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_neighbours_go_on_whatever_user_code_raises_and_wherever(beanstalkd, run_worker, kind):
    options = ("--async-concurrency", "4", "--retry-delays", "none")
    worker = run_worker(beanstalkd.server, f"HARM = {kind!r}\n{EXECUTORS}", *options)
    for _ in range(3):
        beanstalkd.put_json("mail", {}, priority=7)
    worker.wait_for(lambda: len(worker.notes()) == 3, "the neighbours run")
    for place in PLACES:
        job = beanstalkd.put_json("mail", {"place": place}, priority=8)
        # What the job's code logs has the job too, but no seconds.
        worker.wait_for(
            lambda job=job: any("seconds" in line for line in worker.lines(job=job)),
            f"{place}: the job has its verdict",
        )
        following = beanstalkd.put_json("mail", {"place": "none"}, priority=9)
        worker.wait_for_line("deleted", job=following)
        assert not worker.lines("the slot died"), place
        assert not worker.lines("the slot ends"), place
    beanstalkd.put_json("mail", {}, priority=7)
    worker.allow("go")
    worker.wait_for(lambda: beanstalkd.count("mail")["reserved"] + beanstalkd.count("mail")["ready"] == 0, "all done")
    assert worker.notes() == ["neighbour, attempt 1"] * 4
    assert kind == "stops" or worker.lines("a listener of worker.job.buried raised")
    assert worker.stop() == 0
    assert not worker.lines("the slot died")
    assert not worker.lines("the slot ends")


HOLDING = """
import asyncio, time
from traces import FOLDER, note
from tubeherd import Job, executor
class Error(Exception):
    def __str__(self): time.sleep(100); return "x"
class Slow:
    def __del__(self): time.sleep(100)
@executor("mail")
async def mail(payload, job: Job):
    loop = asyncio.get_running_loop()
    note(f"{payload} attempt {job.attempt}")
    if payload != "neighbour":
        while not (FOLDER / "hold").exists(): await asyncio.sleep(0.01)
    match payload:
        case "neighbour": await asyncio.sleep(100)
        case "exception": raise Error
        case "result": return Slow()
        case "callback": loop.call_soon(lambda: time.sleep(100)); await asyncio.sleep(1)
        case "left callback": loop.call_later(0.1, lambda: time.sleep(100))
"""


@pytest.mark.parametrize("payload", ["result", "exception", "callback", "left callback"])
def test_code_that_holds_the_loop_outside_of_its_call_costs_only_those_that_are_late(beanstalkd, run_worker, payload):
    holder = beanstalkd.put_json("mail", payload, ttr=60)
    late = beanstalkd.put_json("mail", "neighbour", ttr=2)
    beside = beanstalkd.put_json("mail", "neighbour", ttr=60)
    worker = run_worker(beanstalkd.server, HOLDING, "--async-concurrency", "4", "--retry-delays", "none")
    worker.wait_for(lambda: len(worker.notes()) == 3, "all run")
    worker.allow("hold")
    assert worker.wait_for_line("buried", job=late)["reason"] == too_long_reason(2)
    worker.wait_for(lambda: worker.lines(job=holder), "its verdict")
    assert not worker.lines("buried", job=beside)


IN_TURN = """
import asyncio
from tubeherd import executor
@executor("harm")
def harm(payload):
    return closes() if payload == "closes the loop" else leave(payload)
def closes():
    asyncio.get_event_loop().close()
async def leave(payload):
    loop = asyncio.get_running_loop()
    async def raise_later():
        await asyncio.sleep(0.05)
        raise KeyboardInterrupt
    match payload:
        case "stops the loop": loop.call_later(0.05, loop.stop)
        case "callback": loop.call_later(0.05, exit)
        case "task": globals()["kept"] = loop.create_task(raise_later())
@executor("mail")
async def mail(payload):
    await asyncio.sleep(0.2)
"""


@pytest.mark.parametrize("payload", ["stops the loop", "callback", "task", "closes the loop"])
def test_what_a_job_leaves_in_the_loop_costs_no_later_job_of_a_slot_that_runs_one_at_a_time(
    beanstalkd, run_worker, payload
):
    first = beanstalkd.put_json("mail", {}, priority=0)
    beanstalkd.put_json("harm", payload, priority=1)
    jobs = [first, *(beanstalkd.put_json("mail", {}, priority=2) for _ in range(2))]
    worker = run_worker(beanstalkd.server, IN_TURN, "--retry-delays", "none")
    for job in jobs:
        worker.wait_for(lambda job=job: worker.lines(job=job), "the verdict")
    assert not worker.lines("buried", tube="mail")
    assert worker.stop() == 0
