"""Settings that an executor has of its own: they hold in its slot, and when the supervisor gives the verdict."""

import pytest

from tests.support.beanstalkd import NOTHING
from tubeherd import BurialKind, Bury, QueueManager, Release, executor

EXECUTORS = """
import asyncio, os, signal, time
from traces import note, wait_for
from tubeherd import Job, executor

def do(payload, job):
    note(f"{job.tube} attempt {job.attempt}")
    if payload == "fail": raise RuntimeError("boom")
    if payload == "die": os.kill(os.getpid(), signal.SIGKILL)
    if payload == "ignore": signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if payload == "ignore": time.sleep(3)
    if payload == "long": time.sleep(4)

@executor("once", retry_delays=[])
def once(payload, job: Job): do(payload, job)

@executor("twice", retry_delays=["2h", "1h"], timeout="1s", max_lost_deliveries=1)
def twice(payload, job: Job): do(payload, job)

@executor("patient", timeout="1h", max_lost_deliveries=0)
def patient(payload, job: Job): do(payload, job)

@executor("plain")
def plain(payload, job: Job): do(payload, job)
"""
WORKER = ("--retry-delays", "3h", "--job-timeout", "2s", "--max-lost-deliveries", "2")


def put(beanstalkd, tube, payload):
    return beanstalkd.put(tube, b'"%b"' % payload.encode())


@pytest.mark.parametrize("lanes", ["1", "2"])
def test_retry_delays_hold_whoever_gives_the_verdict(beanstalkd, run_worker, lanes):
    delays = {"twice": 7201, "plain": 10801, "patient": 10801}
    worker = run_worker(beanstalkd.server, EXECUTORS, *WORKER, "--async-concurrency", lanes)
    for payload, reason in (("fail", "RuntimeError: boom"), ("die", "the slot died: signal 9")):
        for tube in ("once", "twice", "plain", "patient"):
            job = put(beanstalkd, tube, payload)
            if tube in delays:
                line = worker.wait_for_line("failed, retry later", job=job, delay=delays[tube], attempt=1)
            else:
                line = worker.wait_for_line("buried", job=job)
            assert line["reason"].startswith(reason)
        job = put(beanstalkd, "twice", payload)
        for delay in (7201, 3602):
            worker.wait_for_line("failed, retry later", job=job, delay=delay)
            beanstalkd.client().kick_job(job)
        assert worker.wait_for_line("buried", job=job)["attempt"] == 3
    assert worker.stop() == 0


@pytest.mark.slow
@pytest.mark.parametrize("lanes", ["1", "2"])
def test_timeout_wins_over_that_of_the_worker_if_shorter_and_if_longer(beanstalkd, run_worker, lanes):
    worker = run_worker(beanstalkd.server, EXECUTORS, *WORKER, "--async-concurrency", lanes)
    reasons = {"twice": "timeout of 1 s", "plain": "timeout of 2 s"}
    for tube in ("twice", "patient", "plain"):
        job = put(beanstalkd, tube, "long")
        if tube in reasons:
            assert reasons[tube] in worker.wait_for_line("failed, retry later", job=job)["reason"]
        else:
            worker.wait_for_line("deleted", job=job)
    assert worker.stop() == 0


def test_coroutine_has_the_timeout_of_its_executor(beanstalkd, run_worker):
    worker = run_worker(
        beanstalkd.server,
        """
        import asyncio
        from tubeherd import executor
        @executor("short", timeout="300ms")
        async def short(payload): await asyncio.sleep(60)
        @executor("plain")
        async def plain(payload): await asyncio.sleep(1)
        """,
        "--async-concurrency", "2", "--job-timeout", "1h", "--retry-delays", "1h",
    )  # fmt: skip
    short, plain = put(beanstalkd, "short", ""), put(beanstalkd, "plain", "")
    assert "timeout of 0.3 s" in worker.wait_for_line("failed, retry later", job=short)["reason"]
    worker.wait_for_line("deleted", job=plain)
    assert worker.stop() == 0


