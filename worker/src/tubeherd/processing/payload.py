"""Makes the payload, which an executor is called with, from the body of a job, which is the bytes that were put.

The listeners of two events are called before that; one of the events lets them change the decoded body.
"""

from typing import Any

from pydantic import ValidationError
from pydantic_core import from_json, to_json

from tubeherd import events
from tubeherd.executors import Executor
from tubeherd.job import Job
from tubeherd.processing.reasons import InvalidPayload, describe
from tubeherd.processing.validation import describe_invalid


def prepare_payload(executor: Executor, job: Job, body: bytes | None) -> Any:
    """Return the payload; raises InvalidPayload, or what a listener raises. Body None: beanstalkd has lost it."""
    if body is None:
        raise InvalidPayload("the job's body is damaged: beanstalkd lost it in a crash")
    if events.job_execute.receivers:
        events.job_execute.send(job)
    adapter = executor.adapter
    if events.execute_pre.receivers:
        action = events.Action(job, body if adapter is None else _decode(body))
        events.execute_pre.send(action)
        if adapter is None:
            return action.payload
        # What the listeners left is made JSON again, so that the same rules validate it as any other body.
        body = to_json(action.payload)
    if adapter is None:
        return body
    try:
        return adapter.validator.validate_json(body)
    except ValidationError as error:
        reason = describe_invalid(error, adapter)
    # Raised here, so that pydantic's error is not its context: that quotes the payload, and listeners may send the
    # error to a tracker.
    raise InvalidPayload(reason)


def check_body(executor: Executor, body: bytes) -> None:
    """Raise InvalidPayload if the executor could not take this body; to be called before the job is put.

    If `worker.action.execute.pre` has listeners here, nothing is checked, because they may change the payload first.
    """
    if executor.adapter is None or events.execute_pre.receivers:
        return
    try:
        executor.adapter.validator.validate_json(body)
        return
    except ValidationError as error:
        reason = describe_invalid(error, executor.adapter)
    raise InvalidPayload(reason)  # without pydantic's error as its context, as above


def _decode(body: bytes) -> Any:
    try:
        return from_json(body)
    except ValueError as error:
        raise InvalidPayload(f"payload is no JSON: {describe(error)}") from error
