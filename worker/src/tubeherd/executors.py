"""Executors, which are the functions that do a tube's jobs, and the exceptions that they raise for the worker."""

import inspect
import math
import time
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from types import UnionType
from typing import Annotated, Any, Final, TypeVar, Union

from pydantic import TypeAdapter
from pydantic.errors import PydanticUserError

from tubeherd.formats.globs import best_match, check_tube_or_glob
from tubeherd.formats.text import shortened
from tubeherd.job import Job
from tubeherd.job_options import check_priority, make_schedule, parse_delay, parse_timeout, unix_time
from tubeherd.policy import Policy, RetrySchedule

Function = TypeVar("Function", bound=Callable[..., Any])


_MESSAGE_MAX: Final = 2000
"""The length of the message of an ExecutorError, in characters."""


class ExecutorError(Exception):
    """An executor cannot be used as it is, or is missing; the message says which one, and what to change."""

    def __init__(self, message: str) -> None:
        super().__init__(shortened(message, _MESSAGE_MAX))


class Reschedule(Exception):
    """Raised by an executor, to have its job executed again later. This does not count as a failure of the job."""

    def __init__(
        self,
        in_: str | float | timedelta | None = None,
        at: datetime | None = None,
        priority: int | None = None,
        message: str | None = None,
    ) -> None:
        """Take either `in_`, a time from now ("10 seconds", seconds, timedelta), or `at`, a date and time.

        If `at` has no time zone, it is local time; if it is past, the job is executed again at once. If `priority` is
        None, the job keeps its priority. Raises ValueError if not exactly one of `in_` and `at` is given, or if one of
        the values is out of beanstalkd's range or makes no sense.
        """
        super().__init__(message or "rescheduled")
        self._in = 0
        self._at: float | None = None
        """The Unix time of `at`; None if `in_` was given."""
        match in_, at:
            case None, datetime():
                parse_delay(at, time.time())
                self._at = max(0.0, unix_time(at))
            case ((str() | int() | float() | timedelta()), None):
                self._in = parse_delay(in_, 0)
            case _:
                raise ValueError("Reschedule takes either in_, a duration, or at, a datetime")
        self.priority = None if priority is None else check_priority(priority)
        self.message = message

    def delay(self, now: float) -> int:
        """Return in how many whole seconds from `now` (Unix time) the job is to be executed, at least 0."""
        return self._in if self._at is None else max(0, math.ceil(self._at - now))


class Outside(BaseException):
    """Base of the exceptions for what went wrong outside of Python: in a program, or behind a URL."""

    def __init__(self, message: str, place: str, output: str = "") -> None:
        """Take where it went wrong, without secrets, and the end of what was written there, at most 4 KiB."""
        super().__init__(message)
        self.place = place
        self.output = output

    @property
    def name(self) -> str:
        """What failures of the same cause have in common: the name of the type, and maybe more in the same word."""
        return type(self).__name__


class Reject(Exception):
    """Raised by an executor, to have its job buried at once, because no further attempt would help.

    If somebody kicks the job, it has the attempts that were left to it.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message)


class Abort(Exception):
    """Raised by an executor, to stop the whole worker.

    Its job is ready again after a minute, and this does not count as a failure of the job.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class Executor:
    """The function that does the jobs of the tube `name`, or of those that this glob matches, with its settings."""

    name: str
    function: Callable[..., Any]
    adapter: TypeAdapter[Any] | None
    """What makes the first argument from the JSON body; if None, the argument is the body, as bytes."""
    takes_job: bool
    """Whether the second argument is the `Job`."""
    schedule: RetrySchedule | None = None
    """The delays before the retries of its jobs; if None, those of the worker."""
    timeout: float | None = None
    """How long one of its jobs may run in a worker, in seconds; if None, as long as the worker's setting says."""
    max_lost_deliveries: int | None = None
    """How often one of its jobs may be lost before it is buried; if None, as often as the worker's setting says."""
    payload_of: Callable[[Any], Any] | None = None
    """Returns the payload of an object of the program that puts jobs; None if no such function was given."""
    place: str | None = None
    """The command or the URL that does its jobs, without secrets; None if a function of the user's does them."""

    def maps(self, value: object) -> bool:
        """Return whether the parameter of `payload_of` is annotated with a type of which `value` is."""
        try:
            first = next(iter(inspect.signature(self.payload_of, eval_str=True).parameters.values()))  # type: ignore[arg-type]
            return isinstance(value, first.annotation)
        except (NameError, StopIteration, TypeError, ValueError):  # it has no annotation, or none that can be tested
            return False

    @property
    def source(self) -> str:
        """The module and the name of the user's function, or the command or URL, as messages name it."""
        return self.place or f"{self.function.__module__}.{self.function.__qualname__}"

    def policy(self, default: Policy) -> Policy:
        """Return the rules for its jobs: those of the worker or script, with what this executor has of its own."""
        return default.with_own(self.schedule, self.max_lost_deliveries)


registry: Final[dict[str, Executor]] = {}
"""Every executor whose module was imported, by the name of its tube, or by its glob."""


