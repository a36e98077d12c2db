"""Every setting of a worker: an option of `tubeherd run`, or the variable `TUBEHERD_` and its name."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from tubeherd.formats.durations import Duration
from tubeherd.formats.memory_share import MemoryShare, slot_share
from tubeherd.formats.sizes import Size
from tubeherd.formats.tubes import TubeName
from tubeherd.logs import LogFormat, LogLevel
from tubeherd.policy import DEFAULT_MAX_LOST_DELIVERIES, DEFAULT_RETRY_DELAYS, Policy, RetrySchedule
from tubeherd.queue.server import DEFAULT_SERVER, parse_server

ENV_PREFIX = "TUBEHERD_"


def _comma_list(value: Any) -> Any:
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _comma_list_or_none(value: Any) -> Any:
    return [] if value == "none" else _comma_list(value)  # an empty variable counts as not set


def _check_server(value: str) -> str:
    parse_server(value)
    return value


def _check_delays(value: tuple[float, ...]) -> tuple[float, ...]:
    RetrySchedule.of(value)
    return value


def _off_at_zero(value: float) -> float | None:
    return value or None


Server = Annotated[str, AfterValidator(_check_server)]
Tubes = Annotated[tuple[TubeName, ...], NoDecode, BeforeValidator(_comma_list)]
RetryDelays = Annotated[
    tuple[Duration, ...], NoDecode, BeforeValidator(_comma_list_or_none), AfterValidator(_check_delays)
]
OptionalDuration = Annotated[Duration, AfterValidator(_off_at_zero)] | None


class ServerSettings(BaseSettings):
    """Where beanstalkd is, and how to log."""

    model_config = SettingsConfigDict(env_prefix=ENV_PREFIX, extra="ignore", env_ignore_empty=True)

    server: Server = DEFAULT_SERVER
    log_format: LogFormat = "auto"
    log_level: LogLevel = "info"


class WorkerSettings(ServerSettings):
    """What `tubeherd run` is told; times in seconds, sizes in bytes; None and 0 mean no limit."""

    executors: Annotated[tuple[str, ...] | None, NoDecode, BeforeValidator(_comma_list_or_none)] = None
    include: Tubes = ()
    exclude: Tubes = ()
    concurrency: int = Field(1, ge=1, le=1000)
    max_jobs: int = Field(0, ge=0)
    max_time: OptionalDuration = None
    max_memory: Size = 0
    on_limit: Literal["recycle", "stop"] = "recycle"
    job_timeout: OptionalDuration = None
    retry_delays: RetryDelays = DEFAULT_RETRY_DELAYS
    max_lost_deliveries: int = Field(DEFAULT_MAX_LOST_DELIVERIES, ge=0)
    batch_size: int = Field(15, ge=1, le=100_000)
    ack_after_flush: bool = False
    async_concurrency: int = Field(1, ge=1, le=1000)
    grace_period: Duration = 70.0
    health: Server | None = None

    @field_validator("max_memory")
    @classmethod
    def _check_share(cls, value: int, info: ValidationInfo) -> int:
        if value and "concurrency" in info.data:
            slot_share(value, info.data["concurrency"])
        return value

    def memory_share(self) -> MemoryShare | None:
        """Return what one slot may use, or None where there is no limit."""
        return slot_share(self.max_memory, self.concurrency) if self.max_memory else None

    def policy(self) -> Policy:
        """Return the rules that the verdicts follow."""
        return Policy(RetrySchedule.of(self.retry_delays), self.max_lost_deliveries)


def explain(error: ValidationError) -> str:
    """Return what is wrong with the settings, a line each, named as an option and as a variable."""
    lines = []
    for detail in error.errors(include_url=False):
        name = str(detail["loc"][0]) if detail["loc"] else ""
        where = f"--{name.replace('_', '-')} ({ENV_PREFIX}{name.upper()}): " if name else ""
        lines.append(where + detail["msg"].removeprefix("Value error, "))
    return "\n".join(lines)
