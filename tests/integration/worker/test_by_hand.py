"""Jobs put, fetched and processed in this process by the QueueManager: the same verdicts as in a slot."""

import math
import threading
from datetime import UTC, datetime, timedelta

import pytest
from pydantic import BaseModel

from tests.support.beanstalkd import NOTHING
from tubeherd import (
    Abort,
    Executor,
    ExecutorError,
    InvalidPayload,
    Job,
    Policy,
    QueueManager,
    RefusedError,
    Reschedule,
    RetrySchedule,
    events,
    executor,
)
from tubeherd.policy import BurialKind, Bury, Delete, Release

LAST_MOMENT = datetime.max.replace(tzinfo=UTC)
QUICK = Policy(RetrySchedule((1,)), max_lost_deliveries=1)


class Mail(BaseModel):
    to: str


pytestmark = pytest.mark.usefixtures("no_executors")


@pytest.fixture
def listen():
    """Connect listeners that are disconnected after the test."""
    connected = []

    def connect(signal, listener):
        signal.connect(listener)
        connected.append((signal, listener))

    yield connect
    for signal, listener in connected:
        signal.disconnect(listener)


@pytest.fixture
def queue(beanstalkd):
    """A manager that takes jobs from the tube `mail`."""
    with QueueManager(beanstalkd.server, tubes=["mail"], policy=QUICK) as manager:
        yield manager


def process(queue, payload, **options):
    job = queue.put("mail", payload, **options)
    leased = queue.get(timeout=30)
    assert leased.stats.id == job
    return queue.process(leased)


def test_returned(beanstalkd, queue):
    executor("mail")(lambda payload: payload["to"])
    processed = process(queue, {"to": "ann"})
    assert (processed.verdict, processed.result, processed.error) == (Delete(), "ann", None)
    assert beanstalkd.count("mail") == NOTHING


def test_failed_twice(beanstalkd, queue):
    seen = []

    @executor("mail")
    def mail(payload, job: Job):
        seen.append(job.attempt)
        raise RuntimeError("no such customer")

    first = process(queue, {}, priority=3)
    assert first.verdict == Release(1, 3, "RuntimeError: no such customer", failure=BurialKind.EXCEPTION)
    second = queue.process(queue.get(timeout=30))
    assert second.verdict == Bury(3, "RuntimeError: no such customer", BurialKind.EXCEPTION)
    assert isinstance(second.error, RuntimeError)
    assert seen == [1, 2]
    assert beanstalkd.count("mail") == NOTHING | {"buried": 1}


def test_rescheduled(beanstalkd, queue):
    @executor("mail")
    def mail(payload):
        raise Reschedule(in_="10 seconds", priority=9, message="not yet")

    processed = process(queue, {})
    assert processed.verdict == Release(10, 9, "not yet")
    after = beanstalkd.stats_job(processed.job.id)
    assert (after["delay"], after["pri"], after["buries"]) == (10, 9, 0)


def test_aborted(beanstalkd, queue):
    @executor("mail")
    def mail(payload):
        raise Abort("out of paper")

    processed = process(queue, {})
    assert processed.verdict == Release(60, 65536, "out of paper", stop=True)
    assert beanstalkd.stats_job(processed.job.id)["delay"] == 60


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b'{"to": 1}', b"[" * 60_000])
def test_invalid_payload(beanstalkd, queue, body):
    @executor("mail")
    def mail(mail: Mail):
        raise AssertionError("must not run")

    beanstalkd.put("mail", body)  # by a producer that does not know the executor
    processed = queue.process(queue.get(timeout=30))
    assert isinstance(processed.verdict, Bury)
    assert processed.verdict.reason.startswith("payload is not valid")
    assert beanstalkd.count("mail") == NOTHING | {"buried": 1}


def test_poison_job(beanstalkd, queue):
    @executor("mail")
    def mail(payload):
        raise AssertionError("must not run")

    beanstalkd.lose(queue.put("mail", {}))
    processed = queue.process(queue.get(timeout=30))
    assert isinstance(processed.verdict, Bury)
    assert "lost 1 times" in processed.verdict.reason
    assert beanstalkd.count("mail") == NOTHING | {"buried": 1}


