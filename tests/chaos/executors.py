"""The executors under attack. Every run leaves a record before it does anything, and after it did everything."""

import asyncio
import ctypes
import json
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel

from tubeherd import Abort, Job, Reschedule, events, executor

RECORDS: Final = Path(os.environ["CHAOS_RECORDS"])
BEGAN: Final = float(os.environ["CHAOS_BEGAN"])
ACKS_LATE: Final = "--ack-after-flush" in sys.argv
_LONG: Final = 3600
_LEFT_BEHIND_SECONDS: Final = 15
_PIECE: Final = 16 << 20
_PIECES_MOST: Final = 40


@dataclass
class Record:
    """What a job is told to do; see jobs.py."""

    number: int
    kind: str
    times: int
    due: float


class Task(BaseModel):
    """The same as a pydantic model."""

    number: int
    kind: str
    times: int
    due: float


def note(*words: object) -> None:
    """Append a line in one write, which survives any kill: the system has it."""
    file = os.open(RECORDS, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(file, (" ".join(map(str, words)) + "\n").encode())
    os.close(file)


def begin(task: Record | Task, job: Job) -> None:
    note("begin", task.number, job.id, job.attempt, os.getpid(), os.getppid(), time.time())


unwritten: Final[list[int]] = []
"""Jobs that were done and are only recorded by the flush, where jobs are deleted after that."""


def end(task: Record | Task) -> None:
    unwritten.append(task.number)
    if not ACKS_LATE:
        write("at once")


@events.flush.connect
def write(reason: str, count: int = 1) -> None:
    for number in unwritten:
        note("end", number, os.getpid(), time.time())
    unwritten.clear()


def pause(task: Record | Task) -> float:
    """Return how long a job takes, in seconds: the queue is to last as long as the faults do."""
    return max(random.Random(task.number).uniform(0.001, 0.01), min(0.2, BEGAN + task.due - time.time()))


def first_time(task: Record | Task) -> bool:
    """Tell whether the job never got this far; only of jobs whose attempts do not tell it."""
    with suppress(FileExistsError):
        os.close(os.open(f"{RECORDS}.{task.number}", os.O_CREAT | os.O_EXCL))
        return True
    return False


def fail() -> None:
    try:
        raise KeyError("the cause")
    except KeyError as error:
        raise RuntimeError("as told") from error


def sleep() -> None:
    time.sleep(_LONG)


def swallow() -> None:
    while True:
        with suppress(BaseException):
            time.sleep(_LONG)


def swallow_and_return() -> None:
    """Swallow what breaks it off, go on for a second, and return as if nothing had happened.

    It returns only after it was broken off: a job that a stopped supervisor lets run on past its deadline may be done.
    """
    with suppress(BaseException):
        time.sleep(_LONG)
    ends = time.monotonic() + 1
    while time.monotonic() < ends:
        with suppress(BaseException):
            time.sleep(0.3)


def live(task: Record | Task, slot: int) -> None:
    """Note again and again that this goes on, for some seconds."""
    ends = time.monotonic() + _LEFT_BEHIND_SECONDS
    while time.monotonic() < ends:
        note("alive", task.number, slot, time.time())
        time.sleep(0.02)


def leave_behind(task: Record | Task) -> None:
    """Start a thread, a child, and a process that nobody is the parent of; they go on unless somebody ends them."""
    slot = os.getpid()
    threading.Thread(target=live, args=(task, slot), daemon=True).start()
    if (child := os.fork()) == 0:
        os.setsid()
        if os.fork() > 0:
            os._exit(0)
        live(task, slot)
        os._exit(0)
    os.waitpid(child, 0)
    if os.fork() == 0:
        live(task, slot)
        os._exit(0)


def block() -> None:
    """Wait in C for a mutex that this thread holds, with the interpreter's lock: no signal is handled."""
    library, mutex = ctypes.PyDLL(None), ctypes.create_string_buffer(64)
    library.pthread_mutex_lock(mutex)
    library.pthread_mutex_lock(mutex)


def stop() -> None:
    os.kill(os.getpid(), signal.SIGSTOP)
    time.sleep(_LONG)  # where somebody continued it


def grow() -> None:
    pieces = []
    for _ in range(_PIECES_MOST):
        pieces.append(b"x" * _PIECE)
        time.sleep(0.05)
    raise MemoryError("nobody stopped it")


def leave() -> None:
    os._exit(0)


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def crash() -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


MISBEHAVIOUR: Final[dict[str, Callable[[], None]]] = {
    "fail": fail,
    "sleep": sleep,
    "swallow": swallow,
    "swallow_and_return": swallow_and_return,
    "block": block,
    "stop": stop,
    "grow": grow,
    "exit": leave,
    "kill": kill,
    "crash": crash,
}
"""What never comes to its end."""


def misbehave(task: Record | Task, job: Job) -> bool:
    """Do what the job is told; return whether the executor is to return at once, as in a forked process."""
    if task.kind in MISBEHAVIOUR and job.attempt <= task.times:
        MISBEHAVIOUR[task.kind]()
        return True
    if task.kind == "leave_behind" and job.attempt <= task.times:
        leave_behind(task)
        sleep()
    elif task.kind == "reschedule" and first_time(task):
        raise Reschedule(in_=task.number % 4, message="reschedule")
    elif task.kind == "abort" and first_time(task):
        raise Abort("abort")
    elif task.kind == "close_files":
        os.closerange(3, 1024)
    elif task.kind == "close_streams":
        os.closerange(0, 3)
        print("nobody can read this")
    elif task.kind == "fork_and_stay" and os.fork() == 0:
        time.sleep(_LONG)
        os._exit(0)
    return task.kind == "fork_and_return" and os.fork() == 0


def run(task: Record | Task, job: Job) -> None:
    begin(task, job)
    if misbehave(task, job):
        return
    time.sleep(pause(task))
    end(task)


@executor("plain")
def plain(payload: Any, job: Job) -> None:
    run(Record(**payload), job)


@executor("raw")
def raw(payload: bytes, job: Job) -> None:
    run(Record(**json.loads(payload)), job)


@executor("model")
def model(payload: Task, job: Job) -> None:
    run(payload, job)


@executor("record")
def record(payload: Record, job: Job) -> None:
    run(payload, job)


async def leave_behind_in_loop(task: Task) -> None:
    """Start a thread and a program, and wait past the deadline; both go on unless somebody ends them."""
    slot = os.getpid()
    words = f"alive {task.number} {slot} $(date +%s.%N)"
    script = f'for _ in $(seq {50 * _LEFT_BEHIND_SECONDS}); do echo "{words}" >> "$0"; sleep 0.02; done'
    thread = asyncio.create_task(asyncio.to_thread(live, task, slot))
    program = await asyncio.create_subprocess_exec("sh", "-c", script, str(RECORDS), start_new_session=True)
    await asyncio.gather(thread, program.wait())
    await asyncio.sleep(_LONG)


@executor("coroutine")
async def coroutine(payload: Task, job: Job) -> None:
    begin(payload, job)
    while payload.kind in ("sleep", "swallow") and job.attempt <= payload.times:
        with suppress(BaseException if payload.kind == "swallow" else TimeoutError):
            await asyncio.sleep(_LONG)
    if payload.kind == "swallow_and_return" and job.attempt <= payload.times:
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(_LONG)
        return
    if payload.kind == "leave_behind" and job.attempt <= payload.times:
        await leave_behind_in_loop(payload)
    if misbehave(payload, job):
        return
    await asyncio.sleep(pause(payload))
    end(payload)
