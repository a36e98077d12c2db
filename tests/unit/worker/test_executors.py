"""What may be an executor, what it gets, and what it may raise."""

import math
import runpy
import threading
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from typing import Annotated, Any, Optional

import pytest
from pydantic import BaseModel
from typing_extensions import TypedDict

from tests.support.processing import executor_of, executor_taking
from tubeherd.executors import ExecutorError, Reschedule, executor, registry
from tubeherd.job import Job
from tubeherd.policy import Policy, RetrySchedule


@dataclass
class Order:
    number: int


class Model(BaseModel):
    number: int


class Typed(TypedDict):
    number: int


pytestmark = pytest.mark.usefixtures("no_executors")


def test_without_annotation_it_gets_plain_json():
    def mail(payload): ...

    made = executor_of(mail)
    assert made.adapter.validate_json(b'[1, {"a": null}]') == [1, {"a": None}]
    assert not made.takes_job


def test_bytes_are_handed_over_raw():
    def mail(body: bytes): ...

    assert executor_of(mail).adapter is None


def test_second_parameter_annotated_job_gets_the_job():
    def mail(payload: "dict[str, int]", job: "Job"): ...

    made = executor_of(mail)
    assert made.takes_job
    assert made.adapter.validate_json(b'{"a": 1}') == {"a": 1}


def test_further_parameters_with_defaults_are_left_alone():
    def mail(payload, job: Job, strict=True, *, dry_run=False): ...

    assert executor_of(mail).takes_job


def test_decorated_function_is_returned_as_it_was():
    def mail(payload): ...

    assert executor("mail")(mail) is mail


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (Order, Order(1)),
        (Model, Model(number=1)),
        (Typed, {"number": 1}),
        (dict, {"number": 1}),
        (dict[str, int], {"number": 1}),
        (Annotated[dict[str, float], "more"], {"number": 1.0}),
        ("Order", Order(1)),
        (Order | list[int], Order(1)),
        (Any, {"number": 1}),
    ],
)
def test_annotation_decides_what_the_json_body_becomes(annotation, value):
    def mail(payload): ...  # of this module, in which the annotations that are text are looked up

    mail.__annotations__["payload"] = annotation
    assert executor_of(mail).adapter.validate_json(b'{"number": 1}') == value


def test_annotations_may_be_postponed(tmp_path):
    source = """
from __future__ import annotations
from dataclasses import dataclass
from tubeherd import Job
@dataclass
class Order:
    number: int
def mail(order: Order, job: Job): ...
"""
    module = tmp_path / "postponed.py"
    module.write_text(source)
    made = executor_of(runpy.run_path(module)["mail"])
    assert made.takes_job
    assert made.adapter.validate_json(b'{"number": 1}').number == 1


Optional_ = Optional[Job]  # noqa: UP045 - people write it


@pytest.mark.parametrize(
    "annotation",
    [Job, Job | None, Optional_, "Job | None", Annotated[Job, "x"], Annotated[Job | None, "x"], Job | dict],
)
def test_second_parameter_gets_the_job_however_its_annotation_names_it(annotation):
    def mail(payload, it=None): ...

    mail.__annotations__["it"] = annotation
    assert executor_of(mail).takes_job


def job_first(job: Job): ...
def job_third(payload, copies: int = 1, job: Job | None = None): ...
def job_twice(payload, first: Job, second: Job | None = None): ...
def job_by_keyword(payload, copies: int = 1, *, job: Job | None = None): ...


@pytest.mark.parametrize("function", [job_first, job_third, job_twice, job_by_keyword])
def test_job_in_another_place_than_the_second_is_refused(function):
    with pytest.raises(ExecutorError, match=r"its second parameter gets the job, not '(job|second)'"):
        executor_of(function)


def test_second_parameter_that_is_only_called_job_is_refused():
    def mail(payload, job=None): ...

    with pytest.raises(ExecutorError, match="annotate its parameter job: Job"):
        executor_of(mail)


def test_other_parameters_with_defaults_are_left_alone():
    def mail(payload, copies=1, job: dict | None = None, *rest, more: list[Job] = (), **others): ...

    assert not executor_of(mail).takes_job


def nothing(): ...
def two(payload, other): ...
def keyword(payload, *, needed): ...
def keyword_only(*, payload): ...
def keyword_job(payload, *, job: Job): ...
def any_keyword(**payload): ...


@pytest.mark.parametrize("function", [nothing, two, keyword, keyword_only, keyword_job, any_keyword])
def test_function_that_cannot_be_called_with_a_payload_is_refused(function):
    with pytest.raises(ExecutorError, match=r"the executor 'mail' must take a payload, and may take a second"):
        executor_of(function)


