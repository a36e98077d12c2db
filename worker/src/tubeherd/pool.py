"""The `WorkerPool` resource: its fields, their rules, and the words that `kubectl explain` shows."""

from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from tubeherd.formats.durations import DURATION_PATTERN
from tubeherd.formats.sizes import SIZE_PATTERN
from tubeherd.formats.tubes import TUBE_MAX_LENGTH, TUBE_PATTERN

GROUP: Final = "tubeherd.io"
VERSION: Final = "v1alpha1"
KIND: Final = "WorkerPool"
PLURAL: Final = "workerpools"

_SERVER_PATTERN: Final = r"^(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+)(:[0-9]{1,5})?$"
_NAME_PATTERN: Final = r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$"


def _rule(rule: str, message: str) -> dict[str, Any]:
    """Return a CEL rule that the API server checks at admission."""
    return {"x-kubernetes-validations": [{"rule": rule, "message": message}]}


_PORT_RULE: Final = (
    "!self.matches('[^:]:[0-9]+$|\\\\]:[0-9]+$') || "
    "(int(self.substring(self.lastIndexOf(':') + 1)) > 0 && int(self.substring(self.lastIndexOf(':') + 1)) < 65536)"
)
_MEMORY_RULE: Final = (
    "!has(self.memoryLimit) || quantity(self.memoryLimit).asApproximateFloat() >= "
    "1048576.0 * (26.0 * double(has(self.concurrency) ? self.concurrency : 1) + 18.0)"
)
_LONGER_THAN_ZERO: Final = _rule("self.matches('[1-9]')", "must be longer than zero")
_RESERVED_RULE: Final = (
    "self.all(e, !(e.name in ['TUBEHERD_SERVER', 'TUBEHERD_INCLUDE', 'TUBEHERD_CONCURRENCY', 'TUBEHERD_MAX_JOBS', "
    "'TUBEHERD_MAX_TIME', 'TUBEHERD_MAX_MEMORY', 'TUBEHERD_JOB_TIMEOUT', 'TUBEHERD_RETRY_DELAYS', "
    "'TUBEHERD_MAX_LOST_DELIVERIES', 'TUBEHERD_BATCH_SIZE', 'TUBEHERD_ACK_AFTER_FLUSH', "
    "'TUBEHERD_ASYNC_CONCURRENCY', 'TUBEHERD_GRACE_PERIOD', 'TUBEHERD_HEALTH']))"
)

DurationText = Annotated[str, Field(pattern=DURATION_PATTERN, max_length=40, json_schema_extra=_LONGER_THAN_ZERO)]
Tube = Annotated[str, Field(pattern=TUBE_PATTERN, min_length=1, max_length=TUBE_MAX_LENGTH)]


class _Model(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="ignore")


class Retry(_Model):
    """When failed jobs are tried again."""

    delays: list[DurationText] | None = Field(
        None,
        max_length=20,
        description="How long a job waits after its first, second, … failure, such as [10s, 10m]. After the last delay "
        "another failure buries the job; an empty list buries at the first failure. Default: [10m].",
    )


class Executors(_Model):
    """Where the executors come from, if not from the image."""

    config_map: str = Field(
        pattern=_NAME_PATTERN,
        max_length=253,
        description="Name of a ConfigMap of this namespace whose .py files define executors. It is mounted at "
        "/app/executors; a change of it restarts the pods.",
    )


class EnvVar(_Model):
    """An environment variable of the worker's container, as in a pod."""

    name: str = Field(
        pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=256, description="Name of the variable, such as SMTP_HOST."
    )
    value: str | None = Field(None, max_length=32768, description="Value of the variable.")
    value_from: dict[str, Any] | None = Field(
        None, description="Source of the value, such as a secretKeyRef; the same as in a pod's container."
    )


class WorkerPoolSpec(_Model):
    """What the workers of a pool run and how far they may go."""

    tubes: list[Tube] = Field(
        min_length=1,
        max_length=64,
        description="Names of the tubes to take jobs from. Each needs an executor of the same name in the image or in "
        "the ConfigMap.",
        json_schema_extra={"x-kubernetes-list-type": "set"},
    )
    image: str | None = Field(
        None,
        min_length=1,
        max_length=512,
        pattern=r"^[^\s]+$",
        description="Image of the worker with its executors. Default: the worker image of the operator's installation.",
    )
    server: str | None = Field(
        None,
        min_length=1,
        max_length=260,
        pattern=_SERVER_PATTERN,
        description="host:port of beanstalkd. Default: the server of the operator's installation.",
        json_schema_extra=_rule(_PORT_RULE, "the port is from 1 to 65535"),
    )
    replicas: int | None = Field(
        None,
        ge=0,
        le=1000,
        description="Number of pods. Left out, it is 1 at first, and then left to whoever scales the Deployment. "
        "An autoscaler of the pool itself needs it declared.",
        json_schema_extra={"format": "int32"},
    )
    concurrency: int | None = Field(
        None, ge=1, le=100, description="Jobs that one pod runs at a time, each in a process of its own. Default: 1."
    )
    max_jobs: int | None = Field(
        None, ge=1, description="Replace a process after this many jobs, between two jobs. Default: no limit."
    )
    max_time: DurationText | None = Field(
        None, description="Replace a process after this time, such as 1h, between two jobs. Default: no limit."
    )
    memory_limit: str | None = Field(
        None,
        pattern=SIZE_PATTERN,
        max_length=24,
        json_schema_extra=_rule("quantity(self).isInteger()", "must be a whole number of bytes"),
        description="Memory of one pod, such as 256Mi, shared among its processes. Near its share, one is replaced "
        "between two jobs; past it, it is killed and the job counts as failed. Default: no limit.",
    )
    job_timeout: DurationText | None = Field(
        None,
        description="How long a job may run, such as 5m, before it is stopped and counts as failed. Its lease is kept "
        "meanwhile. Default: each job's own TTR.",
    )
    retry: Retry | None = Field(None, description="When failed jobs are tried again.")
    max_lost_deliveries: int | None = Field(
        None,
        ge=0,
        description="Bury a job unexecuted when it was lost this often because its whole worker died. 0: never. "
        "Default: 3.",
    )
    async_concurrency: int | None = Field(
        None,
        ge=1,
        le=1000,
        description="Coroutines that one process runs at a time, where the executors are coroutine functions. Default: "
        "1.",
    )
    batch_size: int | None = Field(
        None,
        ge=1,
        le=100_000,
        description="Jobs between two worker.flush events for the executors' listeners. Default: 15.",
    )
    ack_after_flush: bool | None = Field(
        None,
        description="true: delete jobs only after the listeners of worker.flush have returned; where one raises, every "
        "job of the batch has failed. Default: false, jobs are deleted as soon as they were executed.",
    )
    env: list[EnvVar] | None = Field(
        None,
        max_length=100,
        description="Environment variables of the worker's container.",
        json_schema_extra={
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["name"],
            **_rule(_RESERVED_RULE, "set by the fields of the spec: remove this TUBEHERD_ variable and set its field"),
        },
    )
    env_from: list[dict[str, Any]] | None = Field(
        None,
        max_length=50,
        description="ConfigMaps and Secrets whose entries become variables of the worker's container, as in a pod.",
    )
    executors: Executors | None = Field(None, description="Where the executors come from, if not from the image.")
    suspend: bool | None = Field(
        None, description="true: run no pods until it is false again; jobs stay in their tubes. Default: false."
    )

    model_config = ConfigDict(
        json_schema_extra=_rule(
            _MEMORY_RULE, "memoryLimit must be at least 18Mi and 26Mi more for each job that runs at a time"
        )
    )