@pytest.mark.slow
def test_supervisor_kills_for_the_timeout_of_the_executor(beanstalkd, run_worker):
    worker = run_worker(beanstalkd.server, EXECUTORS, *WORKER[:2], "--job-timeout", "1h")
    job = beanstalkd.put("twice", b'"ignore"')
    line = worker.wait_for_line("failed, retry later", job=job, delay=7201)
    assert "timeout of 1 s" in line["reason"]
    assert worker.stop() == 0


def test_lost_deliveries_of_the_executor_count(beanstalkd, run_worker):
    losses = {"twice": 1, "plain": 2, "patient": None}
    jobs = {tube: put(beanstalkd, tube, "") for tube in losses}
    for tube, job in jobs.items():
        for _ in range(losses[tube] or 5):
            beanstalkd.lose(job)
    worker = run_worker(beanstalkd.server, EXECUTORS, *WORKER)
    for tube, job in jobs.items():
        if losses[tube] is None:
            worker.wait_for_line("deleted", job=job)
        else:
            assert f"lost {losses[tube]} times" in worker.wait_for_line("buried", job=job)["reason"]
    assert worker.stop() == 0


CHANGING = """
import os, signal
from traces import FOLDER, note, wait_for
from tubeherd import executor
steps = sorted(path.name for path in FOLDER.glob("step-*"))
@executor("mail", retry_delays=["1h"] if len(steps) < 2 else [])
def mail(payload):
    note(f"begun after {len(steps)}")
    wait_for(f"die-{len(steps)}")
    os.kill(os.getpid(), signal.SIGKILL)
if steps == ["step-1"]:  # dies in the middle of its import, after the executor is registered
    (FOLDER / "step-2").touch()
    os._exit(7)
"""


def test_each_slot_has_the_settings_of_the_executors_that_it_has_imported(beanstalkd, run_worker, put_mail):
    """Also if the slot between two others dies while it imports: it has taken no job, so none needs its settings."""
    first = put_mail("0")
    worker = run_worker(beanstalkd.server, CHANGING, "--retry-delays", "2h,2h")
    worker.wait_for_notes("begun after 0")
    worker.allow("step-1")
    worker.allow("die-0")
    worker.wait_for_line("failed, retry later", job=first, delay=3601)
    worker.wait_for_line("the slot died: exit code 7", phase="starting")
    second = put_mail("1")
    worker.allow("die-2")
    assert worker.wait_for_line("buried", job=second)["reason"].startswith("the slot died: signal 9")
    assert worker.stop() == 0


@pytest.mark.usefixtures("no_executors")
def test_settings_of_an_executor_hold_by_hand(beanstalkd):
    @executor("once", retry_delays=[])
    def once(payload):
        raise RuntimeError

    @executor("twice", retry_delays=["2h", "1h"], max_lost_deliveries=1)
    def twice(payload):
        raise RuntimeError

    @executor("plain")
    def plain(payload):
        raise RuntimeError

    def process(tube, lose=False):
        job = queue.put(tube, {}, priority=5)
        if lose:
            beanstalkd.lose(job)
        return queue.process(queue.get(timeout=30)).verdict

    with QueueManager(beanstalkd.server, retry_delays=["3h"]) as queue:
        assert process("once") == Bury(5, "RuntimeError", BurialKind.EXCEPTION)
        assert process("twice") == Release(7201, 5, "RuntimeError", failure=BurialKind.EXCEPTION)
        assert process("plain") == Release(10801, 5, "RuntimeError", failure=BurialKind.EXCEPTION)
        assert process("plain", lose=True) == Release(10801, 5, "RuntimeError", failure=BurialKind.EXCEPTION)
        assert process("twice", lose=True).kind is BurialKind.POISON
    assert beanstalkd.count("twice") == NOTHING | {"buried": 1, "delayed": 1}