def test_lease_gone(beanstalkd, queue, logged):
    @executor("mail")
    def mail(payload, job: Job):
        with queue._connections.any() as connection:
            connection.settle(job.id, Delete())

    assert process(queue, {}).verdict == Delete()
    (line,) = logged()
    assert line["event"].startswith("lease was gone")
    assert beanstalkd.count("mail") == NOTHING


def test_ended_interpreter_is_a_failed_attempt(queue):
    @executor("mail")
    def mail(payload):
        raise SystemExit(4)

    assert process(queue, {}).verdict == Release(1, 65536, "SystemExit: 4", failure=BurialKind.EXCEPTION)


def test_validation_error_of_the_executors_own_is_a_failed_attempt(queue):
    @executor("mail")
    def mail(payload):
        Mail.model_validate({})

    assert isinstance(process(queue, {}).verdict, Release)


def test_coroutine(queue):
    @executor("mail")
    async def mail(mail: Mail):
        return mail.to

    assert process(queue, Mail(to="ann")).result == "ann"


def test_tube_without_executor_keeps_the_lease(beanstalkd, queue):
    queue.put("mail", {})
    leased = queue.get(timeout=30)
    with pytest.raises(ExecutorError, match="tube 'mail' has no executor in this process"):
        queue.process(leased)
    assert beanstalkd.count("mail") == NOTHING | {"reserved": 1}


@pytest.mark.parametrize("timeout", [0, "100ms", timedelta(milliseconds=50)])
def test_get_returns_none_where_no_job_comes(queue, timeout):
    assert queue.get(timeout) is None


@pytest.mark.parametrize("timeout", [-1, "soon", math.nan, math.inf, None])
def test_get_refuses_a_timeout_that_is_no_duration(queue, timeout):
    with pytest.raises(ValueError, match="duration"):
        queue.get(timeout)


def test_manager_takes_retry_delays(beanstalkd, no_executors):
    @executor("mail")
    def mail(payload):
        raise RuntimeError

    with QueueManager(beanstalkd.server, retry_delays=["10s", timedelta(hours=1)]) as queue:
        assert process(queue, {}).verdict == Release(10, 65536, "RuntimeError", failure=BurialKind.EXCEPTION)
    with QueueManager(beanstalkd.server, retry_delays=[]) as queue:
        assert process(queue, {}).verdict == Bury(65536, "RuntimeError", BurialKind.EXCEPTION)
    with QueueManager(beanstalkd.server) as queue:
        assert process(queue, {}).verdict == Release(601, 65536, "RuntimeError", failure=BurialKind.EXCEPTION)


@pytest.mark.parametrize(
    "options",
    [
        {"retry_delays": "10s"},
        {"retry_delays": 10},
        {"retry_delays": ["soon"]},
        {"retry_delays": [-1]},
        {"retry_delays": [2**32]},
        {"retry_delays": ["1s"] * 21},
        {"retry_delays": ["1s"], "policy": QUICK},
    ],
)
def test_manager_refuses_retry_delays_that_make_no_sense(beanstalkd, options):
    with pytest.raises(ValueError, match=r"retry.delay|duration"):
        QueueManager(beanstalkd.server, **options)


@pytest.mark.parametrize(
    ("delay", "seconds"),
    [
        ("10 minutes", 600),
        (5, 5),
        (0.5, 1),
        (timedelta(hours=1), 3600),
        (lambda: datetime.now(UTC) + timedelta(days=1000), 86_400_000),
        (datetime(2000, 1, 1, tzinfo=UTC), 0),
        (lambda: datetime.now() + timedelta(days=1000), 86_400_000),
        (datetime.min, 0),
        (2**32 - 1, 2**32 - 1),
    ],
)
def test_put_takes_every_form_of_delay(beanstalkd, queue, delay, seconds):
    given = delay() if callable(delay) else delay  # a time from now on is made now, not when the tests are collected
    job = queue.put("mail", {"to": "ann"}, delay=given, priority=7, ttr="2m")
    stats = beanstalkd.stats_job(job)
    assert seconds - 120 <= stats["delay"] <= seconds
    assert (stats["pri"], stats["ttr"], stats["tube"]) == (7, 120, "mail")


