"""The template itself: metadata and spec of a pool's pods."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from tubeherd.pod_template.containers import Containers, InitContainers
from tubeherd.pod_template.marks import Closed, Only, Open, refused
from tubeherd.pod_template.rights import RESTRICTED, PodRights
from tubeherd.pod_template.volumes import Volumes

OWN_PREFIX: Final = "tubeherd.io/"
"""What the names of the operator's labels and annotations begin with."""
OWN_LABELS: Final = ("app.kubernetes.io/name", "app.kubernetes.io/instance", "app.kubernetes.io/managed-by")
"""Further labels that the operator sets."""
OWN_LABELS_WHY: Final = (
    f"labels that begin with {OWN_PREFIX}, and {', '.join(OWN_LABELS)}, are the operator's: choose another name"
)
APPARMOR_PREFIX: Final = "container.apparmor.security.beta.kubernetes.io/"
OWN_ANNOTATIONS_WHY: Final = (
    f"annotations that begin with {OWN_PREFIX} are the operator's: choose another name; for AppArmor set "
    "securityContext.appArmorProfile"
)
ACCOUNT_WHY: Final = "true needs a serviceAccountName, so that no job gets the token of the account `default`"
_ALWAYS_WHY: Final = "workers run until they are stopped"
_FIRST_WHY: Final = "the worker has to be the first process, which ends what its jobs have left"
_NO_DIRECTIVES: Final = "the template is merged as it is, without directives of patches: leave it out"
_NESTED_MOST: Final = 30
"""More levels than any pod template of Kubernetes has."""

_LabelValue = Annotated[str, Field(max_length=63, pattern=r"^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$")]
_AnnotationValue = Annotated[str, Field(max_length=262144)]
_Word = Annotated[str, Field(max_length=253)]
_NotOfHost = Annotated[bool, Only((False,), RESTRICTED)]
_NotShared = Annotated[bool, Only((False,), _FIRST_WHY)]
_NoLinks = Annotated[bool, Only((False,), "a Service named tubeherd would set variables of the worker")]
_Always = Annotated[_Word, Only(("Always",), _ALWAYS_WHY)]
_NoDeadline = Annotated[int, Only((), f"{_ALWAYS_WHY}; to limit a job set spec.jobTimeout")]
_NoNode = Annotated[_Word, Only(("",), "that goes past the scheduler: use nodeSelector or affinity")]
_Deprecated = Annotated[_Word, Only(("",), "the field is deprecated: use serviceAccountName")]
_NotEphemeral = Annotated[
    list[dict[str, Any]], Field(max_length=10), Only(([],), "kubectl debug adds such a container to a pod that runs")
]
_OfContainers = Annotated[
    dict[str, Any], Only((), "set the resources of each container, and the worker's memory limit in spec.memoryLimit")
]
_Linux = Annotated[_Word, Only(("linux",), "workers run on Linux")]


class _OS(Open):
    name: _Linux | None = None


class PodSpec(Open):
    """The spec of a pool's pods."""

    containers: Containers | None = Field(
        None, description="Containers beside the worker's; and what is added to the one named `worker`."
    )
    init_containers: InitContainers | None = Field(
        None, description="Containers that run before the worker, or beside it with restartPolicy Always."
    )
    volumes: Volumes | None = Field(None, description="Volumes that containers mount.")
    security_context: PodRights | None = Field(
        None, description=f"Rights of the pod, within bounds: {RESTRICTED}. Default of runAsUser: 65532."
    )
    service_account_name: _Word | None = Field(
        None, description="Service account of the pods. Its token is mounted if automountServiceAccountToken is true."
    )
    automount_service_account_token: bool | None = Field(None, description=f"Default: false; {ACCOUNT_WHY}.")
    termination_grace_period_seconds: int | None = Field(
        None,
        ge=1,
        le=1_000_000,
        description="How long a pod may take to stop, and its jobs with it; not shorter than the default, which is "
        "spec.jobTimeout and 15 seconds, or 75 seconds without a jobTimeout.",
    )
    host_network: _NotOfHost | None = None
    host_pid: _NotOfHost | None = Field(None, alias="hostPID")
    host_ipc: _NotOfHost | None = Field(None, alias="hostIPC")
    share_process_namespace: _NotShared | None = None
    enable_service_links: _NoLinks | None = None
    restart_policy: _Always | None = None
    active_deadline_seconds: _NoDeadline | None = None
    node_name: _NoNode | None = None
    service_account: _Deprecated | None = None
    ephemeral_containers: _NotEphemeral | None = None
    resources: _OfContainers | None = None
    os: _OS | None = Field(None, description="Operating system of the nodes.")

    @model_validator(mode="after")
    def _check_account(self) -> "PodSpec":
        if self.automount_service_account_token and not self.service_account_name:
            raise refused(("automountServiceAccountToken",), ACCOUNT_WHY)
        return self


def _no_own_labels(labels: dict[str, str]) -> dict[str, str]:
    for name in labels:
        if name.startswith(OWN_PREFIX) or name in OWN_LABELS:
            raise refused((name,), OWN_LABELS_WHY)
    return labels


def _no_own_annotations(annotations: dict[str, str]) -> dict[str, str]:
    for name in annotations:
        if name.startswith((OWN_PREFIX, APPARMOR_PREFIX)):
            raise refused((name,), OWN_ANNOTATIONS_WHY)
    return annotations


_Labels = Annotated[dict[str, _LabelValue], Field(max_length=64), AfterValidator(_no_own_labels)]
_Annotations = Annotated[dict[str, _AnnotationValue], Field(max_length=64), AfterValidator(_no_own_annotations)]


class PodMetadata(Closed):
    """Labels and annotations of a pool's pods."""

    labels: _Labels | None = Field(None, description="Further labels of the pods.")
    annotations: _Annotations | None = Field(None, description="Further annotations of the pods.")


class PodTemplate(Closed):
    """What a pool's pods have beside what the operator gives them."""

    metadata: PodMetadata | None = Field(None, description="Labels and annotations of the pods.")
    spec: PodSpec | None = Field(
        None,
        description="As the spec of a pod. Beside the fields below it takes what else `kubectl explain pod.spec` has, "
        "such as affinity, nodeSelector, tolerations, topologySpreadConstraints, priorityClassName, runtimeClassName, "
        "imagePullSecrets, dnsConfig and hostAliases. Lists are merged with the operator's by their keys, such as "
        "containers by name.",
    )


def _check_shape(template: Any) -> Any:
    """Refuse what is nested too deep, without recursion, which it would break; and directives at whatever depth.

    The schema cannot declare a directive: kubectl, when it changes the CRD, would take the field for one.
    """
    level: list[tuple[tuple[str | int, ...], Any]] = [((), template)]
    for _ in range(_NESTED_MOST):
        for path, value in level:
            for name in value if isinstance(value, Mapping) else ():
                if str(name).startswith("$"):
                    raise refused((*path, str(name)), _NO_DIRECTIVES)
        level = [((*path, step), child) for path, value in level for step, child in _children(value)]
    for path, _ in level:
        raise refused(path[:5], f"is nested deeper than {_NESTED_MOST} levels, which no pod is")
    return template


def _children(value: Any) -> Iterator[tuple[str | int, Any]]:
    if isinstance(value, Mapping):
        yield from value.items()
    elif isinstance(value, list):
        yield from enumerate(value)


Template = Annotated[PodTemplate, BeforeValidator(_check_shape)]
"""A template as it is read from a pool."""
