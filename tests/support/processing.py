"""Executors made of functions and types, and a fresh job for them, for tests that process jobs in their own process."""

from collections.abc import Callable
from typing import Any, Final

from tubeherd.executors import Executor, executor, registry
from tubeherd.job import JobStats
from tubeherd.policy import Policy
from tubeherd.processing.processor import Processor
from tubeherd.queue.answers import Reserved

FRESH: Final = JobStats(
    id=7, tube="mail", priority=5, age=1, delay=0, ttr=60, reserves=1, releases=0, buries=0, kicks=0
)
"""The counters of a job of the tube `mail` that was reserved for the first time."""


def leased(body: bytes) -> Reserved:
    """Return a fresh job with this body, as a connection hands it out."""
    return Reserved(FRESH, body, 0.0)


def executor_of(function: Callable[..., Any]) -> Executor:
    """Return what `executor("mail")` makes of a function, without leaving it in the registry."""
    executor("mail")(function)
    return registry.pop("mail")


def executor_taking(annotation: object) -> Executor:
    """Return an executor of `mail` that does nothing, and whose payload has this annotation."""

    def mail(payload: Any) -> None: ...

    mail.__annotations__["payload"] = annotation
    return executor_of(mail)


def processor_of(made: Executor) -> Processor:
    """Return a processor that executes the jobs of `mail` so, under the default policy; the caller closes it."""
    return Processor({"mail": made}, Policy())
