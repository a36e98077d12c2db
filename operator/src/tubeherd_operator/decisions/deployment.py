"""Builds the Deployment of a pool: the fields that the operator owns, and none that others may own."""

import hashlib
import json
from typing import Final

from tubeherd.formats.durations import parse_duration
from tubeherd.pool import GROUP, KIND, VERSION, WorkerPoolSpec
from tubeherd.settings import WorkerSettings
from tubeherd_operator.objects import POOL_LABEL, Object

RENDERED_ANNOTATION: Final = "tubeherd.io/rendered"
EXECUTORS_ANNOTATION: Final = "tubeherd.io/executors"
CONTAINER: Final = "worker"
_USER_FIELDS: Final = dict.fromkeys(("runAsUser", "runAsGroup", "fsGroup"), 65532)
_HEALTH_PORT: Final = 8080
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


def build_deployment(
    pool: Object,
    spec: WorkerPoolSpec,
    image: str,
    server: str,
    executors_digest: str | None,
    *,
    fixed_user: bool = True,
) -> Object:
    """Return the Deployment of a pool, with a digest of itself in an annotation.

    If there is to be no `fixed_user`, the cluster chooses the one of each pod, as OpenShift does.
    """
    metadata = pool["metadata"]
    name, namespace = metadata["name"], metadata["namespace"]
    labels = selector_labels(name) | {
        "app.kubernetes.io/name": "tubeherd-worker",
        "app.kubernetes.io/instance": name,
        "app.kubernetes.io/managed-by": "tubeherd-operator",
    }
    deployment: Object = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": labels,
            "ownerReferences": [_owner(pool)],
        },
        "spec": {
            **({} if (replicas := declared_replicas(spec)) is None else {"replicas": replicas}),
            "selector": {"matchLabels": selector_labels(name)},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": 0}},
            "template": _pod(spec, image, server, labels, executors_digest, _USER_FIELDS if fixed_user else {}),
        },
    }
    digest = hashlib.sha256(json.dumps(deployment, sort_keys=True).encode()).hexdigest()[:16]
    deployment["metadata"]["annotations"] = {RENDERED_ANNOTATION: digest}
    return deployment


def grace_period(spec: WorkerPoolSpec) -> int:
    """Return how long a pod may take to stop, in seconds."""
    return _worker_grace_period(spec) + _KUBELET_MARGIN


def _worker_grace_period(spec: WorkerPoolSpec) -> int:
    """Return how long a worker may take to stop, in seconds: the job timeout and a margin, or else its own default."""
    timeout = spec.worker_settings().get("job_timeout")
    return int(WorkerSettings().grace_period if timeout is None else parse_duration(timeout) + _KILL_MARGIN)


def _owner(pool: Object) -> Object:
    return {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": KIND,
        "name": pool["metadata"]["name"],
        "uid": pool["metadata"]["uid"],
        "controller": True,
        "blockOwnerDeletion": False,
    }


def _pod(
    spec: WorkerPoolSpec, image: str, server: str, labels: dict[str, str], executors_digest: str | None, user: Object
) -> Object:
    volumes: list[Object] = [{"name": "tmp", "emptyDir": {}}]
    if spec.executors:
        volumes.append({"name": "executors", "configMap": {"name": spec.executors.config_map}})
    template: Object = {
        "metadata": {"labels": labels},
        "spec": {
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "terminationGracePeriodSeconds": grace_period(spec),
            "securityContext": {
                "runAsNonRoot": True,
                **user,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [_container(spec, image, server)],
            "volumes": volumes,
        },
    }
    if executors_digest:
        template["metadata"]["annotations"] = {EXECUTORS_ANNOTATION: executors_digest}
    return template


def _container(spec: WorkerPoolSpec, image: str, server: str) -> Object:
    mounts: list[Object] = [{"name": "tmp", "mountPath": "/tmp"}]  # noqa: S108 - a path in the container
    if spec.executors:
        mounts.append({"name": "executors", "mountPath": "/app/executors", "readOnly": True})
    container: Object = {
        "name": CONTAINER,
        "image": image,
        "args": ["run"],
        "env": _environment(spec, server),
        "ports": [{"name": "health", "containerPort": _HEALTH_PORT, "protocol": "TCP"}],
        "livenessProbe": _probe("/healthz") | {"failureThreshold": 3, "periodSeconds": 10, "timeoutSeconds": 5},
        "readinessProbe": _probe("/readyz") | {"failureThreshold": 1, "periodSeconds": 5, "timeoutSeconds": 5},
        # The last line of a worker that cannot start gives the cause, which the pool's condition then shows.
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": mounts,
    }
    if spec.env_from:
        container["envFrom"] = spec.env_from
    if limit := spec.worker_settings().get("max_memory"):
        memory = {"memory": limit}
        container["resources"] = {"limits": memory, "requests": memory}
    return container


def _probe(path: str) -> Object:
    return {"httpGet": {"path": path, "port": "health", "scheme": "HTTP"}}


def _environment(spec: WorkerPoolSpec, server: str) -> list[Object]:
    """Return the worker's settings; what the spec leaves out is left to the worker's own defaults."""
    settings = spec.worker_settings() | {
        "server": server,
        "grace_period": _worker_grace_period(spec),
        "health": f"0.0.0.0:{_HEALTH_PORT}",
    }
    # Kubernetes expands $(NAME), which is a legal name of a tube too; $$ stands for a plain $.
    ours = [
        {"name": name, "value": text.replace("$", "$$")} for name, text in WorkerSettings.variables(settings).items()
    ]
    theirs = [variable.model_dump(by_alias=True, exclude_none=True) for variable in spec.env or []]
    return ours + theirs
