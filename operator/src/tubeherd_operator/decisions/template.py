"""Merges the pod template of a pool's spec under the one that the operator makes.

What the operator makes stands. A template adds to it, and changes only what `_DEFAULTS` names. If it says otherwise of
anything else, that is a fault, which is reported: nothing of a template is left out in silence. What a template may not
even add is refused before, by `tubeherd.pod_template`.
"""

from collections.abc import Iterator
from copy import deepcopy
from typing import Any, Final

from tubeherd.pod_template.containers import TMP, WORKER, place_of
from tubeherd_operator.objects import Object

MERGE_KEYS: Final = {
    "containers": "name",
    "initContainers": "name",
    "volumes": "name",
    "env": "name",
    "volumeMounts": "mountPath",
    "volumeDevices": "devicePath",
    "ports": "containerPort",
    "topologySpreadConstraints": "topologyKey",
    "imagePullSecrets": "name",
    "hostAliases": "ip",
    "resourceClaims": "name",
    "schedulingGates": "name",
}
"""By the name of a list: the field that tells its objects apart, as in a strategic merge patch of Kubernetes."""

_WHOLE: Final = ("env", "ports", "volumeMounts")
"""The lists to whose entries of the operator nothing can be added, such as `readOnly` to the worker's /tmp."""

_REST: Final = "*"
_DEFAULTS: Final = (
    ("spec", "securityContext", "runAsUser"),
    ("spec", "securityContext", "runAsGroup"),
    ("spec", "securityContext", "fsGroup"),
    ("spec", "securityContext", "seccompProfile", _REST),
    ("spec", "automountServiceAccountToken"),
    ("spec", "topologySpreadConstraints", _REST),
    ("spec", "affinity", "podAntiAffinity", "preferredDuringSchedulingIgnoredDuringExecution"),
    ("spec", "volumes", TMP, "emptyDir", _REST),
    ("spec", "containers", WORKER, "resources", "requests", _REST),
)
"""The paths of what the operator sets and a template may set otherwise; a list's objects stand there by their keys."""

CONTAINER_RIGHTS: Final[Object] = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}
"""The security context of the worker's container, and of each that a template adds."""

_LEFT_OUT_IF_ZERO: Final = frozenset(
    (
        *("hostNetwork", "hostPID", "hostIPC", "hostPort", "stdin", "stdinOnce", "tty", "readOnly"),
        *("initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"),
        *("labels", "annotations", "nodeSelector", "matchLabels", "limits", "requests", "overhead", "volumeAttributes"),
    )
)
"""The fields that the API server leaves out, or sets to a default, if they are zero, false or empty."""

_DEFAULT_IF_EMPTY: Final = frozenset(
    (
        *("imagePullPolicy", "pullPolicy", "terminationMessagePolicy", "protocol"),
        *("dnsPolicy", "schedulerName", "path", "scheme", "apiVersion"),
    )
)
"""The fields that the API server sets to a default if they are an empty text."""
_OF_TEXTS: Final = frozenset(("labels", "annotations", "nodeSelector", "matchLabels", "volumeAttributes"))
"""The objects whose fields have names of the user's own: no rule about a field is about them."""

_NAMED: Final = 3
"""How many faults a message names."""

Path = tuple[str, ...]


class WrongTemplate(ValueError):
    """A template that says otherwise of what the operator must own; the message names the fields."""


def merge_template(ours: Object, template: Object) -> Object:
    """Return the operator's pod template with that of a pool's spec merged under it, which `PodTemplate` has validated.

    Raises WrongTemplate.
    """
    theirs = _without_zeros(template)
    ours = _making_way(_with_rights_of_containers(ours, theirs), theirs)
    faults: list[str] = []
    merged: Object = _merge(ours, theirs, (), faults)
    if faults:
        raise WrongTemplate("; ".join(faults[:_NAMED]))
    _own_what_is_implied(merged["spec"])
    return merged


def _own_what_is_implied(pod: Object) -> None:
    """Set what the API server would set beside a field: only its owner can take it away when the field changes."""
    if account := pod.get("serviceAccountName"):
        pod["serviceAccount"] = account
    for volume in pod["volumes"]:
        if volume.keys() == {"name"}:
            volume["emptyDir"] = {}


def _without_zeros(value: Any, name: str = "") -> Any:
    """Return what the API server would store of a field: no null, no empty list, nothing that stands for a default."""
    if isinstance(value, dict):
        kept = {field: _without_zeros(child, field) for field, child in value.items()}
        if name in _OF_TEXTS:
            return {field: child for field, child in kept.items() if child is not None}
        return {field: child for field, child in kept.items() if not _is_left_out(field, child)}
    return [_without_zeros(child) for child in value] if isinstance(value, list) else value


