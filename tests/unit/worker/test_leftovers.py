"""What belongs to whom of what jobs start, in tables: threads, processes, alarms, and what is in event loops."""

import _thread
import asyncio
import concurrent.futures
import functools
import gc
import signal
import subprocess
import threading
import types
import weakref
from contextvars import Context

import pytest

from tests.support.waiting import PATIENCE, wait_for
from tubeherd.job import Job, current_job
from tubeherd.processing import started
from tubeherd.processing.left_in_loops import LeftInLoops, context_of, is_own_code, suspended_generators
from tubeherd.processing.leftovers import Leftovers
from tubeherd.processing.started import is_infrastructure

JOB = Job(7, "mail", 1, 5, 0, 0)
OTHER = Job(7, "mail", 1, 5, 0, 0)
"""Another attempt at an equal job: only the very object counts."""


@pytest.mark.parametrize(("ended", "after"), [(100, 2.0), (101, 0.5)])
def test_orphans_are_reaped_after_a_while_which_is_short_if_they_are_many(monkeypatch, ended, after):
    now, reaped = [7.0], []
    monkeypatch.setattr(started.os, "waitid", lambda *_: True)
    monkeypatch.setattr(started.os, "waitpid", lambda pid, _: reaped.append(pid))
    monkeypatch.setattr(started, "children", lambda _: range(ended))
    monkeypatch.setattr(started, "has_ended", lambda _: True)
    monkeypatch.setattr(started, "_ended_before", {})
    monkeypatch.setattr(started.time, "monotonic", lambda: now[0])
    started.reap_orphans()
    now[0] += after - 0.2
    started.reap_orphans()
    assert reaped == []
    now[0] += 0.2
    started.reap_orphans()
    assert reaped == [*range(ended)]


# Threads and processes: what several jobs share


def frames(*modules):
    """Return what `is_infrastructure` sees of a stack; each as `module:function`, the innermost first."""
    frame = None
    for each in reversed(modules):
        module, _, function = each.partition(":")
        code = types.SimpleNamespace(co_name=function)
        frame = types.SimpleNamespace(f_globals={"__name__": module}, f_code=code, f_back=frame)
    return frame


@pytest.mark.parametrize(
    ("stack", "shared"),
    [
        ([], False),
        (["mail:mail"], False),
        (["threading:start", "mail:mail"], False),
        (["threading:start", "concurrent.futures.thread:_adjust_thread_count", "mail:mail"], True),
        (["threading:start", "mail:work", "concurrent.futures.thread:run"], False),
        (["threading:start", "concurrent.futures.thread:run", "concurrent.futures.thread:_worker"], False),
        (["subprocess:_execute_child", "subprocess:run", "concurrent.futures.thread:run"], False),
        (["subprocess:_execute_child", "mail:mail", "concurrent.futures.thread:run"], False),
        (["multiprocessing.popen_fork:_launch", "multiprocessing.process:start", "mail:mail"], False),
        (["multiprocessing.process:start", "concurrent.futures.process:_spawn_process", "mail:mail"], True),
        (["multiprocessing.util:spawnv_passfds", "multiprocessing.forkserver:ensure_running", "mail:mail"], True),
        (["multiprocessing.util:spawnv_passfds", "multiprocessing.resource_tracker:ensure_running"], True),
        (["subprocess:Popen", "asyncio.unix_events:_start", "concurrent.futures.thread:run"], False),
    ],
)
def test_only_what_a_pool_starts_for_itself_is_shared(stack, shared):
    assert is_infrastructure(frames(*stack)) is shared


@pytest.fixture
def noting(monkeypatch):
    """Note the threads that this process starts, and restore everything."""
    monkeypatch.setattr(threading, "_start_new_thread", started._noting_thread(_thread.start_new_thread), raising=False)
    if hasattr(threading, "_start_joinable_thread"):
        noting = started._noting_thread(threading._start_joinable_thread)
        monkeypatch.setattr(threading, "_start_joinable_thread", noting)
    go = threading.Event()
    yield go
    go.set()


def in_job(job, function):
    context = Context()
    context.run(current_job.set, job)
    return context.run(function)


def noted():
    return {thread.of.name: (thread.job, thread.is_known) for thread in started.THREADS if hasattr(thread.of, "name")}


def test_thread_belongs_to_the_job_whose_code_or_thread_has_started_it(noting):
    def start(name, then=None):
        thread = threading.Thread(
            target=lambda: (then() if then else None, noting.wait(PATIENCE)), name=name, daemon=True
        )
        thread.start()
        return thread

    begun = threading.Event()
    inner = lambda: (start("of a thread of the job"), begun.set())  # noqa: E731
    threads = [in_job(JOB, lambda: start("of the job", inner)), in_job(None, lambda: start("of none"))]
    pool = concurrent.futures.ThreadPoolExecutor(1, "pool")
    in_job(JOB, lambda: pool.submit(start, "of work")).result(PATIENCE)
    assert begun.wait(PATIENCE)
    of = noted()
    assert of["of the job"][0] is of["of a thread of the job"][0] is JOB
    assert of["of none"] == of["pool_0"] == (None, True)
    assert of["of work"] == (None, False)
    noting.set()
    for thread in threads:
        thread.join(PATIENCE)
    assert not {"of the job", "of none"} & set(noted())
    pool.shutdown()


