"""Builds the Deployment of a pool: the fields that the operator owns, and none that others may own."""

import hashlib
import json
from copy import deepcopy
from typing import Final

from tubeherd.formats.durations import parse_duration
from tubeherd.pod_template.containers import HEALTH_PORT, TMP, TMP_PATH, WORKER
from tubeherd.pool import GROUP, KIND, VERSION, Strategy, WorkerPoolSpec
from tubeherd.settings import WorkerSettings
from tubeherd_operator.decisions.defaults import DEFAULTS_ANNOTATION, Additions, Defaults, Record
from tubeherd_operator.decisions.template import CONTAINER_RIGHTS, merge_template
from tubeherd_operator.objects import POOL_LABEL, Object

RENDERED_ANNOTATION: Final = "tubeherd.io/rendered"
EXECUTORS_ANNOTATION: Final = "tubeherd.io/executors"
_WORKER_DEFAULTS: Final = WorkerSettings()
_USER_FIELDS: Final = dict.fromkeys(("runAsUser", "runAsGroup", "fsGroup"), 65532)
_KILL_MARGIN: Final = 10
"""How long a worker may take to kill a job that ignores SIGTERM at its deadline, in seconds."""
_KUBELET_MARGIN: Final = 5
"""How long the kubelet may take to stop a pod whose worker has ended, in seconds."""


def selector_labels(pool: str) -> dict[str, str]:
    """Return the labels that pick a pool's pods; they can never change."""
    return {POOL_LABEL: pool}


def declared_replicas(spec: WorkerPoolSpec) -> int | None:
    """Return how many pods a spec declares; None if it leaves that to others."""
    return 0 if spec.suspend else spec.replicas


def labels_of(pool: str) -> dict[str, str]:
    """Return the labels of all that the operator makes for a pool."""
    return selector_labels(pool) | {
        "app.kubernetes.io/name": "tubeherd-worker",
        "app.kubernetes.io/instance": pool,
        "app.kubernetes.io/managed-by": "tubeherd-operator",
    }


def build_deployment(
    pool: Object,
    spec: WorkerPoolSpec,
    server: str,
    executors_digest: str | None,
    defaults: Defaults,
    *,
    fixed_user: bool = True,
) -> Object:
    """Return the Deployment of a pool, with a digest of itself and a record of its defaults in annotations.

    Raises WrongTemplate if the spec's template says otherwise of what the operator must own. If there is to be no
    `fixed_user`, the cluster chooses the one of each pod, as OpenShift does.
    """
    name, namespace = pool["metadata"]["name"], pool["metadata"]["namespace"]
    template = _pod(name, spec, server, defaults, _USER_FIELDS if fixed_user else {})
    if spec.template:
        template = merge_template(template, spec.template.model_dump(by_alias=True, exclude_unset=True))
    record = Record(version=defaults.version, image=None if spec.image else defaults.image, template=_digest(template))
    if executors_digest:
        metadata = template["metadata"]
        metadata["annotations"] = metadata.get("annotations", {}) | {EXECUTORS_ANNOTATION: executors_digest}
    deployment: Object = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": labels_of(name),
            "ownerReferences": [owner_reference(pool)],
        },
        "spec": {
            **({} if (replicas := declared_replicas(spec)) is None else {"replicas": replicas}),
            "selector": {"matchLabels": selector_labels(name)},
            "strategy": _strategy(spec),
            "template": template,
        },
    }
    deployment["metadata"]["annotations"] = {
        RENDERED_ANNOTATION: rendered_digest(deployment),
        DEFAULTS_ANNOTATION: record.write(),
    }
    return deployment


def rendered_digest(deployment: Object) -> str:
    """Return the digest of a Deployment as it is rendered, without its annotations."""
    metadata = {name: value for name, value in deployment["metadata"].items() if name != "annotations"}
    return _digest(deployment | {"metadata": metadata})


def _digest(rendered: Object) -> str:
    return hashlib.sha256(json.dumps(rendered, sort_keys=True).encode()).hexdigest()[:16]


def grace_period(spec: WorkerPoolSpec) -> int:
    """Return how long a pod may take to stop, in seconds."""
    return _worker_grace_period(spec) + _KUBELET_MARGIN


def _worker_grace_period(spec: WorkerPoolSpec) -> int:
    """Return how long a worker may take to stop, in seconds: the job timeout and a margin, or else its own default.

    Longer if the pool's template gives the pod longer.
    """
    timeout = spec.worker_settings().get("job_timeout")
    least = int(_WORKER_DEFAULTS.grace_period if timeout is None else parse_duration(timeout) + _KILL_MARGIN)
    pod = spec.template.spec if spec.template else None
    given = pod.termination_grace_period_seconds if pod else None
    return least if given is None else max(least, given - _KUBELET_MARGIN)


