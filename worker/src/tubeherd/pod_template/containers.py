"""The containers of a pool's pods: those beside the worker's, and what is added to the worker's."""

import posixpath
from collections.abc import Iterator
from typing import Annotated, Any, Final

from pydantic import AfterValidator, Field, WithJsonSchema

from tubeherd.pod_template.marks import Never, Only, Open, refused, unique
from tubeherd.pod_template.rights import RESTRICTED, ContainerRights

WORKER: Final = "worker"
"""The name of the container that the operator makes."""
HEALTH_PORT: Final = 8080
TMP: Final = "tmp"
"""The name of the volume that the worker has at TMP_PATH."""
TMP_PATH: Final = "/tmp"  # noqa: S108 - a path in the container
TMP_PATH_WHY: Final = "the worker has its own volume at /tmp: mount yours elsewhere"
MEMORY_WHY: Final = "the memory limit of container worker is spec.memoryLimit, which the worker must know: set it there"
_PROBE_WHY: Final = "the operator sets the probes of container worker: leave it out"
_RESTART_WHY: Final = "container worker is always restarted: leave it out"
_LAST_WORDS_WHY: Final = "the operator finds there why a worker ended: leave it out"
OF_WORKER: Final = {
    "image": "the image of container worker is spec.image: set it there",
    "command": "the image's own command starts the worker: leave it out",
    "args": "the fields of the spec say what the worker does: leave them out",
    "envFrom": "for container worker use spec.envFrom",
    "workingDir": "the worker finds its executors where its image has them: leave it out",
    "livenessProbe": _PROBE_WHY,
    "readinessProbe": _PROBE_WHY,
    "startupProbe": _PROBE_WHY,
    "lifecycle": "a hook would take time from the jobs that end before the worker stops: leave it out",
    "restartPolicy": _RESTART_WHY,
    "restartPolicyRules": _RESTART_WHY,
    "terminationMessagePath": _LAST_WORDS_WHY,
    "terminationMessagePolicy": _LAST_WORDS_WHY,
}
"""The fields of a container that the container named WORKER may not have, and why."""