@pytest.mark.parametrize(
    "options",
    [
        *({"priority": priority} for priority in (-1, 2**32, 1.5, True, "5", None)),
        *({"delay": delay} for delay in (-1, "soon", 1e11, math.nan, math.inf, True, None, datetime.now().date())),
        *({"delay": delay} for delay in (timedelta(-1), timedelta(days=9999999), datetime.max, LAST_MOMENT)),
        *({"ttr": ttr} for ttr in ("x", 0, "0s", -1, timedelta(-1), 2**32, math.nan, timedelta(days=9999999))),
    ],
)
def test_put_refuses_what_beanstalkd_could_not_hold(beanstalkd, queue, options):
    with pytest.raises(ValueError, match=r"priority|duration|time"):
        queue.put("mail", {}, **options)
    assert beanstalkd.count("mail") == NOTHING


@pytest.mark.parametrize("payload", [bytearray(b"\xff\0"), memoryview(b"\xff\0"), b"\xff\0"])
def test_put_takes_any_bytes_as_they_are(queue, payload):
    queue.put("mail", payload)
    assert queue.get().body == b"\xff\0"


class Price(BaseModel):
    model_config = {"ser_json_inf_nan": "constants"}
    euros: float


@pytest.mark.parametrize(
    "payload",
    [math.nan, [math.inf], {"a": {"b": -math.inf}}, Price(euros=math.nan), "\ud800", {"a": b"\xff"}, object()],
)
def test_put_refuses_what_is_no_json(beanstalkd, queue, payload):
    with pytest.raises(ValueError, match=r"JSON|serialize"):
        queue.put("mail", payload)
    assert beanstalkd.count("mail") == NOTHING


def test_words_that_look_like_numbers_are_put(queue):
    queue.put("mail", {"NaN": ["Infinity", "-Infinity"]})
    assert queue.get().body == b'{"NaN":["Infinity","-Infinity"]}'


def test_one_tube_may_be_given_as_a_text(beanstalkd):
    with QueueManager(beanstalkd.server, tubes="mail") as queue:
        queue.put("m", {})
        job = queue.put("mail", {})
        assert queue.get(timeout=30).stats.id == job
        assert queue.get() is None


@pytest.mark.parametrize("tubes", ["", "two words", b"mail", [""], ["mail", 5], [None]])
def test_tubes_that_cannot_be_are_refused_at_once(beanstalkd, tubes):
    with pytest.raises(ValueError, match="is no tube name"):
        QueueManager(beanstalkd.server, tubes=tubes)


def test_put_refuses_a_bad_tube_and_a_body_that_is_too_big(queue):
    with pytest.raises(ValueError, match="is no tube name"):
        queue.put("two words", {})
    with pytest.raises(RefusedError):
        queue.put("mail", b"x" * 70_000)
    assert queue.put("mail", {}) > 0


def test_reserved_tubes_are_refused(beanstalkd, queue):
    with pytest.raises(ValueError, match="is reserved"):
        queue.put("tubeherd.burials", {})
    made = Executor("tubeherd.burials", print, None, takes_job=False)
    for options in ({"tubes": ["tubeherd.burials"]}, {"executors": {"tubeherd.burials": made}}):
        with pytest.raises(ValueError, match="is reserved"), QueueManager(beanstalkd.server, **options) as other:
            other.get()


def test_pre_changes_the_payload_before_it_is_validated(queue, listen):
    @executor("mail")
    def mail(mail: Mail):
        return mail.to

    def rename(action: events.Action):
        action.payload["to"] = action.payload.pop("recipient")

    listen(events.execute_pre, rename)
    assert process(queue, {"recipient": "ann"}).result == "ann"


def test_payload_that_pre_made_invalid_is_buried(queue, listen):
    @executor("mail")
    def mail(mail: Mail):
        raise AssertionError("must not run")

    def spoil(action: events.Action):
        action.payload = {"to": 1}

    listen(events.execute_pre, spoil)
    assert isinstance(process(queue, {"to": "ann"}).verdict, Bury)


def test_body_that_is_no_json_is_buried_before_pre(queue, listen):
    executor("mail")(lambda payload: None)
    seen = []

    def see(action: events.Action):
        seen.append(action)

    listen(events.execute_pre, see)
    assert isinstance(process(queue, b"{").verdict, Bury)
    assert seen == []


def test_post_changes_the_result(queue, listen):
    executor("mail")(lambda payload: 1)

    def double(action: events.Action):
        assert action.job.tube == "mail"
        action.result *= 2

    listen(events.execute_post, double)
    assert process(queue, {}).result == 2


