"""The status of a `WorkerPool`: its fields, and the words that `kubectl explain` shows."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from tubeherd_operator.objects import Object

ConditionStatus = Literal["True", "False", "Unknown"]


class _Model(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="ignore")


class TubeStatus(_Model):
    """The jobs of one tube, by state."""

    name: str = Field(description="Name of the tube.")
    ready: int = Field(description="Jobs that wait for a worker.")
    reserved: int = Field(description="Jobs that are being executed.")
    delayed: int = Field(description="Jobs that wait for their time: retries, reschedules and jobs put with a delay.")
    buried: int = Field(description="Jobs that failed for good and wait for a kick.")


class Condition(_Model):
    """One aspect of the pool's state, in the shape that all Kubernetes conditions have."""

    type: str = Field(description="Name of the aspect, such as Ready or Available.")
    status: ConditionStatus = Field(description="Whether the condition holds.")
    reason: str = Field(description="One word on why.")
    message: str = Field(description="What happened, to what, and what to do.")
    last_transition_time: str = Field(
        description="When the status last changed.", json_schema_extra={"format": "date-time"}
    )
    observed_generation: int = Field(description="The generation of the spec that this is about.")


class TubeKick(_Model):
    """How many jobs of one tube were kicked."""

    name: str = Field(description="Name of the tube.")
    kicked: int = Field(description="Jobs that were put back to be executed.")


class LastKick(_Model):
    """What the last `kick` annotation did."""

    value: str = Field(description="The value of the annotation, such as all or mail:25.")
    time: str = Field(description="When it was done.", json_schema_extra={"format": "date-time"})
    kicked: int = Field(description="Jobs that were put back, in all tubes.")
    tubes: list[TubeKick] = Field(description="Jobs that were put back, by tube.")


class WorkerPoolStatus(_Model):
    """What the operator last saw of a pool."""

    observed_generation: int | None = Field(None, description="The generation of the spec that was last acted upon.")
    server: str | None = Field(None, description="host:port of the beanstalkd in use.")
    replicas: int | None = Field(None, description="Pods that exist.", json_schema_extra={"format": "int32"})
    ready_replicas: int | None = Field(None, description="Pods that are connected and work.")
    pods: str | None = Field(None, description="Pods that are connected, of those that are wanted, such as 2/3.")
    selector: str | None = Field(None, description="Label selector of the pods, for autoscalers.")
    ready: int | None = Field(None, description="Jobs that wait for a worker, in all tubes.")
    reserved: int | None = Field(None, description="Jobs that are being executed, in all tubes.")
    delayed: int | None = Field(None, description="Jobs that wait for their time, in all tubes.")
    buried: int | None = Field(
        None, description="Jobs that failed for good, in all tubes. Put them back: kubectl annotate wp NAME kick=all"
    )
    tubes: list[TubeStatus] | None = Field(
        None,
        description="Jobs by tube and state.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
    )
    conditions: list[Condition] | None = Field(
        None,
        description="Whether the pool works, and why not.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
    )
    last_kick: LastKick | None = Field(None, description="What the last kick annotation did.")


def read_status(pool: Object) -> WorkerPoolStatus:
    """Return the status that is stored in a pool; an empty one if another version wrote it in another form."""
    try:
        return WorkerPoolStatus.model_validate(pool.get("status", {}))
    except ValidationError:
        return WorkerPoolStatus()


def changes(status: WorkerPoolStatus, pool: Object) -> Object:
    """Return the merge patch that gives a pool this status: what differs from the stored one; None removes a field."""
    before, after = pool.get("status", {}), status.model_dump(mode="json", by_alias=True, exclude_none=True)
    patch: dict[str, Any] = {key: value for key, value in after.items() if before.get(key) != value}
    return patch | {key: None for key in before if key not in after}
