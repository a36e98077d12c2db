"""Tubeherd's worker library: all that a user's code imports of it.

`executor` registers the function that does a tube's jobs, `events` has the events to which listeners are connected, and
with `QueueManager` a script puts jobs into tubes and processes jobs itself. Each name is imported when it is first
used, because the command has to start quickly and a worker has to stay small.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from tubeherd import events as events
    from tubeherd.builtin.errors import CommandFailed as CommandFailed
    from tubeherd.builtin.errors import HttpFailed as HttpFailed
    from tubeherd.builtin.errors import HttpUnanswered as HttpUnanswered
    from tubeherd.burials.record import BurialGroup as BurialGroup
    from tubeherd.burials.record import BurialRecord as BurialRecord
    from tubeherd.burials.record import Burials as Burials
    from tubeherd.by_hand.changing.acted import Acted as Acted
    from tubeherd.by_hand.changing.acted import BrokenOff as BrokenOff
    from tubeherd.by_hand.changing.acted import Refused as Refused
    from tubeherd.by_hand.changing.acted import TubeChange as TubeChange
    from tubeherd.by_hand.changing.pausing import Paused as Paused
    from tubeherd.by_hand.looking.looked import Stats as Stats
    from tubeherd.by_hand.looking.looked_jobs import Inspected as Inspected
    from tubeherd.by_hand.looking.looked_jobs import InspectedJob as InspectedJob
    from tubeherd.by_hand.looking.looked_jobs import NextJobs as NextJobs
    from tubeherd.by_hand.putting.putting import PutManyStopped as PutManyStopped
    from tubeherd.events import Action as Action
    from tubeherd.events import SlotDied as SlotDied
    from tubeherd.executors import Abort as Abort
    from tubeherd.executors import Executor as Executor
    from tubeherd.executors import ExecutorError as ExecutorError
    from tubeherd.executors import Reject as Reject
    from tubeherd.executors import Reschedule as Reschedule
    from tubeherd.executors import executor as executor
    from tubeherd.job import Job as Job
    from tubeherd.job import JobStats as JobStats
    from tubeherd.manager import QueueManager as QueueManager
    from tubeherd.policy import BurialKind as BurialKind
    from tubeherd.policy import Bury as Bury
    from tubeherd.policy import Delete as Delete
    from tubeherd.policy import Policy as Policy
    from tubeherd.policy import Release as Release
    from tubeherd.policy import RetrySchedule as RetrySchedule
    from tubeherd.processing.batch import FlushFailed as FlushFailed
    from tubeherd.processing.deadlines import CancelledLate as CancelledLate
    from tubeherd.processing.deadlines import DeadlinePassed as DeadlinePassed
    from tubeherd.processing.processed import Processed as Processed
    from tubeherd.processing.reasons import InvalidPayload as InvalidPayload
    from tubeherd.queue.answers import AnswerLost as AnswerLost
    from tubeherd.queue.answers import JobCounters as JobCounters
    from tubeherd.queue.answers import QueueUnavailable as QueueUnavailable
    from tubeherd.queue.answers import RefusedError as RefusedError
    from tubeherd.queue.answers import Reserved as Reserved
    from tubeherd.queue.answers import ServerCounters as ServerCounters
    from tubeherd.queue.answers import Settled as Settled
    from tubeherd.queue.answers import TubeCounters as TubeCounters

_MODULES: Final = {
    "tubeherd.builtin.errors": ("CommandFailed", "HttpFailed", "HttpUnanswered"),
    "tubeherd.burials.record": ("BurialGroup", "BurialRecord", "Burials"),
    "tubeherd.by_hand.changing.acted": ("Acted", "BrokenOff", "Refused", "TubeChange"),
    "tubeherd.by_hand.changing.pausing": ("Paused",),
    "tubeherd.by_hand.putting.putting": ("PutManyStopped",),
    "tubeherd.by_hand.looking.looked": ("Stats",),
    "tubeherd.by_hand.looking.looked_jobs": ("Inspected", "InspectedJob", "NextJobs"),
    "tubeherd.events": ("Action", "SlotDied"),
    "tubeherd.executors": ("Abort", "Executor", "ExecutorError", "Reject", "Reschedule", "executor"),
    "tubeherd.job": ("Job", "JobStats"),
    "tubeherd.manager": ("QueueManager",),
    "tubeherd.policy": ("BurialKind", "Bury", "Delete", "Policy", "Release", "RetrySchedule"),
    "tubeherd.processing.processed": ("Processed",),
    "tubeherd.processing.batch": ("FlushFailed",),
    "tubeherd.processing.deadlines": ("CancelledLate", "DeadlinePassed"),
    "tubeherd.processing.reasons": ("InvalidPayload",),
    "tubeherd.queue.answers": (
        "AnswerLost",
        "JobCounters",
        "QueueUnavailable",
        "RefusedError",
        "Reserved",
        "ServerCounters",
        "Settled",
        "TubeCounters",
    ),
}
_MODULE_OF: Final = {name: module for module, names in _MODULES.items() for name in names}

__all__ = sorted([*_MODULE_OF, "events"])

if not TYPE_CHECKING:  # otherwise a type checker would accept every name

    def __getattr__(name: str) -> Any:
        """Import a name of `__all__` when it is first used."""
        if name == "events":
            return import_module("tubeherd.events")
        if name not in _MODULE_OF:
            raise AttributeError(f"module 'tubeherd' has no attribute {name!r}")
        value = globals()[name] = getattr(import_module(_MODULE_OF[name]), name)
        return value

    def __dir__() -> list[str]:
        return __all__
