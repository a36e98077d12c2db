"""One table of verdicts, asked of a slot and of the QueueManager: both must leave the very same job behind."""

import asyncio
import os
import runpy
import signal
from typing import NamedTuple

import pytest
from greenstalk import NotFoundError

from tubeherd import Policy, QueueManager, RetrySchedule, executor

EXECUTORS = """
from datetime import timedelta
from pydantic import BaseModel
from tubeherd import Abort, Job, Reject, Reschedule, executor

class Mail(BaseModel):
    to: str

@executor("return")
def return_(payload):
    return ["whatever"]

@executor("raise")
def raise_(payload, job: Job):
    raise RuntimeError(f"attempt {job.attempt}, {job.lost_deliveries} lost")

@executor("exit")
async def exit(payload):
    raise SystemExit(4)

@executor("validate")
def validate(mail: Mail):
    raise AssertionError("must not run")

@executor("in")
def in_(payload):
    raise Reschedule("10 seconds", message="not yet")

@executor("in-an-hour")
def in_an_hour(payload):
    raise Reschedule(timedelta(hours=1))

@executor("reject")
def reject(payload):
    raise Reject("no such customer")

@executor("returns-a-reschedule")
def returns_a_reschedule(payload):
    return Reschedule("10 seconds", message="not yet")

@executor("returns-a-reject")
async def returns_a_reject(payload):
    return Reject("no such customer")

@executor("returns-a-class")
def returns_a_class(payload):
    return Abort

@executor("returns-an-error")
def returns_an_error(payload):
    return RuntimeError("as a value")

@executor("abort")
def abort(payload):
    raise Abort("out of paper")
"""


class Left(NamedTuple):
    """What is left of a job after its verdict."""

    state: str
    delay: int = 0
    priority: int = 5
    releases: int = 0
    buries: int = 0


def failed(reason, **left):
    return Left("delayed", 3601, **left), "warning", "failed, retry later", reason


def buried(reason, **left):
    return Left("buried", **left), "error", "buried", reason


def released(reason, *left, releases=1):
    return Left("delayed", *left, releases=releases), "info", "released", reason


def aborted(reason, *left, releases=1):
    event = "released because of an Abort, which stops a worker"
    return Left("delayed", *left, releases=releases), "warning", event, reason


DELETED = (None, "info", "deleted", None)
NO_ADDRESS = "payload is not valid: to: Field required"
NO_BODY = "payload is not valid: payload: Invalid JSON: EOF while parsing a value at line 1 column 0"
NO_MESSAGE = "TypeError: Abort.__init__() missing 1 required positional argument: 'message'"
LOST = "lost {} times: its worker or its connection died, or its TTR of 60 s passed"

# What happened before (see `happen`), tube, body; what is left of the job; level, event and reason in the log.
TABLE = {
    "returned": ("", "return", b"1", *DELETED),
    "returned after a lost delivery": ("l", "return", b"1", *DELETED),
    "failed": ("", "raise", b"1", *failed("RuntimeError: attempt 1, 0 lost", releases=1)),
    "failed, lost once": ("l", "raise", b"1", *failed("RuntimeError: attempt 1, 1 lost", releases=1)),
    "failed after a reschedule": ("r", "raise", b"1", *failed("RuntimeError: attempt 1, 0 lost", releases=2)),
    "failed again": ("f", "raise", b"1", *buried("RuntimeError: attempt 2, 0 lost", delay=3601, releases=1, buries=1)),
    "failed when kicked": (
        *("fbk", "raise", b"1"),
        *buried("RuntimeError: attempt 2, 0 lost", delay=3601, releases=1, buries=2),
    ),
    "ended the interpreter": ("", "exit", b"1", *failed("SystemExit: 4", releases=1)),
    "rescheduled": ("", "in", b"1", *released("not yet", 10)),
    "rescheduled after a failure": ("f", "in", b"1", *released("not yet", 11, releases=2)),
    "rescheduled by an hour after a failure": ("f", "in-an-hour", b"1", *released(None, 3601, releases=2)),
    "not valid": ("", "validate", b"{}", *buried(NO_ADDRESS, buries=1)),
    "not valid after a failure": ("f", "validate", b"{}", *buried(NO_ADDRESS, delay=3601, releases=1, buries=1)),
    "not valid, kicked": ("bk", "validate", b"{}", *buried(NO_ADDRESS, buries=2)),
    "rejected": ("", "reject", b"1", *buried("no such customer", buries=1)),
    "rejected after a failure": ("f", "reject", b"1", *buried("no such customer", delay=3601, releases=1, buries=1)),
    "returned a Reschedule": ("f", "returns-a-reschedule", b"1", *released("not yet", 11, releases=2)),
    "returned a Reject": ("", "returns-a-reject", b"1", *buried("no such customer", buries=1)),
    "returned the class Abort": ("", "returns-a-class", b"1", *failed(NO_MESSAGE, releases=1)),
    "returned an error": ("", "returns-an-error", b"1", *DELETED),
    "empty": ("", "return", b"", *buried(NO_BODY, buries=1)),
    "poison": ("ll", "return", b"1", *buried(LOST.format(2), buries=1)),
    "poison, kicked": ("llbk", "return", b"1", *DELETED),
    "poison again": ("llbkll", "return", b"1", *buried(LOST.format(4), buries=2)),
    # The last to be reserved, by its priority: it ends the worker.
    "aborted": ("", "abort", b"1", *aborted("out of paper", 60, 9)),
}


