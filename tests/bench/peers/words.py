"""What each contestant promises by its own documentation, in our words, with the pages that say so."""

from typing import Final, NamedTuple


class Return(NamedTuple):
    """When a job is executed again whose worker died, as the cells of a row."""

    by_default: str
    tried_with: str
    """Timeouts that are as short as they can be, so that nobody waits for an hour while it is tried."""


class Promises(NamedTuple):
    """The cells of a row."""

    removed: str
    """When a job leaves the queue."""
    retries: str
    delays: str
    failed: str
    """Where failed jobs are seen."""
    source: str


RETURN_HEAD: Final = ["by default it comes back", "tried with"]
RETURNS: Final[dict[tuple[str, str], Return]] = {
    ("tubeherd_peer", ""): Return(
        "at once, as beanstalkd sees the connection close, and after the TTR of the job if the network is cut; if only "
        "the slot dies, by the schedule of retries",
        "a retry after 1 s",
    ),
    ("huey_peer", ""): Return("never", ""),
    ("dramatiq_peer", "8"): Return(
        "after 60 s without a heartbeat, by one in a thousand commands to Redis",
        "5 s without a heartbeat, by each command",
    ),
    ("celery_peer", "late"): Return(
        "an hour after it was taken, the visibility timeout; if only its process dies, at once by "
        "`task_reject_on_worker_lost`, without which it is lost",
        "visibility timeout 5 s, looks each second",
    ),
    ("celery_peer", ""): Return("never", "the same"),
    ("rq_peer", "SimpleWorker"): Return(
        "60 s after its time limit of 180 s, at the next maintenance, which is every 10 minutes and when a worker "
        "starts; then it is executed again if it asks for retries, otherwise it has failed",
        "time limit 5 s, maintenance each second, a retry at once",
    ),
    ("rq_peer", "Worker"): Return(
        "90 s after the last heartbeat, at the next maintenance; if only its process dies, at once; both if it asks "
        "for retries, otherwise it has failed then",
        "the same, a heartbeat each second",
    ),
    ("arq_peer", "10"): Return("10 s after the time limit of jobs, 300 s", "time limit 5 s"),
}

PROMISES_HEAD: Final = ["a job leaves the queue", "retries", "delay", "failed jobs are in", "source"]
PROMISES: Final[dict[str, Promises]] = {
    "tubeherd_peer": Promises(
        "after its executor returned",
        "one after 10 minutes, or any schedule; the count is kept in beanstalkd",
        "yes, kept in beanstalkd",
        "the tube, buried, with the reason; in the pool's status too",
        "[README](../README.md); [the worker from inside](worker.md)",
    ),
    "huey_peer": Promises(
        "before it is executed",
        "if the task asks for them: `retries`, `retry_delay`",
        "yes, kept in Redis",
        "the result store, each under the job's id",
        "Huey docs: Consuming tasks (Consumer shutdown, Consumer Internals); Guide",
    ),
    "dramatiq_peer": Promises(
        "after its actor returned",
        "20 with growing delays",
        "up to 7 days; a worker holds the job meanwhile",
        "a dead letter queue, for a week",
        "dramatiq docs: User Guide (Message Retries, Dead Letters); Advanced Topics (Message Persistence); API "
        "Reference (RedisBroker, Environment Variables)",
    ),
    "celery_peer": Promises(
        "just before it is executed; with `acks_late` after its task returned or failed",
        "if the task asks for them: `autoretry_for`, `self.retry`",
        "yes; a worker holds the job meanwhile, and one beyond the visibility timeout is executed repeatedly",
        "the result backend if there is one, otherwise only the log",
        "Celery docs: Tasks; Optimizing; Using Redis (Visibility timeout); Configuration and defaults",
    ),
    "rq_peer": Promises(
        "before it is executed, for a registry of started jobs",
        "if the job asks for them: `Retry(max, interval)`",
        "yes, by a scheduler in a worker",
        "the FailedJobRegistry, with the traceback, for a year",
        "RQ docs: Workers; Exceptions & Retries; Job Registries; Notes on Performance; times from `get_heartbeat_ttl` "
        "in its code",
    ),
    "arq_peer": Promises(
        "after its coroutine returned or failed",
        "5 executions if the job raises `Retry` or its worker stops; any other exception is final",
        "yes, kept in Redis",
        "the results, each under the job's id, for an hour",
        "arq docs: Usage; Retrying jobs and cancellation; Worker; times from `in_progress_timeout_s` in its code",
    ),
}