Name = Annotated[str, Field(min_length=1, max_length=63, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")]
_NotWorker = Annotated[Name, Never((WORKER,), "`worker` is the container that runs the jobs: choose another name")]
_Text = Annotated[str, Field(max_length=32768)]
_Path = Annotated[str, Field(min_length=1, max_length=1024)]
_Word = Annotated[str, Field(max_length=32)]
_Host = Annotated[
    str, Field(max_length=253), Only(("",), f"{RESTRICTED}, in which probes and hooks ask their own pod alone")
]
_PortName = Annotated[
    str, Field(max_length=15), Never(("health",), "the port health is the worker's: choose another name")
]
_PortNumber = Annotated[
    int, Never((HEALTH_PORT,), f"on port {HEALTH_PORT} of the pod the worker answers probes: choose another")
]
_NoHostPort = Annotated[int, Only((0,), f"{RESTRICTED}: use a Service")]
_NoHostIP = Annotated[str, Field(max_length=45), Only(("",), f"{RESTRICTED}: use a Service")]
_Quantity = Annotated[
    int | Annotated[str, Field(max_length=64)], WithJsonSchema({"x-kubernetes-int-or-string": True, "maxLength": 64})
]


class _Asked(Open):
    host: _Host | None = None


class _Handler(Open):
    http_get: _Asked | None = Field(None, description="A request over HTTP, as in a pod.")
    tcp_socket: _Asked | None = Field(None, description="A connection, as in a pod.")


class _Lifecycle(Open):
    post_start: _Handler | None = Field(None, description="What is done when the container has started.")
    pre_stop: _Handler | None = Field(None, description="What is done before the container is stopped.")


class _Variable(Open):
    name: str = Field(min_length=1, max_length=256, description="Name of the variable.")


class _Port(Open):
    container_port: _PortNumber = Field(ge=1, le=65535)
    name: _PortName | None = None
    host_port: _NoHostPort | None = None
    host_ip: _NoHostIP | None = Field(None, alias="hostIP")


class _Mount(Open):
    name: _Path = Field(description="Name of the volume.")
    mount_path: _Path = Field(description="Path in the container, different from those of its other mounts.")


class _Limits(Open):
    memory: _Quantity | None = Field(None, description="For container worker set spec.memoryLimit instead.")


class _Resources(Open):
    limits: _Limits | None = Field(None, description="At most so much of each resource, such as cpu.")


_Variables = Annotated[list[_Variable], Field(max_length=100), unique("name")]
_Mounts = Annotated[list[_Mount], Field(max_length=100), unique("mount_path")]


class Container(Open):
    """A container of a pool's pods, as in a pod."""

    name: Name = Field(description="`worker` for what is added to the container that runs the jobs, or another name.")
    image: str | None = Field(None, max_length=512, description="Image. For container worker set spec.image instead.")
    command: list[_Text] | None = Field(None, max_length=256, description="Command. Not of container worker.")
    args: list[_Text] | None = Field(None, max_length=256, description="Its arguments. Not of container worker.")
    working_dir: _Path | None = Field(None, description="The folder it starts in. Not of container worker.")
    env: _Variables | None = Field(
        None, description="Environment variables, as in a pod; for container worker none that the operator sets."
    )
    env_from: list[dict[str, Any]] | None = Field(
        None, max_length=50, description="Sources of variables. For container worker use spec.envFrom instead."
    )
    ports: list[_Port] | None = Field(None, max_length=50, description="Ports that it serves.")
    resources: _Resources | None = Field(
        None, description="CPU, memory and more, as in a pod. The memory limit of container worker is spec.memoryLimit."
    )
    volume_mounts: _Mounts | None = Field(None, description="Where volumes are mounted.")
    liveness_probe: _Handler | None = Field(None, description="Whether to restart it. Not of container worker.")
    readiness_probe: _Handler | None = Field(None, description="Whether it is ready. Not of container worker.")
    startup_probe: _Handler | None = Field(None, description="Whether it has started. Not of container worker.")
    lifecycle: _Lifecycle | None = Field(None, description="Hooks, as in a pod. Not of container worker.")
    restart_policy: _Word | None = Field(
        None, description="Always makes a sidecar of an init container. Not of container worker."
    )
    restart_policy_rules: list[dict[str, Any]] | None = Field(
        None, max_length=20, description="Rules of restarts. Not of container worker."
    )
    termination_message_path: _Path | None = Field(None, description="Its last words. Not of container worker.")
    termination_message_policy: _Word | None = Field(None, description="Its last words. Not of container worker.")
    security_context: ContainerRights | None = Field(
        None, description=f"Rights of the container, within bounds: {RESTRICTED}, with a read-only root file system."
    )


class InitContainer(Container):
    """An init container of a pool's pods, as in a pod."""

    name: _NotWorker = Field(description="Name of the container.")


def place_of(mount_path: str) -> str:
    """Return where a volume is mounted: `/tmp/`, `/./tmp` and `tmp` are one place."""
    return posixpath.normpath(f"/{mount_path.lstrip('/')}")


def _check_worker(containers: list[Container]) -> list[Container]:
    for number, container in enumerate(containers):
        if container.name == WORKER:
            for field, why in _faults_of_worker(container):
                raise refused((number, *field), why)
    return containers


def _faults_of_worker(container: Container) -> Iterator[tuple[tuple[str | int, ...], str]]:
    given = container.model_dump(by_alias=True, exclude_none=True)
    yield from (((name,), why) for name, why in OF_WORKER.items() if name in given)
    if container.resources and container.resources.limits and container.resources.limits.memory is not None:
        yield ("resources", "limits", "memory"), MEMORY_WHY
    for number, mount in enumerate(container.volume_mounts or ()):
        if place_of(mount.mount_path) == TMP_PATH:
            yield ("volumeMounts", number, "mountPath"), TMP_PATH_WHY


Containers = Annotated[list[Container], Field(max_length=10), unique("name"), AfterValidator(_check_worker)]
InitContainers = Annotated[list[InitContainer], Field(max_length=10), unique("name")]