def generator(payload):
    yield


async def async_generator(payload):
    yield


@pytest.mark.parametrize("function", [generator, async_generator])
def test_function_whose_call_would_run_nothing_is_refused(function):
    with pytest.raises(ExecutorError, match="the executor 'mail' has a yield"):
        executor_of(function)


@pytest.mark.parametrize(
    ("annotation", "said"),
    [("Unknown", "name 'Unknown' is not defined"), (threading.Lock, "Unable to generate pydantic-core schema for .*")],
)
def test_annotation_that_means_nothing_is_refused_in_one_line(annotation, said):
    with pytest.raises(ExecutorError, match=f"^the executor 'mail' cannot be used: {said}$"):
        executor_taking(annotation)


def test_decorator_without_a_tube_is_refused():
    with pytest.raises(ExecutorError, match="mail is decorated without the name of its tube"):

        @executor
        def mail(payload): ...


def test_bad_tube_name_is_refused():
    with pytest.raises(ExecutorError, match="is no tube name"):
        executor("two words")(lambda payload: None)


def test_reserved_tube_is_refused():
    with pytest.raises(ExecutorError, match=r"'tubeherd\.burials' cannot be used: 'tubeherd\.burials' is reserved"):
        executor("tubeherd.burials")(lambda payload: None)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"retry_delays": "10s"}, "retry delays are a list"),
        ({"retry_delays": 10}, "retry delays are a list"),
        ({"retry_delays": ["soon"]}, "'soon' is no duration"),
        ({"retry_delays": [timedelta(-1)]}, "a duration is from 0"),
        ({"retry_delays": ["1s"] * 21}, "at most 20 retry delays"),
        ({"timeout": 0}, "longer than 0"),
        ({"timeout": "soon"}, "no duration"),
        ({"timeout": math.nan}, "a duration is from 0"),
        ({"timeout": 2**32}, "at most 4294967295 seconds"),
        ({"max_lost_deliveries": -1}, "max_lost_deliveries is a whole number"),
        ({"max_lost_deliveries": 1.5}, "max_lost_deliveries is a whole number"),
        ({"max_lost_deliveries": True}, "max_lost_deliveries is a whole number"),
    ],
)
def test_settings_of_an_executor_that_make_no_sense_are_refused_where_they_stand(settings, words):
    with pytest.raises(ExecutorError, match=f"the executor 'mail' cannot be used: .*{words}"):
        executor("mail", **settings)


def test_executor_settings_win_over_the_workers_and_leave_the_others_alone():
    executor("mail", retry_delays=["10s", 0.5], timeout=timedelta(minutes=1))(lambda payload: None)
    made = registry.pop("mail")
    assert made.timeout == 60
    assert made.policy(Policy(RetrySchedule((5,)), 7)) == Policy(RetrySchedule((10, 1)), 7)
    executor("mail", retry_delays=[], max_lost_deliveries=0)(lambda payload: None)
    assert registry.pop("mail").policy(Policy()) == Policy(RetrySchedule(()), 0)
    executor("mail")(lambda payload: None)
    assert registry.pop("mail").policy(Policy()) == Policy()


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
        (Reschedule(at=datetime.min), 0),
        (Reschedule(at=datetime.min.replace(tzinfo=UTC)), 0),
        (Reschedule(at=datetime.fromtimestamp(1_000_030)), 30),
        (Reschedule(2**32 - 1), 2**32 - 1),
    ],
)
def test_reschedule_in_whole_seconds(request_, delay):
    assert request_.delay(now=1_000_000.0) == delay


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"in_": 1, "at": datetime.now(UTC)},
        {"in_": "soon"},
        {"in_": -1},
        {"in_": 1, "priority": -1},
        {"in_": 1, "priority": 2**32},
        {"in_": 1, "priority": 1.5},
        {"in_": 1, "priority": True},
        {"in_": timedelta(seconds=-5)},
        {"in_": timedelta(days=9999999)},
        {"in_": 2**32},
        {"in_": 10**12},
        {"in_": math.nan},
        {"in_": math.inf},
        {"in_": True},
        {"in_": datetime.now(UTC)},
        {"at": datetime.max},
        {"at": datetime.max.replace(tzinfo=UTC)},
        {"at": datetime.max.replace(tzinfo=timezone(timedelta(hours=-9)))},
        {"at": timedelta(seconds=5)},
        {"at": 5},
    ],
)
def test_reschedule_refuses_what_makes_no_sense(arguments):
    with pytest.raises(ValueError, match=r"Reschedule takes|duration|priority|delay"):
        Reschedule(**arguments)
