"""What is said of exceptions and of payloads."""

import asyncio
import json
import time
import traceback
from contextlib import closing
from typing import Annotated, Literal
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field, model_validator

from tests.support.processing import executor_of, executor_taking, leased, processor_of
from tubeherd import events
from tubeherd.executors import Abort, Reject, Reschedule
from tubeherd.formats.text import REASON_MAX
from tubeherd.policy import BurialKind, Bury, Delete, Policy, Release
from tubeherd.processing.deadlines import Deadline
from tubeherd.processing.job_loop import process_concurrently
from tubeherd.processing.processed import Processed
from tubeherd.processing.processor import Processor
from tubeherd.processing.reasons import describe
from tubeherd.processing.reporting import Reporter
from tubeherd.processing.started import BY_JOB, _of_running_job
from tubeherd.queue.answers import Settled
from tubeherd.settings import WorkerSettings


class Order(BaseModel):
    number: int
    lines: list[tuple[str, float]]
    paid: bool = False


def process(function, body=b"{}"):
    """Process a job whose executor is this function."""
    with closing(processor_of(executor_of(function))) as processor:
        return processor.process(leased(body))


def take_order(order: Order): ...


class Unspeakable(Exception):
    def __str__(self):
        raise RuntimeError


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (RuntimeError("boom"), "RuntimeError: boom"),
        (KeyError(), "KeyError"),
        (ValueError("two\n  lines\t!"), "ValueError: two lines !"),
        (Unspeakable(), "Unspeakable: (its message cannot be read)"),
    ],
)
def test_exception_on_one_line(error, text):
    assert describe(error) == text


def test_job_that_was_done_has_all_fields_that_others_have():
    done = process(lambda payload: payload)
    assert done == Processed(done.job, Delete(), done.seconds, result={})


def test_long_message_is_cut():
    assert len(describe(RuntimeError("x" * 10_000))) == REASON_MAX


SOON, LATE = Reschedule(10, priority=1, message="soon"), Reschedule("700 seconds", message="late")
SOON_VERDICT, LATE_VERDICT = Release(10, 1, "soon"), Release(700, 5, "late")
ABORT_VERDICT = Release(60, 5, "out of paper", stop=True)


@pytest.mark.parametrize(
    ("members", "verdict"),
    [
        ([SOON], SOON_VERDICT),
        ([SOON, LATE, SOON], LATE_VERDICT),
        ([ExceptionGroup("inner", [LATE]), SOON], LATE_VERDICT),
        ([SOON, ExceptionGroup("inner", [Abort("out of paper"), LATE])], ABORT_VERDICT),
        ([Abort("out of paper"), Abort("out of ink")], ABORT_VERDICT),
        ([Reject("no address"), Abort("out of paper")], ABORT_VERDICT),
        ([SOON, Reject("no address")], Bury(5, "no address", BurialKind.REJECTED)),
    ],
)
def test_group_of_nothing_but_reschedules_and_aborts_counts_as_one_of_them(members, verdict):
    async def mail(payload):
        raise ExceptionGroup("outer", members)

    assert process(mail).verdict == verdict


class Oddly(Reschedule):
    def __init__(self, **changed):
        super().__init__(10)
        vars(self).update(changed)

    def delay(self, now):
        return vars(self).get("wanted", 10)


@pytest.mark.parametrize("changed", [{"wanted": True}, {"wanted": 2.5}, {"wanted": "10"}, {"priority": True}])
def test_reschedule_by_what_is_no_whole_number_is_refused_in_our_own_words(changed):
    def mail(payload):
        raise Oddly(**changed)

    verdict = process(mail).verdict
    assert verdict.failure
    assert "ValueError: a" in verdict.reason
    assert str(next(iter(changed.values()))) in verdict.reason


def test_message_of_a_reschedule_may_be_any_object():
    def mail(payload):
        raise Reschedule(10, message=OSError("out of paper"))

    assert process(mail).verdict == Release(10, 5, "out of paper")


@pytest.mark.parametrize("asked", [SOON, Abort("out of paper")])
def test_group_with_a_failure_in_it_is_a_failure(asked):
    def mail(payload):
        raise ExceptionGroup("outer", [asked, ExceptionGroup("inner", [OSError("a")])])

    done = process(mail)
    assert isinstance(done.verdict, Release)
    assert done.verdict.failure
    assert "OSError: a" in done.verdict.reason


def test_task_group_in_which_a_job_is_rescheduled():
    async def reschedule():
        raise SOON

    async def mail(payload):
        async with asyncio.TaskGroup() as group:
            group.create_task(reschedule())
            group.create_task(asyncio.sleep(60))

    assert process(mail).verdict == SOON_VERDICT


SECRET = "s3cret"  # noqa: S105 - secret for the log, not a password


def fail_with_a_cause(payload):
    try:
        raise KeyError(SECRET)
    except KeyError as error:
        raise ExceptionGroup(SECRET, [OSError(SECRET)]) from error


