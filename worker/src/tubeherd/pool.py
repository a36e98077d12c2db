"""The spec of a `WorkerPool` (a pool): its fields, their bounds, and the descriptions that `kubectl explain` shows.

A field that sets a setting of the workers takes its bounds and its description from the setting's declaration.
"""

import re
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, WithJsonSchema, create_model, model_validator
from pydantic.alias_generators import to_camel, to_snake

from tubeherd.declarations import bound, default_in_words, find, shape
from tubeherd.formats.durations import DURATION
from tubeherd.formats.globs import GLOB, check_tube_or_glob
from tubeherd.formats.sizes import SIZE
from tubeherd.formats.tube_maps import COMMAND, TUBES_MOST, URL
from tubeherd.pod_template.containers import WORKER
from tubeherd.pod_template.marks import refused
from tubeherd.pod_template.template import Template
from tubeherd.queue.server import SERVER
from tubeherd.settings import PoolField, SetByOperator, WorkerSettings

GROUP: Final = "tubeherd.io"
VERSION: Final = "v1alpha1"
KIND: Final = "WorkerPool"
PLURAL: Final = "workerpools"

_NAME_PATTERN: Final = r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$"
_SETTINGS: Final = WorkerSettings.model_fields
POOL_FIELDS: Final = {
    name: (mark.path or to_camel(name)).split(".")
    for name, field in _SETTINGS.items()
    if (mark := find(PoolField, field.metadata))
}
"""The path of the field in the spec, by the name of the setting that the field sets."""
SCALE_DOWN_DELAY: Final = "5 minutes"
"""The default of `autoscale.scaleDownDelay`."""
REPLICAS_MOST: Final = 1000
NOT_FOR_ENV: Final = [
    WorkerSettings.variable(name)
    for name, field in _SETTINGS.items()
    if name in POOL_FIELDS or find(SetByOperator, field.metadata) is not None
]
"""The variables that `env` must not set, because a field of the spec or the operator sets them."""

Tube = Annotated[
    str, Field(pattern=GLOB.pattern, min_length=1, max_length=GLOB.max_length), AfterValidator(check_tube_or_glob)
]
Command = Annotated[str, Field(pattern=COMMAND.pattern, max_length=COMMAND.max_length)]
Url = Annotated[str, Field(pattern=URL.pattern, max_length=URL.max_length)]
SHARE: Final = r"^(100|[1-9]?[0-9])%$"
"""How a share of the pods is written."""
SHARE_WHY: Final = f"write a number of pods up to {REPLICAS_MOST}, or a share of them from 0% to 100%"
NO_ROOM_WHY: Final = "a rollout with neither maxSurge nor maxUnavailable could replace no pod: set one above zero"
RECREATE_WHY: Final = "the strategy Recreate replaces all pods at once: leave rollingUpdate out"
ENV_WHY: Final = (
    "the operator sets this TUBEHERD_ variable from a field of the spec: remove it, and set the field instead"
)
ENV_TWICE_WHY: Final = "spec.env sets a variable of this name too: set it in one of the two"
TEXT_WHY: Final = {
    GLOB.pattern: f"write the name of a tube or a glob, like {GLOB.examples}: 1 to {GLOB.max_length} of "
    "A-Z a-z 0-9 - + / ; . $ _ ( ) * ?, and no - at the beginning",
    **{text.pattern: f"write it like {text.examples}" for text in (DURATION, SIZE, SERVER, COMMAND, URL)},
}
"""By the pattern of a text field: what to write in place of a text that does not match it."""
Duration = Annotated[str, Field(pattern=DURATION.pattern, max_length=DURATION.max_length)]


def _words(setting: str) -> str:
    """Return the description of the field that sets this setting."""
    field = _SETTINGS[setting]
    written = shape(field).format
    examples = f" Examples: {written.examples}." if written else ""
    return f"{field.description}{examples} Default: {default_in_words(field)}."


def _of_tubes(setting: str, examples: str) -> str:
    """Return the description of the field that sets something for each of several tubes."""
    return f"{_SETTINGS[setting].description} The keys are among tubes. Example of a value: {examples}. Default: none."


