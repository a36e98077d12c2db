"""Builds the Deployment of a pool: what we say of it, and nothing that others may own."""

import hashlib
import json
from typing import Any, Final

from tubeherd.formats.durations import parse_duration
from tubeherd.pool import GROUP, KIND, VERSION, WorkerPoolSpec
from tubeherd_operator.objects import POOL_LABEL, Object

RENDERED_ANNOTATION: Final = "tubeherd.io/rendered"
EXECUTORS_ANNOTATION: Final = "tubeherd.io/executors"
CONTAINER: Final = "worker"
_USER: Final = 65532
_HEALTH_PORT: Final = 8080
_DEFAULT_TIMEOUT: Final = 60.0
_STOP_MARGIN: Final = 15
"""Seconds for a job that ignores SIGTERM to be killed, and for the pod to be stopped behind it."""
_KUBELET_MARGIN: Final = 5


def selector_labels(pool: str) -> dict[str, str]:
    """Return the labels that pick a pool's pods; they can never change."""
    return {POOL_LABEL: pool}


def build_deployment(
    pool: Object, spec: WorkerPoolSpec, image: str, server: str, executors_digest: str | None
) -> Object:
    """Return the Deployment of a pool, with a digest of itself in an annotation."""
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
            **_replicas(spec),
            "selector": {"matchLabels": selector_labels(name)},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": 0}},
            "template": _pod(spec, image, server, labels, executors_digest),
        },
    }
    digest = hashlib.sha256(json.dumps(deployment, sort_keys=True).encode()).hexdigest()[:16]
    deployment["metadata"]["annotations"] = {RENDERED_ANNOTATION: digest}
    return deployment


def grace_period(spec: WorkerPoolSpec) -> int:
    """Return how long a pod may take to stop, in seconds: a job's time and a margin."""
    timeout = parse_duration(spec.job_timeout) if spec.job_timeout else _DEFAULT_TIMEOUT
    return int(timeout) + _STOP_MARGIN


def _owner(pool: Object) -> Object:
    return {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": KIND,
        "name": pool["metadata"]["name"],
        "uid": pool["metadata"]["uid"],
        "controller": True,
        "blockOwnerDeletion": False,
    }


def _replicas(spec: WorkerPoolSpec) -> Object:
    if spec.suspend:
        return {"replicas": 0}
    return {} if spec.replicas is None else {"replicas": spec.replicas}


def _pod(spec: WorkerPoolSpec, image: str, server: str, labels: dict[str, str], executors_digest: str | None) -> Object:
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
                "runAsUser": _USER,
                "runAsGroup": _USER,
                "fsGroup": _USER,
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
        # A worker that cannot start says why in its last line, which the pool's condition then shows.
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
    if spec.memory_limit:
        memory = {"memory": spec.memory_limit}
        container["resources"] = {"limits": memory, "requests": memory}
    return container


def _probe(path: str) -> Object:
    return {"httpGet": {"path": path, "port": "health", "scheme": "HTTP"}}


def _environment(spec: WorkerPoolSpec, server: str) -> list[Object]:
    """Return the worker's settings; what the spec leaves out is left to the worker's own defaults."""
    values: dict[str, Any] = {
        "SERVER": server,
        "INCLUDE": ",".join(spec.tubes),
        "CONCURRENCY": spec.concurrency,
        "MAX_JOBS": spec.max_jobs,
        "MAX_TIME": spec.max_time,
        "MAX_MEMORY": spec.memory_limit,
        "JOB_TIMEOUT": spec.job_timeout,
        "RETRY_DELAYS": _delays(spec),
        "MAX_LOST_DELIVERIES": spec.max_lost_deliveries,
        "ASYNC_CONCURRENCY": spec.async_concurrency,
        "BATCH_SIZE": spec.batch_size,
        "ACK_AFTER_FLUSH": None if spec.ack_after_flush is None else str(spec.ack_after_flush).lower(),
        "GRACE_PERIOD": grace_period(spec) - _KUBELET_MARGIN,
        "HEALTH": f"0.0.0.0:{_HEALTH_PORT}",
    }
    # Kubernetes expands $(NAME), which is a legal name of a tube too; $$ stands for a plain $.
    ours = [
        {"name": f"TUBEHERD_{name}", "value": str(value).replace("$", "$$")}
        for name, value in values.items()
        if value is not None
    ]
    theirs = [variable.model_dump(by_alias=True, exclude_none=True) for variable in spec.env or []]
    return ours + theirs


def _delays(spec: WorkerPoolSpec) -> str | None:
    if spec.retry is None or spec.retry.delays is None:
        return None
    return ",".join(spec.retry.delays) or "none"
