"""Writes the Events of a pool."""

import uuid

from tubeherd.logs import log
from tubeherd.pool import GROUP, KIND, VERSION
from tubeherd_operator.cluster.client import Cluster, ClusterError
from tubeherd_operator.decisions.findings import PoolEvent
from tubeherd_operator.decisions.observation import Pool
from tubeherd_operator.objects import Object


def write_event(cluster: Cluster, pool: Pool, event: PoolEvent, now: str) -> None:
    """Log an Event and create it; `now` is the time in RFC 3339.

    If the API server does not take it, nothing is raised: the conditions hold what matters.
    """
    log.info(event.message, pool=str(pool.key), reason=event.reason)
    try:
        cluster.create_event(_build(pool, event, now))
    except ClusterError as error:
        log.warning(f"an Event could not be written: {error}", reason=event.reason)


def _build(pool: Pool, event: PoolEvent, now: str) -> Object:
    namespace, name = pool.key
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": f"{name}.{uuid.uuid4().hex[:16]}", "namespace": namespace},
        "involvedObject": {
            "apiVersion": f"{GROUP}/{VERSION}",
            "kind": KIND,
            "name": name,
            "namespace": namespace,
            "uid": pool.uid,
        },
        "type": event.type,
        "reason": str(event.reason),
        "message": event.message[:1000],
        "source": {"component": "tubeherd-operator"},
        "firstTimestamp": now,
        "lastTimestamp": now,
        "count": 1,
    }