def _field(setting: str) -> tuple[Any, Any]:
    """Return the type and the declaration of the field that sets this setting.

    A value that has a format, such as a duration, stays the text that the user wrote.
    """
    of = shape(_SETTINGS[setting])
    mark = find(PoolField, of.metadata)
    if of.format:
        text = Field(pattern=of.format.pattern, max_length=of.format.max_length)
        return Annotated[str, text] | None, Field(None, description=_words(setting))
    least = mark.least if mark and mark.least is not None else bound("ge", of.metadata)
    return of.type | None, Field(None, ge=least, le=bound("le", of.metadata), description=_words(setting))


class _Model(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="ignore")


class Retry(_Model):
    """When failed jobs are tried again."""

    delays: list[Duration] | None = Field(
        None, max_length=bound("max_length", _SETTINGS["retry_delays"].metadata), description=_words("retry_delays")
    )


class Executors(_Model):
    """Where the executors come from, if not from the image."""

    config_map: str = Field(
        pattern=_NAME_PATTERN,
        max_length=253,
        description="Name of a ConfigMap of this namespace whose .py files define executors. It is mounted at "
        "/app/executors; a change of it restarts the pods.",
    )


class Autoscale(_Model):
    """How the operator chooses the number of pods."""

    min_replicas: int | None = Field(
        None,
        ge=0,
        le=REPLICAS_MOST,
        description="The fewest pods that there may be. With 0 there are none while no job is ready or being executed; "
        "the first job that is ready starts one. Default: 0.",
        json_schema_extra={"format": "int32"},
    )
    max_replicas: int = Field(
        ge=1,
        le=REPLICAS_MOST,
        description="The most pods that there may be.",
        json_schema_extra={"format": "int32"},
    )
    jobs_per_replica: int | None = Field(
        None,
        ge=1,
        le=1_000_000,
        description="One pod for each so many jobs that are ready or being executed, in all tubes of the pool "
        "together. Set this or targetWait.",
        json_schema_extra={"format": "int32"},
    )
    target_wait: Duration | None = Field(
        None,
        description="So many pods that a job which is ready begins within this time. For this the operator measures "
        f"how long jobs take. Examples: {DURATION.examples}. Set this or jobsPerReplica.",
    )
    scale_down_delay: Duration | None = Field(
        None,
        description="The number of pods falls only after this time in which no higher number was wanted; it rises at "
        f"once. More than a day counts as a day. Examples: {DURATION.examples}. Default: {SCALE_DOWN_DELAY}.",
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.jobs_per_replica is None) == (self.target_wait is None):
            raise ValueError("set either jobsPerReplica or targetWait")
        if (self.min_replicas or 0) > self.max_replicas:
            raise ValueError("minReplicas is greater than maxReplicas")
        return self


class EnvVar(_Model):
    """An environment variable of the worker's container, as in a pod."""

    name: str = Field(
        pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=256, description="Name of the variable, such as SMTP_HOST."
    )
    value: str | None = Field(None, max_length=32768, description="Value of the variable.")
    value_from: dict[str, Any] | None = Field(
        None, description="Source of the value, such as a secretKeyRef; the same as in a pod's container."
    )


def _check_number(value: int | str) -> int | str:
    if not (0 <= value <= REPLICAS_MOST if isinstance(value, int) else re.fullmatch(SHARE, value)):
        raise ValueError(SHARE_WHY)
    return value


PodNumber = Annotated[
    int | str, AfterValidator(_check_number), WithJsonSchema({"x-kubernetes-int-or-string": True, "maxLength": 4})
]


class RollingUpdate(_Model):
    """How many pods a rollout replaces at a time."""

    max_surge: PodNumber | None = Field(
        None, description="How many more pods there may be than are wanted, such as 2 or 25%. Default: 25%."
    )
    max_unavailable: PodNumber | None = Field(
        None, description="How many of the pods that are wanted may be missing, such as 1 or 10%. Default: 0."
    )

    @model_validator(mode="after")
    def _check_room(self) -> Self:
        if self.max_surge in (0, "0%") and self.max_unavailable in (None, 0, "0%"):
            raise refused(("maxUnavailable",), NO_ROOM_WHY)
        return self


class Strategy(_Model):
    """How new pods replace old ones."""

    type: Literal["RollingUpdate", "Recreate"] = Field(
        "RollingUpdate", description="RollingUpdate, which is the default, or Recreate: all pods at once."
    )
    rolling_update: RollingUpdate | None = Field(None, description="How many pods a rollout replaces at a time.")

    @model_validator(mode="after")
    def _check_recreate(self) -> Self:
        if self.type == "Recreate" and self.rolling_update is not None:
            raise refused(("rollingUpdate",), RECREATE_WHY)
        return self


