"""Every setting of a worker, declared once.

These are made from a declaration here: the option of `tubeherd run`; the environment variable; the field of a pool,
which is a WorkerPool object, with its rules and description; the variables that the operator sets for the workers of a
pool; and the entry in `docs/settings.md`. A slot is one of the processes of a worker that execute jobs.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, field_validator
from pydantic.alias_generators import to_snake

from tubeherd.configuration import Settings
from tubeherd.declarations import Unset, find
from tubeherd.events import DEFAULT_BATCH_SIZE
from tubeherd.formats.addresses import LISTENER, parse_listener
from tubeherd.formats.durations import DURATION, parse_duration
from tubeherd.formats.globs import GLOB, check_tube_or_glob
from tubeherd.formats.memory_share import MemoryShare, slot_share
from tubeherd.formats.sizes import SIZE, parse_size
from tubeherd.formats.text import TextFormat
from tubeherd.formats.tube_maps import COMMANDS, URLS, parse_commands, parse_urls
from tubeherd.job_options import MAX_RETRIES
from tubeherd.logs import ErrorDetail, LogFormat, LogLevel
from tubeherd.policy import DEFAULT_MAX_LOST_DELIVERIES, DEFAULT_RETRY_DELAYS, MAX_DELAY, Policy, RetrySchedule
from tubeherd.queue.server import DEFAULT_SERVER, SERVER, SERVER_MEANING, parse_server

_SPACED: Final = re.compile(r"(?<=[a-z])\s+(?=\d)")
_FILE: Final = TextFormat(name="file", pattern=r"^.+$", max_length=4096, examples="shop.pem")


@dataclass(frozen=True, slots=True)
class PoolField:
    """Metadata of a setting that a field of a pool sets; then `spec.env` of the pool must not set it."""

    path: str = ""
    """The field's path in the spec, such as `retry.delays`; if empty, the setting's name in camelCase."""
    least: int | None = None
    """The smallest number that the field takes; if None, the same as for the setting."""


@dataclass(frozen=True, slots=True)
class SetByOperator:
    """Metadata of a setting that the operator chooses for pools; then `spec.env` of a pool must not set it."""


def comma_list(value: Any, or_none: str = "") -> Any:
    """Return the parts of a text with commas between them, and any other value as it is; ValueError for no parts."""
    if not isinstance(value, str):
        return value
    parts = [part.strip() for part in value.split(",") if part.strip()]
    if not parts:  # such as from the unset variable of a script: nothing may be taken for everything
        advice = f"write what belongs into it{or_none}, or leave this setting out"
        raise ValueError(f"{value[:60]!r} is an empty list: {advice}")
    return parts


def comma_list_or_none(value: Any) -> Any:
    """Return what `comma_list` does, or an empty list for the word none."""
    return [] if value == "none" else comma_list(value, ", the word none if nothing does")


def _delays(value: Any) -> Any:
    """Return what `comma_list_or_none` does; ValueError if a delay has a space between its parts.

    That is a comma that was forgotten: 10s 10m would be one delay of 610 s.
    """
    parts = comma_list_or_none(value)
    if isinstance(value, str) and (spaced := next((part for part in parts if _SPACED.search(part)), None)):
        raise ValueError(f"{spaced[:60]!r} lacks a comma: write 10s,10m for two delays, and 10m10s for one")
    return parts


def _as_text(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (list, tuple)):
        # A pool's delays may have 1m 30s, which would seem to lack a comma as text; no other list has spaces.
        return ",".join(_SPACED.sub("", str(part)) for part in value) or "none"
    if isinstance(value, dict):
        return "\n".join(f"{tube}={value[tube]}" for tube in sorted(value))
    return str(value)


def _check_server(value: str) -> str:
    parse_server(value)
    return value


def _check_listener(value: str) -> str:
    parse_listener(value)
    return value


def _check_delays(value: tuple[float, ...]) -> tuple[float, ...]:
    RetrySchedule.of(value)
    return value


def _check_reschedule_delay(value: float) -> float:
    if not 1 <= value <= MAX_DELAY:  # with no delay at all a job would run again and again, as fast as it can
        raise ValueError(f"a job is rescheduled by 1 to {MAX_DELAY} seconds, not by {value:g}")
    return value


def _off_at_zero(value: float) -> float | None:
    return value or None


Duration = Annotated[float, BeforeValidator(parse_duration), DURATION]
"""The type of a field whose value is seconds, written in any form that `parse_duration` reads."""
Size = Annotated[int, BeforeValidator(parse_size), SIZE]
"""The type of a field whose value is bytes, written in any form that `parse_size` reads."""
TubeOrGlob = Annotated[str, AfterValidator(check_tube_or_glob), GLOB]
Server = Annotated[str, AfterValidator(_check_server), SERVER]
Listener = Annotated[str, AfterValidator(_check_listener), LISTENER]
Tubes = Annotated[tuple[TubeOrGlob, ...], BeforeValidator(comma_list)]
Modules = Annotated[tuple[str, ...], BeforeValidator(comma_list_or_none)]
RetryDelays = Annotated[tuple[Duration, ...], BeforeValidator(_delays), AfterValidator(_check_delays)]
Commands = Annotated[dict[str, str], BeforeValidator(parse_commands), COMMANDS]
Urls = Annotated[dict[str, str], BeforeValidator(parse_urls), URLS]
RescheduleDelay = Annotated[Duration, AfterValidator(_check_reschedule_delay)]
TimeLimit = Annotated[Duration, AfterValidator(_off_at_zero)] | None

NO_LIMIT: Final = Unset("no limit")


class WorkerSettings(Settings):
    """The settings of `tubeherd run`; times in seconds, sizes in bytes. A limit of None or 0 is no limit.

    The first sentence of a description is the help of the option.
    """

    prefix: ClassVar[str] = "TUBEHERD_"
    foreign: ClassVar[str] = "OPERATOR_.*|CACHE|JOB_(ID|TUBE|ATTEMPT|PRIORITY|AGE|LOST_DELIVERIES)"
    has_options: ClassVar[bool] = True

    server: Annotated[Server, Field(description=SERVER_MEANING), PoolField()] = DEFAULT_SERVER
    executors: Annotated[
        Modules | None, Field(description="Modules to import executors from."), Unset("all in /app/executors")
    ] = None
    command: Annotated[
        Commands,
        Field(
            description="Commands that do the jobs of tubes, without any Python. A job's body is on standard input, "
            "its id, tube and attempt are in TUBEHERD_JOB_ID, TUBEHERD_JOB_TUBE and TUBEHERD_JOB_ATTEMPT. Exit code 0 "
            "means done, 75 again later, 100 bury it at once, any other that the job has failed. No shell reads the "
            "command."
        ),
        Unset("none"),
        PoolField(),
    ] = {}  # noqa: RUF012 - pydantic copies it
    http: Annotated[
        Urls,
        Field(
            description="URLs to which the jobs of tubes are sent by POST; needs tubeherd[http]. The image has that. "
            "The body is the job's, its id, tube and attempt are in the headers Tubeherd-Job-Id, Tubeherd-Job-Tube and "
            "Tubeherd-Job-Attempt. An answer of 2xx means done, 409, 429 or 503 again later, any other that the job "
            "has failed."
        ),
        Unset("none"),
        PoolField(),
    ] = {}  # noqa: RUF012
    http_ca: Annotated[
        str | None,
        Field(
            max_length=_FILE.max_length,
            description="File with certificates of authorities to trust for https, beside the system's.",
        ),
        _FILE,
        Unset("none"),
    ] = None
    reschedule_delay: Annotated[
        RescheduleDelay,
        Field(
            description="How long a job waits that a command or URL asks to have again. An answer's header Retry-After "
            "wins, up to an hour."
        ),
    ] = 60.0
    include: Annotated[
        Tubes,
        Field(
            description="Tubes to take jobs from, also globs such as reports.*. A glob stands for every tube that it "
            "matches and that has an executor. New tubes are found within 10 seconds."
        ),
        Unset("those of all executors"),
        PoolField("tubes"),
    ] = ()
    exclude: Annotated[
        Tubes,
        Field(
            description="Tubes to take no jobs from, also globs. They win over the tubes to take jobs from. The "
            "operator neither counts nor kicks their jobs."
        ),
        Unset("none"),
        PoolField("excludeTubes"),
    ] = ()
    concurrency: Annotated[
        int,
        # The bound is against typing errors: a real worker runs out of memory before.
        Field(
            ge=1,
            le=1000,
            description="Jobs that a worker runs at a time, each in a slot, which is a process of its own.",
        ),
        PoolField(),
    ] = 1
    max_jobs: Annotated[
        int,
        Field(ge=0, description="Replace a slot after this many jobs. It is replaced between two jobs."),
        NO_LIMIT,
        PoolField(least=1),
    ] = 0
    max_time: Annotated[
        TimeLimit,
        Field(description="Replace a slot after this time. It is replaced between two jobs."),
        NO_LIMIT,
        PoolField(),
    ] = None
    max_memory: Annotated[
        Size,
        Field(
            description="Memory of a worker, which its slots share. The programs that jobs start count with their "
            "slot. A slot near its share is replaced between two jobs; beyond its share it is killed, and its job "
            "counts as failed."
        ),
        NO_LIMIT,
        PoolField("memoryLimit"),
    ] = 0
    on_limit: Annotated[
        Literal["recycle", "stop"],
        Field(description="At a limit replace the slot, or stop the worker with exit code 0."),
    ] = "recycle"
    job_timeout: Annotated[
        TimeLimit,
        Field(
            description="How long a job may run before it is stopped and counts as failed. Its lease is kept meanwhile."
        ),
        Unset("each job's own TTR"),
        PoolField(),
    ] = None
    retry_delays: Annotated[
        RetryDelays,
        Field(
            max_length=MAX_RETRIES,
            description="Delays before each further attempt at a failed job. After the last delay another failure "
            "buries the job. To bury a job at its first failure write the word none, in a pool an empty list.",
        ),
        PoolField("retry.delays"),
    ] = DEFAULT_RETRY_DELAYS
    max_lost_deliveries: Annotated[
        int,
        Field(
            ge=0,
            description="Bury a job after its whole worker died this many times while executing it. It is not "
            "executed again. If 0, no job is buried for that.",
        ),
        PoolField(),
    ] = DEFAULT_MAX_LOST_DELIVERIES
    async_concurrency: Annotated[
        int,
        Field(
            ge=1,
            le=1000,
            description="Coroutines that one slot runs at a time. The executors should be coroutine "
            "functions: any other holds up the rest.",
        ),
        PoolField(),
    ] = 1
    burial_records: Annotated[
        Literal["on", "off"],
        Field(description="Keep a record of each burial beside the queue, which says why the job was buried."),
        PoolField(),
    ] = "on"
    batch_size: Annotated[
        int,
        Field(
            ge=1,
            le=100_000,
            description="Jobs between two worker.flush events. The executors' listeners write what was collected.",
        ),
        PoolField(),
    ] = DEFAULT_BATCH_SIZE
    ack_after_flush: Annotated[
        bool,
        Field(
            description="Delete jobs only after the listeners of worker.flush have returned. If one raises, every job "
            "of the batch has failed."
        ),
        PoolField(),
    ] = False
    listener_timeout: Annotated[
        TimeLimit,
        Field(description="How long listeners of a flush, failure or burial may run before their slot is killed."),
        Unset("10m, or the job timeout if that is longer"),
    ] = None
    until_empty: Annotated[
        bool,
        Field(
            description="Stop with 0 when no job is ready and none runs here; delayed jobs, retries too, are left. "
            "A job that was kicked or put meanwhile is done first. The jobs of a paused tube do not count as ready."
        ),
    ] = False
    reload: Annotated[
        bool,
        Field(
            description="Replace the slots when a Python file beside those of the executors has changed. Running jobs "
            "end first. While the files cannot be imported, the worker waits for the next change."
        ),
    ] = False
    grace_period: Annotated[Duration, Field(description="How long jobs may go on after SIGTERM."), SetByOperator()] = (
        70.0
    )
    drain_limit: Annotated[
        Duration,
        Field(
            description="How long jobs may go on beside what a stopped coroutine has left, such as a thread. Their "
            "slot takes no further job. After this time, or the grace period if that is shorter, the slot is killed, "
            "and they run again without having spent an attempt."
        ),
    ] = 60.0
    health: Annotated[
        Listener | None,
        Field(description="Where to serve /healthz, /readyz and /metrics. A port alone means every IPv4 address."),
        Unset("off"),
        SetByOperator(),
    ] = None
    log_format: Annotated[
        LogFormat, Field(description="Format of the log. With auto it is text on a terminal and JSON elsewhere.")
    ] = "auto"
    log_level: Annotated[LogLevel, Field(description="The least important lines that are logged.")] = "info"
    error_detail: Annotated[
        ErrorDetail,
        Field(
            description="What is logged of an exception. With place it is the type and the place in the source, but no "
            "traceback and no message, which may hold secrets: neither of an exception nor of a Reschedule, Reject or "
            "Abort."
        ),
    ] = "full"
    log_payloads: Annotated[
        bool,
        Field(
            description="Add the payload to the log line of a failed or buried job. It is cut at 2 KiB, and may hold "
            "secrets."
        ),
    ] = False

    @classmethod
    def synonyms(cls) -> Mapping[str, str]:
        """Return the names of settings by those of a pool's fields, such as `include` by `tubes`."""
        marks = {name: find(PoolField, field.metadata) for name, field in cls.model_fields.items()}
        return {to_snake(mark.path.replace(".", "_")): name for name, mark in marks.items() if mark and mark.path}

    @classmethod
    def variables(cls, values: Mapping[str, Any]) -> dict[str, str]:
        """Return the variables from which `load` would read these values, which have the settings' names as keys."""
        return {cls.variable(name): _as_text(values[name]) for name in cls.model_fields if name in values}

    @field_validator("http")
    @classmethod
    def _check_done_once(cls, value: dict[str, str], info: ValidationInfo) -> dict[str, str]:
        if both := sorted(value.keys() & info.data.get("command", {}).keys()):
            raise ValueError(f"the tube {both[0]!r} has a command too: remove one of them")
        return value

    @field_validator("max_memory")
    @classmethod
    def _check_share(cls, value: int, info: ValidationInfo) -> int:
        if value and "concurrency" in info.data:
            slot_share(value, info.data["concurrency"])
        return value

    def memory_share(self) -> MemoryShare | None:
        """Return what one slot may use, or None if there is no limit."""
        return slot_share(self.max_memory, self.concurrency) if self.max_memory else None

    def policy(self) -> Policy:
        """Return the rules by which the worker decides whether a job is deleted, released or buried."""
        return Policy(RetrySchedule.of(self.retry_delays), self.max_lost_deliveries)