def _is_left_out(name: str, value: Any) -> bool:
    if value == "":
        return name in _DEFAULT_IF_EMPTY
    return value is None or value == [] or (name in _LEFT_OUT_IF_ZERO and not value)


def _with_rights_of_containers(ours: Object, theirs: Object) -> Object:
    """Return the operator's template with its demands on the rights of each container that is added."""
    spec = dict(ours["spec"])
    for kind in ("initContainers", "containers"):
        known = {container["name"] for container in spec.get(kind, [])}
        added = [item["name"] for item in theirs.get("spec", {}).get(kind, []) if item["name"] not in known]
        if added:
            rights = [{"name": name, "securityContext": deepcopy(CONTAINER_RIGHTS)} for name in added]
            spec[kind] = [*spec.get(kind, []), *rights]
    return ours | {"spec": spec}


def _making_way(ours: Object, theirs: Object) -> Object:
    """Return the operator's template without the requests of the worker for which the pool's template has a limit.

    The API server refuses a request above its limit. Without one, the request is the limit.
    """
    for container in theirs.get("spec", {}).get("containers", []):
        if container["name"] == WORKER and (limits := container.get("resources", {}).get("limits")):
            ours = deepcopy(ours)
            (worker,) = (item for item in ours["spec"]["containers"] if item["name"] == WORKER)
            resources = worker.get("resources", {})
            requests = {name: value for name, value in resources.pop("requests", {}).items() if name not in limits}
            resources |= {"requests": requests} if requests else {}
    return ours


def _merge(ours: Any, theirs: Any, path: Path, faults: list[str]) -> Any:
    if isinstance(ours, dict) and isinstance(theirs, dict):
        return _merge_objects(ours, theirs, path, faults)
    if isinstance(ours, list) and isinstance(theirs, list) and path[-1] in MERGE_KEYS:
        return _merge_lists(ours, theirs, path, faults)
    if ours == theirs or _is_default(path):
        return theirs
    faults.append(f"{_in_words(path)}: {_why(path, ours)}")
    return ours


def _merge_objects(ours: Object, theirs: Object, path: Path, faults: list[str]) -> Object:
    merged = dict(ours)
    for name, value in theirs.items():
        merged[name] = _merge(ours[name], value, (*path, name), faults) if name in ours else value
    return merged


def _merge_lists(ours: list[Any], theirs: list[Any], path: Path, faults: list[str]) -> list[Any]:
    key = MERGE_KEYS[path[-1]]
    mine, added, met = {item[key]: item for item in ours}, [], set()
    for item in theirs:
        value = _told_apart(item, key)
        if not isinstance(value, str | int):
            faults.append(f"{_in_words(path)}: each entry must be an object with {key}")
        elif value not in mine:
            added.append(item)
        elif path[-1] in _WHOLE and item != mine[value]:
            faults.append(f"{_in_words((*path, str(value)))}: {_why(path, mine[value])}")
        elif value in met:
            faults.append(f"{_in_words((*path, str(value)))}: another entry of the list has the same {key}")
        else:
            mine[value] = _merge(mine[value], item, (*path, str(value)), faults)
            met.add(value)
    return [*mine.values(), *added]


def _told_apart(item: Any, key: str) -> Any:
    """Return what tells an entry of a list apart from the operator's; None if it is no object with such a field."""
    value = item.get(key) if isinstance(item, dict) else None
    return place_of(value) if key == "mountPath" and isinstance(value, str) else value


def _is_default(path: Path) -> bool:
    return any(
        path == default or (default[-1] == _REST and path[: len(default) - 1] == default[:-1]) for default in _DEFAULTS
    )


def _why(path: Path, ours: Any) -> str:
    if path[-1] == "terminationGracePeriodSeconds":
        return (
            f"must be {ours} or more, or the worker could not let its jobs end: leave it out, or give jobs less time "
            "with spec.jobTimeout"
        )
    if path[-1] == "volumeMounts":
        return "the operator mounts its own volume there: mount yours elsewhere"
    return "the operator sets this field itself: leave it out"


def _in_words(path: Path) -> str:
    """Return a field of the spec as kubectl writes it, such as spec.template.spec.containers[worker].image."""
    return "".join(["spec.template", *_steps(path)])


def _steps(path: Path) -> Iterator[str]:
    for before, step in zip(("", *path), path, strict=False):
        yield f"[{step}]" if before in MERGE_KEYS else f".{step}"
