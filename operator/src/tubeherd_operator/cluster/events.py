"""Writes the Events of a pool."""

import hashlib

from tubeherd.logs import log
from tubeherd.pool import GROUP, KIND, VERSION
from tubeherd_operator.cluster.client import Cluster, ClusterError
from tubeherd_operator.cluster.kinds import key_of
from tubeherd_operator.decisions.findings import PoolEvent
from tubeherd_operator.objects import Object


def write_event(cluster: Cluster, pool: Object, event: PoolEvent, now: str) -> None:
    """Log an Event of a WorkerPool and write it; `now` is the time in RFC 3339.

    The same Event again is one object with a count.

    If the API server does not take it, nothing is raised: the conditions hold what matters.
    """
    log.info(event.in_log or event.message, pool=str(key_of(pool)), reason=event.reason)
    try:
        cluster.write_event(_build(pool, event, now))
    except ClusterError as error:
        log.warning(f"an Event could not be written: {error}", reason=event.reason)


def _build(pool: Object, event: PoolEvent, now: str) -> Object:
    (namespace, name), uid = key_of(pool), pool["metadata"]["uid"]
    message = event.message[:1000]
    same = hashlib.sha256("\n".join((uid, event.type, event.reason, message)).encode()).hexdigest()[:16]
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": f"{name}.{same}", "namespace": namespace},
        "involvedObject": {
            "apiVersion": f"{GROUP}/{VERSION}",
            "kind": KIND,
            "name": name,
            "namespace": namespace,
            "uid": uid,
        },
        "type": event.type,
        "reason": str(event.reason),
        "message": message,
        "source": {"component": "tubeherd-operator"},
        "firstTimestamp": now,
        "lastTimestamp": now,
        "count": 1,
    }