def test_code_of_a_thread_is_the_jobs_also_if_the_thread_has_a_context_of_its_own(noting):
    class InContext(threading.Thread):
        """A thread as Python 3.14 has it."""

        _context = Context()

        def run(self):
            seen.append(self._context.run(current_job.get))

    seen = []
    thread = InContext()
    in_job(JOB, thread.start)
    thread.join(PATIENCE)
    assert seen == [JOB]
    assert seen[0] is JOB


def test_thread_that_cannot_be_started_is_not_noted(noting):
    def refuse(*_):
        raise RuntimeError("can't start new thread")

    before = set(started.THREADS)
    with pytest.raises(RuntimeError):
        started._noting_thread(refuse)(print, ())
    with pytest.raises(TypeError):
        started._noting_thread(_thread.start_new_thread)(None, ())
    assert before == started.THREADS


def test_what_cannot_be_ended_keeps_nothing_else_from_it_and_counts_as_left(noting, logged):
    class Timer(threading.Timer):
        """A timer of a user that fails when it is cancelled."""

        def cancel(self):
            raise ValueError("not now")

    timer, work = Timer(1000, print), concurrent.futures.Future()
    in_job(JOB, timer.start)
    started.BY_JOB[id(JOB)] = types.SimpleNamespace(children=set(), work=[work])
    try:
        leftovers = Leftovers(JOB, 0.0)
        assert "perhaps more" in leftovers.end()
        assert "perhaps more" in leftovers.end()
    finally:
        del started.BY_JOB[id(JOB)]
        threading.Timer.cancel(timer)
    assert [line["error"] for line in logged() if "could not be ended" in line["event"]] == ["ValueError"]
    assert work.cancelled()
    timer.join(PATIENCE)


# Alarms


@pytest.mark.parametrize(
    ("set_by", "words", "on"),
    [
        ([], [], False),
        ([JOB], [], False),
        ([OTHER], [], True),
        ([None], [], True),
        ([JOB, JOB], [], False),
        ([JOB, OTHER], ["perhaps an alarm"], True),
        ([None, JOB], ["perhaps an alarm"], True),
    ],
)
def test_only_an_alarm_that_no_other_has_set_is_switched_off(monkeypatch, set_by, words, on):
    monkeypatch.setattr(signal, "setitimer", started._noting_alarm(signal.setitimer))
    started.ALARMS.clear()
    try:
        for job in set_by:
            in_job(job, lambda: signal.setitimer(signal.ITIMER_PROF, 1000))
        assert list(Leftovers(JOB, 0.0)._alarms()) == words
        assert (signal.getitimer(signal.ITIMER_PROF)[0] > 0) is on
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    assert not any(started.ALARMS.values())


def test_alarm_that_went_off_is_nobodys_when_another_job_sets_it(monkeypatch):
    monkeypatch.setattr(signal, "setitimer", started._noting_alarm(signal.setitimer))
    before = signal.signal(signal.SIGPROF, signal.SIG_IGN)
    try:
        in_job(OTHER, lambda: signal.setitimer(signal.ITIMER_PROF, 0.001))
        while any(signal.getitimer(signal.ITIMER_PROF)):
            pass
        in_job(JOB, lambda: signal.setitimer(signal.ITIMER_PROF, 1000))
        assert list(started.ALARMS[signal.ITIMER_PROF]) == [JOB]
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def test_timer_that_each_job_sets_anew_and_none_switches_off_keeps_few_jobs(monkeypatch):
    monkeypatch.setattr(signal, "setitimer", started._noting_alarm(signal.setitimer))
    jobs = [JOB._replace(id=number) for number in range(1000)]
    try:
        for job in jobs:
            in_job(job, lambda: signal.setitimer(signal.ITIMER_PROF, 1000))
        noted = started.ALARMS[signal.ITIMER_PROF]
        assert noted[-1] is jobs[-1]
        assert len(noted) < 100
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


# Event loops


def own():
    """Stand for a function of the user's."""


async def own_coroutine():
    """Stand for a coroutine of the user's."""


class Own:
    def __call__(self):
        """Stand for an object of the user's that can be called."""

    def method(self):
        """Stand for a method of the user's."""


@pytest.mark.parametrize(
    ("values", "is_own"),
    [
        ([own], True),
        ([lambda: None], True),
        ([functools.partial(functools.partial(own))], True),
        ([Own()], True),
        ([Own().method], True),
        ([asyncio.Event().set], False),
        ([asyncio.Event().set, own], True),
        ([subprocess.run], False),
        ([pytest.fail], False),
        ([print], False),
        ([asyncio.BaseEventLoop.create_task, 5, "text", None], False),
    ],
)
def test_code_is_the_users_own_if_it_is_neither_of_python_nor_of_an_installed_package(values, is_own):
    assert is_own_code(*values) is is_own


