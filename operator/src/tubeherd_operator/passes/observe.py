"""Gathers all that a pass needs to know of a pool."""

import hashlib
import json

from tubeherd.pool import WorkerPoolSpec
from tubeherd_operator.cluster.client import Cluster
from tubeherd_operator.decisions.observation import Observation
from tubeherd_operator.objects import POOL_LABEL, Key
from tubeherd_operator.queues.servers import Servers
from tubeherd_operator.settings import OperatorSettings


def observe(key: Key, cluster: Cluster, servers: Servers, settings: OperatorSettings) -> Observation | None:
    """Look at a pool; None where it is gone or going. Has its tubes counted from now on."""
    pool = cluster.pool(*key)
    if pool is None or "deletionTimestamp" in pool["metadata"]:
        servers.forget(key)
        return None
    spec = WorkerPoolSpec.model_validate(pool["spec"])
    server = spec.server or settings.default_server
    if server:
        servers.watch(key, server, spec.tubes)
    else:
        servers.forget(key)
    return Observation(
        pool=pool,
        spec=spec,
        image=spec.image or settings.default_image,
        server=server,
        deployment=cluster.deployment(*key),
        pods=cluster.pods(key.namespace, f"{POOL_LABEL}={key.name}"),
        executors_digest=_executors_digest(cluster, key.namespace, spec),
        counts=servers.counts(key),
    )


def _executors_digest(cluster: Cluster, namespace: str, spec: WorkerPoolSpec) -> str | None:
    if spec.executors is None:
        return None
    config_map = cluster.config_map(namespace, spec.executors.config_map)
    if config_map is None:
        return None
    content = [config_map.get("data"), config_map.get("binaryData")]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]
