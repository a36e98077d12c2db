"""The status of a `WorkerPool`: its fields, and the words that `kubectl explain` shows."""

from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from tubeherd_operator.decisions.request_value import Deed, in_words
from tubeherd_operator.objects import Object

TUBES_SHOWN: Final = 100
"""So many tubes the status shows."""
ConditionStatus = Literal["True", "False", "Unknown"]


class _Model(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="ignore")


class TubeStatus(_Model):
    """The jobs of one tube, by state."""

    name: str = Field(description="Name of the tube.")
    ready: int = Field(description="Jobs that wait for a worker.")
    reserved: int = Field(description="Jobs that are being executed.")
    delayed: int = Field(description="Jobs that wait for their time: retries, reschedules and jobs put with a delay.")
    buried: int = Field(description="Jobs that failed for good and wait for a kick or a discard.")


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


class _Outcome(_Model):
    """What the outcome of a request has in all tubes together and in each of them."""

    unsure: int = Field(0, description="Up to so many of them are buried still: the answer of beanstalkd was lost.")
    skipped: int = Field(0, description="Further jobs that were left alone, because they were not buried any more.")


class TubeKick(_Outcome):
    """How many jobs of one tube were kicked."""

    name: str = Field(description="Name of the tube.")
    kicked: int = Field(description="Jobs that were put back to be executed; those of `unsure` count as put back.")


class LastKick(_Outcome):
    """What the last `kick` annotation did."""

    value: str = Field(description="The value of the annotation, such as all or mail:25.")
    time: str = Field(description="When it was done.", json_schema_extra={"format": "date-time"})
    kicked: int = Field(description="Jobs that were put back, in all tubes; those of `unsure` count as put back.")
    tubes: list[TubeKick] = Field(
        description="Jobs that were put back, by tube; if there are more than 100 tubes, those with the most."
    )


class TubeDiscard(_Outcome):
    """How many jobs of one tube were deleted."""

    name: str = Field(description="Name of the tube.")
    deleted: int = Field(description="Buried jobs that were deleted; those of `unsure` count as deleted.")


class LastDiscard(_Outcome):
    """What the last `discard` annotation did."""

    value: str = Field(description="The value of the annotation, such as job/4711 or mail:error/ValueError.")
    time: str = Field(description="When it was done.", json_schema_extra={"format": "date-time"})
    deleted: int = Field(description="Jobs that were deleted, in all tubes; those of `unsure` count as deleted.")
    tubes: list[TubeDiscard] = Field(
        description="Jobs that were deleted, by tube; if there are more than 100 tubes, those with the most."
    )


class Share(_Model):
    """How many jobs of one tube a request kicks or deletes."""

    name: str = Field(description="Name of the tube.")
    allotted: int = Field(description="At most so many jobs are kicked or deleted.")
    done: int = Field(0, description="Jobs that were kicked or deleted, as beanstalkd answered.")
    unsure: int = Field(0, description="Further jobs that may have been: the answer of beanstalkd was lost.")
    skipped: int = Field(0, description="Jobs that were left alone, because they were not buried any more.")
    asked: int = Field(0, description="Further jobs that beanstalkd is asked to kick or delete in the present step.")


class Intent(_Model):
    """A kick or a discard, from before its first command to beanstalkd until its annotation is gone.

    No field is ever None, because a merge patch leaves a field of an object as it was if it is left out.
    """

    id: str = Field(description="Tells this request from another one with the same value.")
    deed: Deed = Field(description="The annotation: kick puts buried jobs back, discard deletes them.")
    value: str = Field(description="The value of the annotation.")
    server: str = Field(description="host:port of the beanstalkd.")
    state: Literal["accepted", "running", "done"] = Field(
        description="accepted: nothing was sent to beanstalkd yet; running; done: only the annotation is to be removed."
    )
    since: str = Field(description="Since when it has this state.", json_schema_extra={"format": "date-time"})
    step: str = Field("", description="Tells the present step from others; empty if there is none.")
    tubes: list[Share] = Field(description="Jobs by tube; only tubes that had buried jobs.")
    ended: str = Field("", description="Why it ended before all was done; empty if it did not.")

    def __str__(self) -> str:
        return in_words(self.deed, self.value)


class _Burial(_Model):
    """What a burial and a group of burials have in common."""

    tube: str = Field(description="Name of the tube.")
    kind: str = Field(
        description="Why in one word: exception, invalid (the payload), deadline, memory, killed, poison or rejected."
    )
    error: str = Field(description="Type of the exception that was raised; otherwise the same as kind.")
    place: str | None = Field(None, description="file:line at which it was raised, if it was in the executors' code.")


class BurialStatus(_Burial):
    """Jobs that were buried for the same reason, and are buried still."""

    count: int = Field(description="How many jobs.")
    first: str = Field(description="When the first of them was buried.", json_schema_extra={"format": "date-time"})
    last: str = Field(description="When the last of them was buried.", json_schema_extra={"format": "date-time"})
    message: str = Field(description="The reason of the last one.")
    job: int = Field(description="Id of the last one.", json_schema_extra={"format": "int64"})


class RecentBurial(_Burial):
    """A job that was buried, and is buried still."""

    job: int = Field(description="Id of the job.", json_schema_extra={"format": "int64"})
    time: str = Field(description="When it was buried.", json_schema_extra={"format": "date-time"})
    message: str = Field(description="The reason.")
    worker: str = Field(description="The pod that buried it.")


class AutoscaleStatus(_Model):
    """What autoscaling has done."""

    desired_replicas: int = Field(
        description="The number of pods that the operator has set.", json_schema_extra={"format": "int32"}
    )
    last_scale_time: str = Field(
        description="When that number last changed.", json_schema_extra={"format": "date-time"}
    )


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
        max_length=TUBES_SHOWN,
        description="Jobs by tube and state. If globs match more than 100 tubes: those with the most buried jobs, then "
        "with the most ready ones.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
    )
    tubes_total: int | None = Field(None, description="Tubes that are counted, of which `tubes` shows up to 100.")
    burials: list[BurialStatus] | None = Field(
        None, max_length=10, description="Why jobs are buried: the ten reasons with the most jobs."
    )
    recent_burials: list[RecentBurial] | None = Field(
        None, max_length=10, description="The ten jobs that were buried last, the newest first."
    )
    conditions: list[Condition] | None = Field(
        None,
        description="Whether the pool works, and why not.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
    )
    autoscale: AutoscaleStatus | None = Field(None, description="What autoscaling has done.")
    last_kick: LastKick | None = Field(None, description="What the last kick annotation did.")
    last_discard: LastDiscard | None = Field(None, description="What the last discard annotation did.")
    request: Intent | None = Field(None, description="The kick or discard whose annotation is not gone yet.")


def read_status(pool: Object) -> WorkerPoolStatus:
    """Return the status that is stored in a pool; only its request if another version wrote the rest in another way."""
    stored = pool.get("status", {})
    try:
        return WorkerPoolStatus.model_validate(stored)
    except ValidationError:
        return WorkerPoolStatus(request=_read_intent(stored.get("request")))


def _read_intent(stored: Object | None) -> Intent | None:
    try:
        return None if stored is None else Intent.model_validate(stored)
    except ValidationError:
        return None


def changes(status: WorkerPoolStatus, pool: Object) -> Object:
    """Return the merge patch that gives a pool this status: what differs from the stored one; None removes a field."""
    before, after = pool.get("status", {}), status.model_dump(mode="json", by_alias=True, exclude_none=True)
    patch: dict[str, Any] = {key: value for key, value in after.items() if before.get(key) != value}
    return patch | {key: None for key in before if key not in after}