def reschedule(payload):
    raise Reschedule(10, message=SECRET)


def abort(payload):
    raise ExceptionGroup(SECRET, [Abort(SECRET)])


def reject(payload):
    raise Reject(SECRET)


def fail(payload):
    raise OSError(SECRET)


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (fail, "OSError"),
        (fail_with_a_cause, "ExceptionGroup: OSError"),
        (reschedule, None),
        (abort, "Abort"),
        (reject, "Reject"),
    ],
)
def test_detail_of_the_place_alone_leaves_messages_and_tracebacks_out(function, reason):
    executors = {"mail": executor_of(function)}
    for detail in ("full", "place"):
        done = Processor(executors, Policy(), detail).process(leased(b"{}"))
        shown = f"{done.verdict}{done.traceback}"
        assert (SECRET in shown) is (detail == "full")
    assert done.verdict.reason == reason
    assert done.traceback is None


def test_failure_has_its_traceback():
    shown = process(fail_with_a_cause).traceback
    found = [shown.index(part) for part in ("KeyError: 's3cret'", "ExceptionGroup: s3cret", "  OSError: s3cret")]
    assert found == sorted(found)
    assert ", in fail_with_a_cause" in shown


@pytest.mark.parametrize("function", [take_order, reschedule, abort])
def test_only_failures_have_a_traceback(function):
    assert process(function).traceback is None


def test_reason_of_an_invalid_payload_names_every_field():
    verdict = process(take_order, b'{"number": "x", "lines": [["a"]]}').verdict
    assert isinstance(verdict, Bury)
    assert "number: Input should be a valid integer" in verdict.reason
    assert "lines.0.1: Field required" in verdict.reason


secrets = st.text("abcdefghijk", min_size=12, max_size=40)
shapes = st.recursive(secrets, lambda inner: st.lists(inner, max_size=3), max_leaves=5)


@given(st.fixed_dictionaries({}, optional={"number": shapes, "lines": shapes, "paid": shapes}), secrets)
def test_reason_of_an_invalid_payload_never_holds_a_value_of_it(payload, secret):
    body = json.dumps({**payload, "number": [secret]}).encode()
    verdict = process(take_order, body).verdict
    assert isinstance(verdict, Bury)
    assert secret not in verdict.reason


@pytest.mark.parametrize("body", [b'{"number": "s3cret"}', b'["s3cret"]', b'{"s3cret'])
def test_error_of_an_invalid_payload_shows_no_value_of_it_to_the_handlers_and_trackers_of_users(body):
    error = process(take_order, body).error
    assert "InvalidPayload: payload is" in "".join(traceback.format_exception(error))
    assert "s3cret" not in "".join(traceback.format_exception(error))


class Ann(BaseModel):
    kind: Literal["ann"]


class Bob(BaseModel):
    kind: Literal["bob"]


class Checked(BaseModel):
    to: str
    copies: int = 1

    @model_validator(mode="after")
    def check(self):
        if self.copies > 9:
            raise ValueError(f"{self.copies} copies are too many for a mail")
        if "@" not in self.to:
            raise ValueError(f"no @ in {self.to!r}")
        raise ValueError("mail needs\n  a subject")


@pytest.mark.parametrize(
    ("annotation", "body", "reason"),
    [
        (Annotated[Ann | Bob, Field(discriminator="kind")], {"kind": "s3cret"}, "payload: union_tag_invalid"),
        (list[ZoneInfo], ["UTC", "s3cret"], "1: zoneinfo_str"),
        (Checked, {"to": "s3cret"}, "payload: value_error"),
        (Checked, {"to": ""}, "payload: Value error, no @ in ''"),
        (Checked, {"to": "ann", "copies": 4242}, "payload: value_error"),
        (Checked, {"to": "ann@example.org"}, "payload: Value error, mail needs a subject"),
        (Checked, {"to": "ann@example.org", "more": ["nee", "eeds"]}, "payload: Value error, mail needs a subject"),
        (Checked, {"to": "ann@example.org", "more": ["a subject"]}, "payload: value_error"),
        (Checked, {"more": "required"}, "to: Field required"),
        (
            list[Checked],
            [{"to": "ann@example.org"}, {"to": "x"}],
            "0: Value error, mail needs a subject; 1: value_error",
        ),
    ],
)
def test_message_that_quotes_the_payload_is_replaced_by_its_kind(annotation, body, reason):
    verdict = processor_of(executor_taking(annotation)).process(leased(json.dumps(body).encode())).verdict
    assert verdict.reason == f"payload is not valid: {reason}"


@given(st.binary(max_size=300))
def test_any_body_ends_in_a_verdict(body):
    verdict = process(take_order, body).verdict
    assert isinstance(verdict, Bury)
    assert verdict.reason.startswith("payload is not valid")


async def plain():
    """A coroutine function as it is."""
    await asyncio.sleep(0)
    return 5