def _strategy(spec: WorkerPoolSpec) -> Object:
    asked = spec.strategy or Strategy()
    if asked.type == "Recreate":
        return {"type": "Recreate"}
    given = asked.rolling_update.model_dump(by_alias=True, exclude_none=True) if asked.rolling_update else {}
    return {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": 0} | given}


def owner_reference(pool: Object) -> Object:
    """Return the reference by which an object belongs to a pool, and is deleted with it."""
    return {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": KIND,
        "name": pool["metadata"]["name"],
        "uid": pool["metadata"]["uid"],
        "controller": True,
        "blockOwnerDeletion": False,
    }


def _pod(name: str, spec: WorkerPoolSpec, server: str, defaults: Defaults, user: Object) -> Object:
    """Return the pod template. It depends on nothing that changes the number of pods, which would restart them all."""
    additions = defaults.additions
    tmp = {"sizeLimit": additions.tmp_size} if additions.tmp_size else {}
    volumes: list[Object] = [{"name": TMP, "emptyDir": tmp}]
    if spec.executors:
        volumes.append({"name": "executors", "configMap": {"name": spec.executors.config_map}})
    pod: Object = {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": grace_period(spec),
        "securityContext": {
            "runAsNonRoot": True,
            **user,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [_container(spec, server, defaults)],
        "volumes": volumes,
    }
    return {"metadata": {"labels": labels_of(name)}, "spec": pod | (_spread(name) if additions.is_spread else {})}


def _spread(pool: str) -> Object:
    """Return what spreads the pods of a pool over nodes and zones as far as there is room.

    Zones are no spread constraint: the scheduler takes no account of nodes that lack the label of one of the
    constraints, and in many clusters no node has a zone.
    """
    selector = {"matchLabels": selector_labels(pool)}
    over_nodes = {
        "maxSkew": 1,
        "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": selector,
        "matchLabelKeys": ["pod-template-hash"],  # the pods that a rollout replaces do not count
    }
    over_zones = {
        "weight": 100,
        "podAffinityTerm": {"topologyKey": "topology.kubernetes.io/zone", "labelSelector": selector},
    }
    return {
        "topologySpreadConstraints": [over_nodes],
        "affinity": {"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [over_zones]}},
    }


def _container(spec: WorkerPoolSpec, server: str, defaults: Defaults) -> Object:
    mounts: list[Object] = [{"name": TMP, "mountPath": TMP_PATH}]
    if spec.executors:
        mounts.append({"name": "executors", "mountPath": "/app/executors", "readOnly": True})
    container: Object = {
        "name": WORKER,
        "image": spec.image or defaults.image,
        "args": ["run"],
        "env": _environment(spec, server),
        "ports": [{"name": "health", "containerPort": HEALTH_PORT, "protocol": "TCP"}],
        "livenessProbe": _probe("/healthz") | {"failureThreshold": 3, "periodSeconds": 10, "timeoutSeconds": 5},
        "readinessProbe": _probe("/readyz") | {"failureThreshold": 1, "periodSeconds": 5, "timeoutSeconds": 5},
        # The last line of a worker that cannot start gives the cause, which the pool's condition then shows.
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "securityContext": deepcopy(CONTAINER_RIGHTS),
        "volumeMounts": mounts,
    }
    if spec.env_from:
        container["envFrom"] = spec.env_from
    if resources := _resources(spec, defaults.additions):
        container["resources"] = resources
    return container


def _resources(spec: WorkerPoolSpec, additions: Additions) -> Object:
    settings = spec.worker_settings()
    slots = int(settings.get("concurrency", _WORKER_DEFAULTS.concurrency))
    requests: Object = {}
    if additions.cpu:
        requests["cpu"] = f"{additions.cpu * slots}m"
    if additions.memory:
        requests["memory"] = f"{additions.memory + additions.memory_further * (slots - 1)}Mi"
    if limit := settings.get("max_memory"):
        return {"limits": {"memory": limit}, "requests": requests | {"memory": limit}}
    return {"requests": requests} if requests else {}


def _probe(path: str) -> Object:
    return {"httpGet": {"path": path, "port": "health", "scheme": "HTTP"}}


def _environment(spec: WorkerPoolSpec, server: str) -> list[Object]:
    """Return the worker's settings; what the spec leaves out is left to the worker's own defaults."""
    settings = spec.worker_settings() | {
        "server": server,
        "grace_period": _worker_grace_period(spec),
        "health": f"0.0.0.0:{HEALTH_PORT}",
    }
    # Kubernetes expands $(NAME), which is a legal name of a tube too; $$ stands for a plain $.
    ours = [
        {"name": name, "value": text.replace("$", "$$")} for name, text in WorkerSettings.variables(settings).items()
    ]
    theirs = [variable.model_dump(by_alias=True, exclude_none=True) for variable in spec.env or []]
    return ours + theirs
