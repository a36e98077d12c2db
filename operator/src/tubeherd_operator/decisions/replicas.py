"""The number of replicas when the pool ceases to declare it: it stays what it is, or was before the pool was suspended.

Under server-side apply the API server sets a field to its default, here 1, when the one who declared it gives it up.
Therefore a second field manager of the operator declares the value first.
"""

from typing import Final

from tubeherd.pool import WorkerPoolSpec
from tubeherd_operator.objects import FIELD_MANAGER, Object

BEFORE_SUSPENSION: Final = "tubeherd.io/replicas-before-suspension"
"""The annotation of a Deployment whose pool is suspended."""


def note_replicas(wanted: Object, spec: WorkerPoolSpec, live: Object | None) -> None:
    """Add to the Deployment of a suspended pool how many replicas it had before."""
    if spec.suspend:
        wanted["metadata"]["annotations"][BEFORE_SUSPENSION] = _before_suspension(spec, live)


def keep_replicas(wanted: Object, live: Object | None) -> Object | None:
    """Return what the second field manager is to apply before `wanted`; None if nothing is given up."""
    if live is None or "replicas" in wanted["spec"] or not _are_ours(live):
        return None
    metadata = {name: live["metadata"][name] for name in ("name", "namespace", "resourceVersion")}
    noted = _annotations(live).get(BEFORE_SUSPENSION, "")
    replicas = int(noted) if noted.isdecimal() else live["spec"]["replicas"]
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": {"replicas": replicas}}


def _before_suspension(spec: WorkerPoolSpec, live: Object | None) -> str:
    if live is not None:
        if noted := _annotations(live).get(BEFORE_SUSPENSION):
            return str(noted)
        if live["spec"]["replicas"] or not _are_ours(live):
            return str(live["spec"]["replicas"])
    return str(1 if spec.replicas is None else spec.replicas)


def _are_ours(live: Object) -> bool:
    """Return whether the operator has declared the replicas."""
    return any(
        entry.get("manager") == FIELD_MANAGER
        and entry.get("operation") == "Apply"
        and "f:replicas" in entry.get("fieldsV1", {}).get("f:spec", {})
        for entry in live["metadata"].get("managedFields", [])
    )


def _annotations(live: Object) -> Object:
    found: Object = live["metadata"].get("annotations", {})
    return found