@pytest.mark.parametrize("signal", [events.execute_pre, events.execute_post, events.job_execute])
def test_raising_listener_is_a_failed_attempt(queue, listen, signal):
    executor("mail")(lambda payload: None)

    def fail(*_, **__):
        raise RuntimeError("listener")

    listen(signal, fail)
    assert process(queue, {}).verdict == Release(1, 65536, "RuntimeError: listener", failure=BurialKind.EXCEPTION)


def test_burial_is_told_with_the_exception(queue, listen):
    told = []

    @executor("mail")
    def mail(payload):
        raise RuntimeError("boom")

    def hear(job, error, reason, attempts):
        told.append((job.tube, type(error), reason, attempts))

    listen(events.job_buried, hear)
    process(queue, {})
    assert told == []
    queue.process(queue.get(timeout=30))
    assert told == [("mail", RuntimeError, "RuntimeError: boom", 2)]


def test_flush_after_a_batch_and_at_the_end(beanstalkd, listen):
    executor("mail")(lambda payload: None)
    flushes = []

    def flush(reason, count):
        flushes.append((reason, count))

    listen(events.flush, flush)
    with QueueManager(beanstalkd.server) as queue:
        for _ in range(17):
            process(queue, {})
        assert flushes == [("batch", 15)]
    assert flushes == [("batch", 15), ("end", 2)]


def test_manager_without_a_server_takes_that_of_the_variable(beanstalkd, monkeypatch):
    monkeypatch.setenv("TUBEHERD_SERVER", beanstalkd.server)
    with QueueManager() as queue:
        queue.put("mail", 1)
        assert queue.burials().records == ()
    assert beanstalkd.count("mail")["ready"] == 1
    monkeypatch.setenv("TUBEHERD_SERVER", "no server")
    with pytest.raises(ValueError, match=r"^TUBEHERD_SERVER: 'no server' is no server: write it like"):
        QueueManager()


def test_get_takes_jobs_of_the_tubes_that_match_and_process_calls_the_executor_that_is_meant(beanstalkd):
    executor("reports.*")(lambda payload: "by glob")
    executor("reports.weekly", retry_delays=[])(lambda payload: "by name")
    with QueueManager(beanstalkd.server) as queue:
        assert queue.get(timeout=0) is None
        for tube in ("other", "reports.weekly", "reports.daily"):
            queue.put(tube, 1)
        done = [queue.process(queue.get(timeout=5)) for _ in range(2)]
        assert {each.job.tube: each.result for each in done} == {
            "reports.weekly": "by name",
            "reports.daily": "by glob",
        }
        assert queue.get(timeout=0) is None
    with QueueManager(beanstalkd.server, tubes=["oth*", "reports.*"]) as queue:
        other = queue.get(timeout=5)
        assert other.stats.tube == "other"
        with pytest.raises(ExecutorError, match="tube 'other' has no executor"):
            queue.process(other)


def test_get_waits_for_a_tube_that_matches(beanstalkd):
    with QueueManager(beanstalkd.server, tubes="reports.*") as queue:
        timer = threading.Timer(0.5, beanstalkd.put, ["reports.new"])
        timer.start()
        assert queue.get(timeout=30).stats.tube == "reports.new"
        timer.join()
        beanstalkd.put("default")
        assert queue.get(timeout=1.5) is None


@pytest.mark.parametrize("tube", ["tubeherd.*", "-*", "a b*"])
def test_glob_that_can_match_no_tube_is_refused(beanstalkd, tube):
    with pytest.raises(ValueError, match=r"is reserved|matches no tube"):
        QueueManager(beanstalkd.server, tubes=[tube])


def test_glob_is_no_tube_to_put_into(beanstalkd):
    executor("reports.*", payload_of=lambda number: number)(lambda payload: ...)

    @executor("checked.*")
    def checked(mail: Mail): ...

    with QueueManager(beanstalkd.server) as queue:
        with pytest.raises(ValueError, match="is no tube name"):
            queue.put("reports.*", 1)
        with pytest.raises(InvalidPayload):
            queue.put("checked.a", {"from": "ann"})
        with pytest.raises(ExecutorError, match=r"'reports\.\*' stands for several tubes: name one of them"):
            queue.put_for(5, tube="reports.*")
        assert beanstalkd.stats_job(queue.put_for(5, tube="reports.a"))["tube"] == "reports.a"