pytestmark = pytest.mark.usefixtures("no_executors")


@pytest.fixture
def executors(tmp_path):
    """Register the executors in this process, as an import of their module does."""
    module = tmp_path / "by_hand.py"
    module.write_text(EXECUTORS)
    runpy.run_path(str(module))


@pytest.fixture
def put_table(beanstalkd):
    """Put a job for each row and let happen to it what happened before; returns the jobs' ids."""

    def put_table():
        jobs = {}
        for row, (before, tube, body, left, *_) in TABLE.items():
            priority = left.priority if left else 5
            jobs[row] = job = beanstalkd.put(tube, body, priority=priority)
            for happening in before:
                happen(beanstalkd, job, happening, priority)
        return jobs

    return put_table


def happen(beanstalkd, job, happening, priority):
    """Let a job be (l)ost, (f)ail, be (r)escheduled, (b)uried or (k)icked; all but a buried one is ready afterwards."""
    client = beanstalkd.client()
    match happening:
        case "l":
            beanstalkd.lose(job)
        case "b":
            client.bury(client.reserve_job(job), priority)
        case "f" | "r":
            client.release(client.reserve_job(job), priority, 3601 if happening == "f" else 10)
            client.kick_job(job)
        case "k":
            client.kick_job(job)


def left_of(beanstalkd, job):
    """Return what is left of a job; None if it was deleted."""
    try:
        stats = beanstalkd.stats_job(job)
    except NotFoundError:
        return None
    return Left(*(stats[name] for name in ("state", "delay", "pri", "releases", "buries")))


def check_table(beanstalkd, jobs, lines):
    """Compare the jobs that are left and the log lines with the table."""
    assert {row: left_of(beanstalkd, job) for row, job in jobs.items()} == {
        row: entry[3] for row, entry in TABLE.items()
    }
    warned = [line for line in lines if "counts as raised" in line["event"]]
    asked = ["returned a Reschedule", "returned a Reject", "returned the class Abort"]
    assert sorted(line["job"] for line in warned) == [jobs[row] for row in asked]
    of_jobs = [line for line in lines if "job" in line and line not in warned]
    assert sorted(line["job"] for line in of_jobs) == sorted(jobs.values())
    assert all(line["seconds"] >= 0 for line in of_jobs)
    by_job = {line["job"]: line for line in of_jobs}
    told = {
        row: (by_job[job]["tube"], by_job[job]["level"], by_job[job]["event"], by_job[job].get("reason"))
        for row, job in jobs.items()
    }
    assert told == {row: (entry[1], *entry[4:]) for row, entry in TABLE.items()}


def test_the_table_in_a_slot(beanstalkd, run_worker, put_table):
    jobs = put_table()
    worker = run_worker(beanstalkd.server, EXECUTORS, "--retry-delays", "1h", "--max-lost-deliveries", "2")
    assert worker.exit_code() == 1
    check_table(beanstalkd, jobs, worker.lines())


def test_the_table_by_hand(beanstalkd, executors, put_table, logged):
    jobs = put_table()
    policy = Policy(RetrySchedule((3600,)), max_lost_deliveries=2)
    with QueueManager(beanstalkd.server, policy=policy) as queue:
        while job := queue.get():
            queue.process(job)
    check_table(beanstalkd, jobs, logged())


@pytest.fixture
def queue(beanstalkd):
    with QueueManager(beanstalkd.server, tubes=["mail"]) as manager:
        yield manager


def interrupt():
    os.kill(os.getpid(), signal.SIGINT)


async def interrupt_in_a_coroutine():
    interrupt()
    await asyncio.sleep(60)


@pytest.fixture
def _terminal():
    """Heed SIGINT as a process on a terminal does; one that a shell started in the background ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("_terminal")
@pytest.mark.parametrize("function", [interrupt, interrupt_in_a_coroutine])
def test_ctrl_c_ends_the_executor_and_is_not_swallowed(beanstalkd, queue, function):
    executor("mail")(lambda payload: function())
    job = queue.put("mail", {}, priority=5)
    with pytest.raises(KeyboardInterrupt):
        queue.process(queue.get(timeout=30))
    assert left_of(beanstalkd, job) == Left("delayed", 601, releases=1)


def test_closing_leaves_no_file_open(beanstalkd):
    @executor("mail")
    async def mail(payload): ...

    before = set(os.listdir("/proc/self/fd"))
    with QueueManager(beanstalkd.server, tubes=["mail"]) as queue:
        queue.put("mail", {})
        queue.process(queue.get(timeout=30))
        assert set(os.listdir("/proc/self/fd")) - before
    assert set(os.listdir("/proc/self/fd")) <= before  # a thread of another test may have closed some


def test_get_without_a_timeout_has_beanstalkd_answer_at_once(interceptor):
    asked = []
    interceptor.others["reserve-with-timeout"] = lambda line: asked.append(line) or line
    with QueueManager(interceptor.server, tubes=["mail"]) as queue:
        assert queue.get() is None
    assert asked == [b"reserve-with-timeout 0\r\n"]


def test_get_while_a_lease_runs_out_asks_beanstalkd_only_now_and_then(beanstalkd, queue):
    job = queue.put("mail", {}, ttr=1)
    assert queue.get(timeout=30).stats.id == job
    again = queue.get(timeout=30)
    assert (again.stats.id, again.stats.lost_deliveries) == (job, 1)
    assert beanstalkd.stats()["cmd-reserve-with-timeout"] < 50