def test_coroutine_is_the_users_own():
    coroutine = own_coroutine()
    assert is_own_code(asyncio.BaseEventLoop.create_task, coroutine)
    coroutine.close()


def of(job):
    context = Context()
    context.run(current_job.set, job)
    return context


def turn_with(arrange):
    """Let `arrange(loop)` leave something, end it, and return what there was at first and after a turn of the loop."""

    async def run():
        in_loops, loop = LeftInLoops(JOB), asyncio.get_running_loop()
        kept = arrange(loop)
        await asyncio.sleep(0)
        first = list(in_loops.end())
        for _ in range(3):
            await asyncio.sleep(0)
        second = list(in_loops.end())
        del kept
        return first, second

    return asyncio.run(run())


def again(loop):
    loop.call_soon(again, loop)


@pytest.mark.parametrize(
    ("arrange", "first"),
    [
        (lambda loop: loop.call_later(60, own, context=of(JOB)), ["a callback"]),
        (lambda loop: loop.call_later(60, own, context=of(OTHER)), []),
        (lambda loop: loop.call_later(60, own, context=of(None)), []),
        (lambda loop: loop.call_later(60, asyncio.Event().set, context=of(JOB)), []),
        (lambda loop: loop.call_soon(again, loop, context=of(JOB)), ["a callback"]),
        (lambda loop: loop.create_task(asyncio.sleep(60), context=of(JOB)), ["a task"]),
        (lambda loop: asyncio.Task(asyncio.sleep(60), loop=loop, context=of(JOB)), ["a task"]),
        (lambda loop: loop.create_task(asyncio.sleep(60), context=of(OTHER)), []),
    ],
)
def test_what_is_in_a_loop_belongs_to_the_job_of_its_context(arrange, first):
    assert turn_with(arrange) == (first, [])


def test_context_of_a_task_is_not_that_of_a_callback_which_was_added_to_it():
    async def run():
        task = asyncio.get_running_loop().create_task(asyncio.sleep(60), context=of(JOB))
        task.add_done_callback(print, context=of(OTHER))
        found = context_of(task)
        task.remove_done_callback(print)
        task.cancel()
        return found.get(current_job)

    assert asyncio.run(run()) is JOB


def test_task_that_cleans_up_is_cancelled_once_and_has_its_timers():
    async def cleans_up():
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.01)
            cleaned.append(True)

    async def run():
        in_loops = LeftInLoops(JOB)
        task = asyncio.get_running_loop().create_task(cleans_up(), context=of(JOB))
        await asyncio.sleep(0)
        while list(in_loops.end()):
            await asyncio.sleep(0.001)
        assert task.cancelled()

    cleaned = []
    asyncio.run(asyncio.wait_for(run(), PATIENCE))
    assert cleaned == [True]


def test_generators_are_found_in_all_frames_that_an_error_has_passed_through():
    async def numbers():
        yield 1
        yield 2

    async def run():
        suspended, ended, unused = numbers(), numbers(), 5

        async def inner():
            mine, _gone = suspended, weakref.proxy(set())  # whoever asks for its class gets a ReferenceError
            await anext(mine)
            raise ValueError

        async for _ in ended:
            pass
        try:
            try:
                await inner()
            except ValueError as error:
                raise ExceptionGroup("several", [error]) from None
        except ExceptionGroup as group:
            found = set(suspended_generators(group))
        await suspended.aclose()
        return found == {suspended}, unused

    assert asyncio.run(run()) == (True, 5)
    assert not set(suspended_generators(None))


def test_loops_are_noted_until_nobody_has_them(monkeypatch):
    monkeypatch.setattr(asyncio.BaseEventLoop, "__init__", started._noting_loop(asyncio.BaseEventLoop.__init__))
    loop = asyncio.new_event_loop()
    assert loop in started.loops()
    loop.close()
    key = id(loop)
    del loop
    gc.collect()
    assert key not in map(id, started.loops())


def test_what_a_job_has_left_in_a_loop_of_a_thread_is_ended_there(monkeypatch):
    monkeypatch.setattr(asyncio.BaseEventLoop, "__init__", started._noting_loop(asyncio.BaseEventLoop.__init__))
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    in_job(JOB, lambda: loop.call_soon_threadsafe(again, loop))
    task = in_job(JOB, lambda: asyncio.run_coroutine_threadsafe(asyncio.sleep(60), loop))
    in_loops = LeftInLoops(JOB)
    wait_for(lambda: not list(in_loops.end()), "nothing is left")
    wait_for(task.cancelled, "the thread of the loop has noted that the task was cancelled")
    loop.call_soon_threadsafe(loop.stop)
    thread.join(PATIENCE)
    loop.close()
