"""Writes the Events of a pool."""

import hashlib
import threading
import time
from queue import Full, Queue
from typing import Final

from tubeherd.logs import log
from tubeherd.pool import GROUP, KIND, VERSION
from tubeherd_operator.cluster.client import Cluster, ClusterError
from tubeherd_operator.cluster.kinds import key_of
from tubeherd_operator.decisions.findings import PoolEvent
from tubeherd_operator.objects import Object

_MOST: Final = 10_000
"""So many Events may wait to be written."""
_RESTS: Final = 3


class Events:
    """Writes Events in a thread of its own, because much is more urgent than they are: it does not wait for them.

    After each it rests for three times as long as that took. So the API server does the rest meanwhile.
    """

    def __init__(self, cluster: Cluster) -> None:
        """Write to this cluster from now on."""
        self._cluster = cluster
        self._queue: Queue[Object] = Queue(_MOST)
        self._finishes = threading.Event()
        threading.Thread(target=self._run, name="events", daemon=True).start()

    def write(self, pool: Object, event: PoolEvent, now: str) -> None:
        """Log an Event of a WorkerPool, and have it written; `now` is the time in RFC 3339.

        The same Event again is one object with a count. If the API server does not take it, or if very many wait, that
        is logged: the conditions hold what matters.
        """
        log.info(event.in_log or event.message, pool=str(key_of(pool)), reason=event.reason)
        try:
            self._queue.put_nowait(_build(pool, event, now))
        except Full:
            log.warning(f"an Event is left out, because {_MOST:,} wait to be written", reason=event.reason)

    def finish(self, seconds: float) -> None:
        """Write without rests from now on, and wait up to so many seconds until all are written."""
        self._finishes.set()
        with self._queue.all_tasks_done:
            self._queue.all_tasks_done.wait_for(lambda: not self._queue.unfinished_tasks, seconds)

    def _run(self) -> None:
        while True:
            event, began = self._queue.get(), time.monotonic()
            try:
                self._cluster.write_event(event)
            except ClusterError as error:
                log.warning(f"an Event could not be written: {error}", reason=event["reason"])
            except Exception as error:  # whatever it is, the other Events are written
                log.error("an Event could not be written", reason=event["reason"], error=repr(error))
            finally:
                self._queue.task_done()
            self._finishes.wait((time.monotonic() - began) * _RESTS)


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
