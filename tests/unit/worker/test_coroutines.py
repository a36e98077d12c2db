"""Whose code holds the event loop, as a signal handler sees it."""

import asyncio
import contextlib
import time

import pytest

from tubeherd.job import Job, current_job
from tubeherd.processing import coroutines, started
from tubeherd.processing.coroutines import RunningJob, any_overdue, loop_holder, within
from tubeherd.processing.deadlines import CancelledLate, Deadline
from tubeherd.processing.left_in_loops import LeftInLoops

JOB = Job(7, "mail", 1, 5, 0, 0)


def run(code, seconds=60.0):
    return asyncio.run(within(JOB, Deadline(time.monotonic() + seconds, seconds), code))


def test_code_of_a_job_and_of_the_tasks_that_it_starts_is_the_jobs():
    async def child():
        return loop_holder()

    async def code(_):
        return loop_holder(), await asyncio.create_task(child())

    assert [attempt.job.id for attempt in run(code)] == [7, 7]
    assert loop_holder() is None


def test_callback_of_the_loop_is_nobodys_code():
    """The callback that cancels at the deadline runs in the job's context, and must not be broken off itself."""

    async def code(_):
        seen = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(lambda: seen.set_result(loop_holder()))
        return await seen

    assert run(code) is None


def test_task_that_outlives_its_job_is_nobodys_code():
    left = []

    async def code(_):
        left.append(asyncio.create_task(later()))

    async def later():
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return loop_holder()

    async def both():
        await within(JOB, Deadline(time.monotonic() + 60, 60), code)
        return await left[0]

    assert asyncio.run(both()) is None


@pytest.fixture
def loops_noted(monkeypatch):
    monkeypatch.setattr(asyncio.BaseEventLoop, "__init__", started._noting_loop(asyncio.BaseEventLoop.__init__))


class Unreadable(ExceptionGroup):
    """An error whose attributes are code of the job's."""

    @property
    def exceptions(self):
        raise ValueError("not for you")

    __cause__ = __context__ = __traceback__ = exceptions


@pytest.mark.usefixtures("loops_noted")
def test_generator_of_a_late_job_is_closed_before_the_verdict_though_its_error_cannot_be_read():
    happened = []

    async def numbers():
        try:
            yield 1
        finally:
            await asyncio.sleep(0)
            happened.append("closed")

    async def fail():
        generator = numbers()
        await anext(generator)
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            raise KeyError from None

    async def code(_):
        try:
            await fail()
        except KeyError as error:
            raise Unreadable("several", [error]) from None

    async def late():
        current_job.set(JOB)
        try:
            await within(JOB, Deadline(time.monotonic() + 0.01, 0.01), code, lambda: None)
        except CancelledLate:
            happened.append("verdict")

    asyncio.run(late())
    assert happened == ["closed", "verdict"]


@pytest.mark.usefixtures("loops_noted")
def test_late_job_whose_generators_cannot_be_closed_is_reported_and_no_timer_outlives_it(monkeypatch, logged):
    """As when the module that closes them cannot be loaded, because no file can be opened."""

    def fail(*_):
        raise OSError

    async def code(running):
        kept.append(running)
        kept.append(asyncio.create_task(asyncio.sleep(60)))
        await asyncio.sleep(60)

    async def late():
        current_job.set(JOB)
        await within(JOB, Deadline(time.monotonic() + 0.01, 0.01), code, report)

    def report():
        kept.append("reported")
        kept[0].report_left_behind = None  # `within` returns then, as its process ends

    kept = []
    monkeypatch.setattr(LeftInLoops, "close_generators", fail)
    monkeypatch.setattr(coroutines, "CLEANUP_SECONDS", 0.05)
    with pytest.raises(CancelledLate):
        asyncio.run(late())
    running, task, reported = kept
    assert task.cancelled()
    assert reported == "reported"
    assert running.reporting.cancelled()
    assert [line["error"] for line in logged() if "could not be ended" in line["event"]] == ["OSError"]


def test_what_ends_the_leftovers_of_a_job_is_not_broken_off_but_the_tasks_of_the_job_are():
    seen, kept = {}, []

    async def left(running):
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(60)
        seen.update(left=loop_holder(), expected=running)

    async def code(running):
        current_job.set(JOB)
        kept.append(asyncio.create_task(left(running)))
        await asyncio.sleep(60)

    class Running(RunningJob):
        async def leave_nothing(self):
            await super().leave_nothing()
            seen.update(own=loop_holder())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(coroutines, "RunningJob", Running)
        with pytest.raises(CancelledLate):
            run(code, seconds=0.5)
    assert (seen["left"], seen["own"]) == (seen["expected"], None)


def test_job_is_overdue_only_while_the_loop_could_not_cancel_it():
    async def code(_):
        before = any_overdue()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(time, "monotonic", lambda: float("inf"))  # it has held the loop past the deadline
            return before, any_overdue()

    assert run(code) == (False, True)
    assert not any_overdue()
