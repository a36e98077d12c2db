"""What every part knows of Kubernetes: objects are plain dicts, as in YAML, and a pool has a namespace and a name."""

from typing import Any, Final, NamedTuple

Object = dict[str, Any]

POOL_LABEL: Final = "tubeherd.io/pool"
"""The label of a pool's Deployment and pods; its value is the pool's name."""

FIELD_MANAGER: Final = "tubeherd-operator"
"""The name under which the operator owns fields of objects."""


def controller_of(item: Object) -> str | None:
    """Return the uid of the object that made another one and manages it; None if it is on its own."""
    owners = item["metadata"].get("ownerReferences", [])
    return next((str(owner["uid"]) for owner in owners if owner.get("controller")), None)


def annotations_of(item: Object) -> Object:
    """Return the annotations of an object."""
    found: Object = item["metadata"].get("annotations", {})
    return found


class Key(NamedTuple):
    """A pool, by namespace and name."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"