def executor(
    name: str,
    *,
    retry_delays: Iterable[str | float | timedelta] | None = None,
    timeout: str | float | timedelta | None = None,
    max_lost_deliveries: int | None = None,
    payload_of: Callable[[Any], Any] | None = None,
) -> Callable[[Function], Function]:
    """Register a function or coroutine function as the executor of the tube `name`.

    `name` may be a glob, such as "reports.*": `*` is any text and `?` is any one character. A tube's jobs are done by
    the executor of its name if there is one, otherwise by the one with the longest glob that matches; of equally long
    globs the one that is last in alphabetical order counts.

    The annotation of its first parameter decides what the function is called with. `bytes`: the body of the job as it
    is. No annotation: the decoded JSON body. Any other type: what pydantic's TypeAdapter of that type makes of the JSON
    body. If a second parameter is annotated `Job`, also in a union such as `Job | None`, it gets the job.

    The other arguments win over the settings of the worker, for the jobs of this tube. `retry_delays` are the delays
    before each further attempt at a failed job, such as ["10s", "10m"]; if empty, the first failure buries the job.
    `timeout` is how long a job may run in a worker; a script that calls `QueueManager.process` sets no limit. A job is
    buried if it was lost `max_lost_deliveries` times, or never if that is 0.

    `payload_of` is a function that returns the payload of an object, such as the id of a row. `QueueManager.put_for`
    calls it for objects of the type with which its first parameter is annotated.

    Raises ExecutorError if the function cannot be an executor, if one of the other arguments makes no sense, or if the
    tube has an executor already.
    """

    if not isinstance(name, str):
        function = getattr(name, "__name__", name)
        raise ExecutorError(
            f'{shortened(str(function), 60)} is decorated without the name of its tube: write @executor("TUBE")'
        )
    try:
        schedule = None if retry_delays is None else make_schedule(retry_delays)
        seconds = None if timeout is None else parse_timeout(timeout)
        if max_lost_deliveries is not None:
            Policy(max_lost_deliveries=max_lost_deliveries)
        if payload_of is not None and not callable(payload_of):
            raise ValueError(f"payload_of is a function, not {shortened(repr(payload_of), 60)}")
    except ValueError as error:
        raise ExecutorError(f"the executor {name!r} cannot be used: {error}") from error

    def register(function: Function) -> Function:
        made = replace(
            _make(name, function),
            schedule=schedule,
            timeout=seconds,
            max_lost_deliveries=max_lost_deliveries,
            payload_of=payload_of,
        )
        if name in registry:
            raise ExecutorError(f"two executors for tube {name!r}: {registry[name].source} and {made.source}")
        registry[name] = made
        return function

    return register


def executor_for(executors: Mapping[str, Executor], tube: str) -> Executor | None:
    """Return which of these executors, which are given by their names, does the jobs of a tube; None if none does."""
    name = best_match(executors, tube)
    return None if name is None else executors[name]


def _make(name: str, function: Callable[..., Any]) -> Executor:
    try:
        check_tube_or_glob(name)
        signature = inspect.signature(function)
        hints = typing.get_type_hints(function, include_extras=True)
        parameters = list(signature.parameters)
        wanted = hints.get(parameters[0], Any) if parameters else Any
        adapter = None if wanted is bytes else TypeAdapter(wanted)
    except (ValueError, TypeError, NameError, PydanticUserError) as error:
        first_line = str(error).partition("\n")[0]
        raise ExecutorError(f"the executor {name[:60]!r} cannot be used: {first_line}") from error
    takes_job = _takes_job(name, parameters, hints)
    try:
        signature.bind(*[None] * (1 + takes_job))
    except TypeError as error:
        raise ExecutorError(
            f"the executor {name!r} must take a payload, and may take a second parameter annotated Job, not {signature}"
        ) from error
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise ExecutorError(f"the executor {name!r} has a yield, so a call would run nothing of it: remove the yield")
    return Executor(name, function, adapter, takes_job)


def _takes_job(name: str, parameters: list[str], hints: Mapping[str, Any]) -> bool:
    """Return whether the second parameter gets the job; raises ExecutorError if another one looks as if it did."""
    annotated = [parameter for parameter in parameters if _may_be_job(hints.get(parameter))]
    odd = [parameter for parameter in annotated if [parameter] != parameters[1:2]]
    if odd:
        raise ExecutorError(f"the executor {name!r} cannot be used: its second parameter gets the job, not {odd[0]!r}")
    if "job" in parameters[1:] and "job" not in hints:
        raise ExecutorError(f"the executor {name!r} cannot be used: annotate its parameter job: Job")
    return bool(annotated)


def _may_be_job(hint: Any) -> bool:
    """Return whether a type hint is `Job`, or a union or an alias in which `Job` is."""
    hint = getattr(hint, "__value__", hint)
    parts = typing.get_args(hint) if typing.get_origin(hint) in (Annotated, Union, UnionType) else ()
    return hint is Job or any(map(_may_be_job, parts))