class _Spec(_Model):
    """What the workers of a pool run, and their limits."""

    tubes: list[Tube] = Field(
        min_length=1,
        max_length=64,
        description="Names of the tubes to take jobs from, and globs such as reports.*, in which * is any text and ? "
        "is any one character. Each tube needs an executor with its name or with a glob that matches it, in the image "
        "or in the ConfigMap, or else a command or a URL. At most 2000 tubes are served and counted.",
    )
    exclude_tubes: list[Tube] | None = Field(None, min_length=1, max_length=64, description=_words("exclude"))
    command: dict[str, Command] | None = Field(
        None, min_length=1, max_length=TUBES_MOST, description=_of_tubes("command", COMMAND.examples)
    )
    http: dict[str, Url] | None = Field(
        None, min_length=1, max_length=TUBES_MOST, description=_of_tubes("http", URL.examples)
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
        max_length=SERVER.max_length,
        pattern=SERVER.pattern,
        description="host:port of beanstalkd. Default: the server of the operator's installation.",
    )
    replicas: int | None = Field(
        None,
        ge=0,
        le=REPLICAS_MOST,
        description="Number of pods, each of which is a worker. If this is left out, the Deployment begins with 1, and "
        "an autoscaler may scale the Deployment. Set it if an autoscaler scales the WorkerPool. Not together with "
        "autoscale.",
        json_schema_extra={"format": "int32"},
    )
    autoscale: Autoscale | None = Field(
        None,
        description="Has the operator choose the number of pods by the jobs in the tubes. Without it, the number is "
        "that of replicas.",
    )
    # true and false, because that is what YAML makes of `on` and `off`.
    burial_records: bool | None = Field(None, description=_words("burial_records"))
    retry: Retry | None = Field(None, description="When failed jobs are tried again.")
    env: list[EnvVar] | None = Field(
        None, max_length=100, description="Environment variables of the worker's container."
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

    template: Template | None = Field(
        None,
        description="What the pods have beside what the operator gives them, as in a Deployment: containers, volumes, "
        "resources, affinity, labels and more. What the operator must own is refused.",
    )
    strategy: Strategy | None = Field(None, description="How new pods replace old ones, as in a Deployment.")

    @model_validator(mode="after")
    def _check_replicas(self) -> Self:
        if self.autoscale and self.replicas is not None:
            raise ValueError("replicas is set, and autoscale chooses it: remove one of them")
        return self

    @model_validator(mode="after")
    def _check_variables_of_template(self) -> Self:
        ours = {variable.name for variable in self.env or ()}
        containers = self.template.spec.containers if self.template and self.template.spec else None
        for number, container in enumerate(containers or ()):
            for place, name in enumerate(variable.name for variable in container.env or ()):
                if container.name == WORKER and (name in NOT_FOR_ENV or name in ours):
                    path = ("template", "spec", "containers", number, "env", place, "name")
                    raise refused(path, ENV_WHY if name in NOT_FOR_ENV else ENV_TWICE_WHY)
        return self

    def worker_settings(self) -> dict[str, Any]:
        """Return the values that the spec sets, as the user wrote them, by the names of settings."""
        spec = self.model_dump(by_alias=True, exclude_none=True)
        found = {name: _at(spec, path) for name, path in POOL_FIELDS.items()}
        if self.burial_records is not None:
            found["burial_records"] = "on" if self.burial_records else "off"
        return {name: value for name, value in found.items() if value is not None}


def _at(spec: Any, path: list[str]) -> Any:
    for part in path:
        spec = (spec or {}).get(part)
    return spec


if TYPE_CHECKING:
    WorkerPoolSpec = _Spec
else:  # the fields above, and one for each other setting that is marked with PoolField
    WorkerPoolSpec = create_model(
        "WorkerPoolSpec",
        __base__=_Spec,
        __doc__=_Spec.__doc__,
        **{
            to_snake(path[0]): _field(name)
            for name, path in POOL_FIELDS.items()
            if to_snake(path[0]) not in _Spec.model_fields
        },
    )
