"""Tubeherd's worker library: all that a user's code imports of it.

`executor` registers the function that does a tube's jobs, `events` has the events to which listeners are connected, and
with `QueueManager` a script puts jobs into tubes and processes jobs itself.
"""

from tubeherd import events
from tubeherd.burials.record import BurialGroup, BurialRecord, Burials
from tubeherd.events import Action
from tubeherd.executors import Abort, Executor, ExecutorError, Reject, Reschedule, executor
from tubeherd.job import Job, JobStats
from tubeherd.manager import QueueManager
from tubeherd.policy import BurialKind, Bury, Delete, Policy, Release, RetrySchedule
from tubeherd.processing.attempt import DeadlinePassed, FlushFailed, Processed
from tubeherd.processing.coroutines import CancelledLate
from tubeherd.processing.reasons import InvalidPayload
from tubeherd.processing.reporting import SlotDied
from tubeherd.queue.answers import QueueUnavailable, RefusedError, Reserved

__all__ = [
    "Abort",
    "Action",
    "BurialGroup",
    "BurialKind",
    "BurialRecord",
    "Burials",
    "Bury",
    "CancelledLate",
    "DeadlinePassed",
    "Delete",
    "Executor",
    "ExecutorError",
    "FlushFailed",
    "InvalidPayload",
    "Job",
    "JobStats",
    "Policy",
    "Processed",
    "QueueManager",
    "QueueUnavailable",
    "RefusedError",
    "Reject",
    "Release",
    "Reschedule",
    "Reserved",
    "RetrySchedule",
    "SlotDied",
    "events",
    "executor",
]