def hidden():
    """A function that returns a coroutine, as most decorators make of a coroutine function."""
    return plain()


@pytest.mark.parametrize("function", [plain, hidden])
def test_coroutine_is_run_to_its_end(function):
    processed = process(lambda payload: function())
    assert (processed.verdict, processed.result) == (Delete(), 5)


def test_coroutine_may_end_the_interpreter_and_the_next_still_runs():
    async def mail(payload):
        if payload:
            raise SystemExit(4)
        return await plain()

    with closing(processor_of(executor_of(mail))) as processor:
        assert isinstance(processor.process(leased(b"1")).verdict, Release)
        assert processor.process(leased(b"0")).verdict == Delete()


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**40), 10**40) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)


@given(json_values)
def test_listener_that_only_looks_changes_nothing(value):
    seen = []

    def look(action):
        seen.append(action.payload)

    with events.execute_pre.connected_to(look), events.execute_post.connected_to(look):
        assert process(lambda payload: payload, json.dumps(value).encode()).result == value
    assert seen == [value, value]


def test_place_of_an_exception_is_the_users_line_not_the_librarys(logged):
    def mail(payload):
        raise Reschedule("soon")

    Reporter().report(process(mail), Settled.DONE)
    line = mail.__code__.co_firstlineno + 1
    assert [(entry["reason"][:11], entry["at"]) for entry in logged()] == [
        ("ValueError:", f"test_processing.py:{line}")
    ]


def test_seconds_are_counted_from_the_call_and_not_from_the_lease(monkeypatch):
    clock = iter([100.0, 100.5])
    monkeypatch.setattr("tubeherd.processing.attempt.time.perf_counter", lambda: next(clock))
    attempt = processor_of(executor_taking(dict)).attempt(leased(b"{}"))
    attempt.call()
    assert attempt.finish(None).seconds == 0.5
    assert processor_of(executor_taking(dict)).fail(leased(b"{}"), ValueError()).seconds == 0.0


def test_payload_is_not_in_what_a_processed_job_looks_like():
    done = process(fail, b"hunter2")
    assert done.body == b"hunter2"
    assert "hunter2" not in repr(done)


def fail(payload: bytes):
    raise RuntimeError


@pytest.mark.parametrize(
    ("function", "body", "payload"),
    [
        (fail, b'{"to": "ann"}', '{"to": "ann"}'),
        (fail, "Grüße\n".encode(), "Grüße\n"),
        (fail, b"\xff\x00", "\\xff\x00"),
        (fail, b"x" * 2048, "x" * 2048),
        (fail, b"y" * 2049, "y" * 2048 + "… (2049 bytes)"),
        (take_order, b"{}", "{}"),
        (fail, None, None),
        (lambda payload: None, b"{}", None),
    ],
    ids=["json", "text", "bytes", "longest", "longer", "not valid", "lost", "no failure"],
)
def test_payload_stands_in_the_line_of_a_failure_if_the_settings_ask_for_it(logged, function, body, payload):
    done = process(function, body)
    for settings in (None, WorkerSettings(), WorkerSettings(log_payloads=True)):
        Reporter(settings=settings).report(done, Settled.DONE)
    assert [line.get("payload") for line in logged()] == [None, None, payload]


def test_payload_of_a_job_that_did_not_fail_is_not_logged(logged):
    def mail(payload):
        raise Reschedule(10)

    Reporter(settings=WorkerSettings(log_payloads=True)).report(process(mail), Settled.DONE)
    Reporter(settings=WorkerSettings(log_payloads=True)).report(process(fail), Settled.LEASE_GONE)
    assert [line.get("payload") for line in logged()] == [None, None]


class Strict(BaseModel, extra="forbid"):
    known: dict[str, int] = {}


def test_key_that_no_model_declares_is_left_out_of_the_reason():
    body = b'{"hunter2": 1, "known": {"hunter2": "x"}}'
    verdict = processor_of(executor_taking(Strict)).process(leased(body)).verdict
    assert verdict.reason == (
        "payload is not valid: known.*: Input should be a valid integer, unable to parse string as an integer; "
        "*: Extra inputs are not permitted"
    )


async def start_and_leave(payload):
    async def later():
        await asyncio.sleep(0.01)
        _of_running_job()  # as if it had started a process

    _of_running_job()
    left.append(asyncio.create_task(later()))


left: list[asyncio.Task[None]] = []


def test_nothing_is_kept_of_what_tasks_start_after_their_job_has_ended():
    async def run():
        for count in (20, 1):
            with closing(processor_of(executor_of(start_and_leave))) as processor:
                for _ in range(count):
                    attempt = processor.attempt(leased(b"{}"))
                    deadline = Deadline(time.monotonic() + 60, 60)
                    await asyncio.create_task(process_concurrently(attempt, deadline, lambda: None))
            await asyncio.gather(*left)
        return len(BY_JOB)

    left.clear()
    try:
        assert asyncio.run(run()) <= 1
    finally:
        BY_JOB.clear()
