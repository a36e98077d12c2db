"""`tubeherd.testing`: payload in, verdict out, without a server; and its beanstalkd."""

import asyncio
import logging
import os
import subprocess
import sys

import pytest
from pydantic import BaseModel

from tubeherd import (
    Abort,
    Bury,
    Delete,
    ExecutorError,
    InvalidPayload,
    Job,
    Reject,
    Release,
    Reschedule,
    events,
    executor,
)
from tubeherd.testing import Outcome, run_job

pytestmark = pytest.mark.usefixtures("no_executors")


class Mail(BaseModel):
    to: str


def test_done():
    executor("mail")(lambda payload: payload["to"])
    run = run_job("mail", {"to": "ann"})
    assert (run.outcome, run.verdict, run.result, run.error, run.delay, run.reason) == (
        Outcome.DONE, Delete(), "ann", None, None, None,
    )  # fmt: skip
    assert [line["event"] for line in run.log] == ["deleted"]


def test_coroutine_and_bytes():
    @executor("mail")
    async def mail(payload: bytes):
        await asyncio.sleep(0)
        return payload

    assert run_job("mail", b"\xff").result == b"\xff"


@pytest.mark.parametrize(
    ("attempt", "outcome", "delay"), [(1, Outcome.FAILED, 10), (2, Outcome.FAILED, 602), (3, Outcome.FAILED, None)]
)
def test_failed(attempt, outcome, delay):
    seen = []

    @executor("mail")
    def mail(payload, job: Job):
        seen.append(job.attempt)
        raise LookupError("no such customer")

    run = run_job("mail", {}, attempt=attempt, retry_delays=["10s", "10m"])
    assert (run.outcome, seen, run.attempt, type(run.error)) == (outcome, [attempt], attempt, LookupError)
    assert run.reason == "LookupError: no such customer"
    assert run.traceback.endswith("LookupError: no such customer")
    assert isinstance(run.verdict, Bury if delay is None else Release)
    assert run.delay is None if delay is None else run.delay in range(delay, delay + 3)
    assert run.log[0]["reason"] == run.reason


def test_delays_of_the_executor_win():
    @executor("mail", retry_delays=[])
    def mail(payload):
        raise LookupError

    assert isinstance(run_job("mail", {}).verdict, Bury)
    with pytest.raises(
        ValueError,
        match=r"attempt 2 .* 1 retry delay, .* has 0 .* give more at the executor of mail",
    ):
        run_job("mail", {}, attempt=2)


@pytest.mark.parametrize(
    ("raised", "outcome", "verdict"),
    [
        (Reschedule("20s"), Outcome.RESCHEDULED, Release),
        (Reject("never"), Outcome.REJECTED, Bury),
        (Abort("out of paper"), Outcome.ABORTED, Release),
    ],
)
def test_requests(raised, outcome, verdict):
    @executor("mail")
    def mail(payload):
        raise raised

    run = run_job("mail", {})
    assert (run.outcome, type(run.verdict)) == (outcome, verdict)


def test_invalid():
    @executor("mail")
    def mail(payload: Mail): ...

    run = run_job("mail", {"to": 4711})
    assert (run.outcome, type(run.verdict), type(run.error)) == (Outcome.INVALID, Bury, InvalidPayload)
    assert "4711" not in run.reason


def test_all_events_are_published():
    seen = []
    listeners = {
        events.job_execute: lambda job: seen.append("execute"),
        events.execute_pre: lambda action: seen.append("pre"),
        events.execute_post: lambda action: seen.append("post"),
        events.job_failed: lambda job, **_: seen.append("failed"),
        events.job_buried: lambda job, **_: seen.append("buried"),
        events.flush: lambda reason, count: seen.append(f"flush {reason} {count}"),
    }
    for event, listener in listeners.items():
        event.connect(listener)

    @executor("mail", retry_delays=[])
    def mail(payload):
        return 1 / payload

    try:
        run_job("mail", 1)
        assert seen == ["execute", "pre", "post", "flush end 1"]
        seen.clear()
        run_job("mail", 0)
        assert seen == ["execute", "pre", "failed", "buried", "flush end 1"]
    finally:
        for event, listener in listeners.items():
            event.disconnect(listener)


def test_listener_of_flush_that_raises():
    def write(reason, count):
        raise OSError("the database is gone")

    executor("mail")(lambda payload: ...)
    events.flush.connect(write)
    try:
        run = run_job("mail", {})
    finally:
        events.flush.disconnect(write)
    assert (run.outcome, type(run.flush_error)) == (Outcome.DONE, OSError)


def test_what_cannot_run():
    @executor("mail")
    async def mail(payload): ...

    async def in_loop():
        run_job("mail", {})

    with pytest.raises(ExecutorError, match="tube 'mial' has no executor here; the tubes with one are: mail"):
        run_job("mial", {})
    with pytest.raises(RuntimeError, match="an event loop runs in this thread already"):
        asyncio.run(in_loop())
    with pytest.raises(ValueError, match="serialize"):
        run_job("mail", object())


def test_ctrl_c_ends_the_test():
    @executor("mail")
    def mail(payload):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_job("mail", {})


def test_logging_of_executors_is_left_to_pytest(caplog):
    executor("mail")(lambda payload: logging.getLogger("mail").warning("sent"))
    run_job("mail", {})
    assert [record.message for record in caplog.records] == ["sent"]


def test_plugin_loads_next_to_nothing():
    script = "import sys, tubeherd.pytest_plugin; print('pydantic' in sys.modules, 'tubeherd.testing' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "False False\n"


def test_beanstalkd_that_is_not_installed_is_named(monkeypatch, tmp_path):
    from tubeherd.testing import Beanstalkd, BeanstalkdFailed

    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(BeanstalkdFailed, match="is not installed: install it, such as by apt-get install beanstalkd"):
        Beanstalkd()
    assert os.listdir(tmp_path) == []


def test_job_of_a_tube_that_a_glob_matches():
    @executor("reports.*", retry_delays=["1m", "2m"])
    def report(payload, job: Job):
        return job.tube, job.attempt

    executor("reports.week*")(lambda payload: "longer")
    assert run_job("reports.daily", 1, attempt=3).result == ("reports.daily", 3)
    assert run_job("reports.weekly", 1).result == "longer"
    with pytest.raises(ValueError, match="is no tube name"):
        run_job("reports.*", 1)
    with pytest.raises(ExecutorError, match=r"tube 'other' has no executor here; the tubes with one are: reports\.\*"):
        run_job("other", 1)
