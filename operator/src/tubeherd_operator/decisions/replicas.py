"""The number of replicas when the pool ceases to declare it: it stays what it is, or was before the pool was suspended.

Under server-side apply the API server sets a field to its default, here 1, when its last owner gives it up. Therefore a
second field manager of the operator declares the value first.
"""

from typing import Final

from tubeherd.pool import WorkerPoolSpec
from tubeherd_operator.decisions.deployment import RENDERED_ANNOTATION
from tubeherd_operator.objects import Object, annotations_of

BEFORE_SUSPENSION: Final = "tubeherd.io/replicas-before-suspension"
"""The annotation of a Deployment whose pool is suspended."""


def note_replicas(wanted: Object, spec: WorkerPoolSpec, live: Object | None) -> None:
    """Add to the Deployment of a suspended pool how many replicas it had before."""
    if spec.suspend:
        wanted["metadata"]["annotations"][BEFORE_SUSPENSION] = _before_suspension(wanted, spec, live)


def keep_replicas(wanted: Object, live: Object) -> Object | None:
    """Return what the second field manager is to apply before `wanted`; None if that declares the replicas itself.

    The API server refuses it if the live Deployment, and perhaps its replicas, have changed meanwhile.
    """
    if "replicas" in wanted["spec"]:
        return None
    metadata = {name: live["metadata"][name] for name in ("name", "namespace", "resourceVersion")}
    noted = annotations_of(live).get(BEFORE_SUSPENSION, "")
    replicas = int(noted) if noted.isdecimal() else live["spec"]["replicas"]
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": {"replicas": replicas}}


def _before_suspension(wanted: Object, spec: WorkerPoolSpec, live: Object | None) -> str:
    before = annotations_of(live) if live else {}
    if noted := before.get(BEFORE_SUSPENSION):
        return str(noted)
    was_suspended = before.get(RENDERED_ANNOTATION) == annotations_of(wanted)[RENDERED_ANNOTATION]
    if live and not was_suspended:
        return str(live["spec"]["replicas"])
    return str(1 if spec.replicas is None else spec.replicas)
