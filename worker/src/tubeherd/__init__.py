"""Tubeherd's worker library: what an executor's module and a producer need."""

from tubeherd.executors import Abort, ExecutorError, Reschedule, executor
from tubeherd.job import Job
from tubeherd.manager import QueueManager
from tubeherd.policy import Policy, RetrySchedule
from tubeherd.queue.answers import QueueUnavailable, RefusedError

__all__ = [
    "Abort",
    "ExecutorError",
    "Job",
    "Policy",
    "QueueManager",
    "QueueUnavailable",
    "RefusedError",
    "Reschedule",
    "RetrySchedule",
    "executor",
]
