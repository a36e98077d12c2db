"""What may be an executor, what it gets, and what it may raise."""

from datetime import UTC, datetime, timedelta

import pytest

from tubeherd.executors import Executor, ExecutorError, Reschedule, executor, registry
from tubeherd.job import Job


@pytest.fixture(autouse=True)
def _forget_executors():
    registry.clear()
    yield
    registry.clear()


def make(function) -> Executor:
    executor("mail")(function)
    return registry["mail"]


def test_without_annotation_it_gets_plain_json():
    def mail(payload): ...

    made = make(mail)
    assert made.adapter.validate_json(b'[1, {"a": null}]') == [1, {"a": None}]
    assert not made.takes_job


def test_bytes_are_handed_over_raw():
    def mail(body: bytes): ...

    assert make(mail).adapter is None


def test_second_parameter_annotated_job_gets_the_job():
    def mail(payload: "dict[str, int]", job: "Job"): ...

    made = make(mail)
    assert made.takes_job
    assert made.adapter.validate_json(b'{"a": 1}') == {"a": 1}


def test_further_parameters_with_defaults_are_left_alone():
    def mail(payload, job: Job, strict=True, *, dry_run=False): ...

    assert make(mail).takes_job


def test_coroutine_function_is_known_as_one():
    async def mail(payload): ...

    assert make(mail).is_coroutine


def test_decorated_function_is_returned_as_it_was():
    def mail(payload): ...

    assert executor("mail")(mail) is mail


def nothing(): ...
def two(payload, other): ...
def keyword(payload, *, needed): ...
def unknown(payload: "Unknown"): ...  # noqa: F821 - the point of the test


@pytest.mark.parametrize("function", [nothing, two, keyword, unknown])
def test_function_that_cannot_be_called_is_refused(function):
    with pytest.raises(ExecutorError, match="the executor 'mail'"):
        make(function)


def test_bad_tube_name_is_refused():
    with pytest.raises(ExecutorError, match="is no tube name"):
        executor("two words")(lambda payload: None)


def test_two_executors_of_one_name_are_refused_and_both_named():
    def first(payload): ...
    def second(payload): ...

    executor("mail")(first)
    with pytest.raises(ExecutorError, match=r"two executors for tube 'mail': .*first and .*second"):
        executor("mail")(second)


@pytest.mark.parametrize(
    ("request_", "delay"),
    [
        (Reschedule("10 seconds"), 10),
        (Reschedule(in_=1.2), 2),
        (Reschedule(in_=timedelta(minutes=1)), 60),
        (Reschedule(in_=0), 0),
        (Reschedule(at=datetime.fromtimestamp(1_000_030, UTC)), 30),
        (Reschedule(at=datetime.fromtimestamp(1_000_000.5, UTC)), 1),
        (Reschedule(at=datetime(2000, 1, 1, tzinfo=UTC) - timedelta(days=20_000)), 0),
        (Reschedule(at=datetime(9999, 1, 1, tzinfo=UTC)), 2**32 - 61),
    ],
)
def test_reschedule_in_whole_seconds(request_, delay):
    assert request_.delay(now=1_000_000.0) == delay


@pytest.mark.parametrize(
    "arguments",
    [{}, {"in_": 1, "at": datetime.now(UTC)}, {"in_": "soon"}, {"in_": -1}, {"in_": 1, "priority": -1}],
)
def test_reschedule_refuses_what_makes_no_sense(arguments):
    with pytest.raises(ValueError, match=r"Reschedule takes|duration|priority"):
        Reschedule(**arguments)
