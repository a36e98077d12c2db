"""Writes the Events of pools."""

import hashlib
import threading
import time
from collections import deque
from typing import Final

from tubeherd.logs import log
from tubeherd.pool import GROUP, KIND, VERSION
from tubeherd_operator.cluster.client import Cluster, ClusterError
from tubeherd_operator.cluster.kinds import key_of
from tubeherd_operator.decisions.burials import Reason
from tubeherd_operator.decisions.findings import PoolEvent
from tubeherd_operator.objects import Key, Object

_MOST: Final = 2000
"""So many Events about burials may wait to be written, and as many others. One takes up to 5 KiB."""
_PAUSES: Final = 3
"""A pause is so many times as long as the request before it, so that the API server does mostly other things."""
_LONGEST_PAUSE: Final = 1.0


class Events:
    """Writes Events one after the other, in a thread of its own, so that no pass waits for them.

    Those about burials come last: all pools of a tube have some at the same moment.
    """

    def __init__(self, cluster: Cluster) -> None:
        """Write to this cluster from now on."""
        self._cluster = cluster
        self._condition = threading.Condition()
        self._first: deque[Object] = deque()
        self._last: deque[Object] = deque()
        self._unwritten = 0
        """How many wait or are being written."""
        self._finishes = False
        threading.Thread(target=self._run, name="events", daemon=True).start()

    def write(self, pool: Object, event: PoolEvent, now: str) -> None:
        """Log an Event of a WorkerPool, and have it written; `now` is the time in RFC 3339.

        The same Event again is one object with a count. If the API server does not take it, or if very many wait, that
        is logged and no more: the status holds what matters.
        """
        log.info(event.in_log or event.message, pool=str(key_of(pool)), reason=event.reason)
        built, left_out = _build(pool, event, now), None
        with self._condition:
            waiting = self._last if event.reason == Reason.BURIED else self._first
            if len(waiting) >= _MOST:
                left_out = waiting.popleft()
            else:
                self._unwritten += 1
            waiting.append(built)
            self._condition.notify_all()
        if left_out:
            log.warning(f"an Event is not written, because {_MOST:,} newer ones wait", **_about(left_out))

    def finish(self, seconds: float) -> None:
        """Write without pauses from now on, and wait up to so many seconds until all are written."""
        with self._condition:
            self._finishes = True
            self._condition.notify_all()
            if not self._condition.wait_for(lambda: not self._unwritten, seconds):
                log.warning(
                    "the operator ends, and some Events are not written: look at the status of the pools instead",
                    count=self._unwritten,
                )

    def _run(self) -> None:
        while True:
            with self._condition:
                self._condition.wait_for(lambda: self._first or self._last)
                event = (self._first or self._last).popleft()
            began = time.monotonic()
            self._write(event)
            pause = min((time.monotonic() - began) * _PAUSES, _LONGEST_PAUSE)
            with self._condition:
                self._unwritten -= 1
                self._condition.notify_all()
                self._condition.wait_for(lambda: self._finishes, pause)

    def _write(self, event: Object) -> None:
        try:
            self._cluster.write_event(event)
        except ClusterError as error:
            log.warning(f"an Event could not be written: {error}", **_about(event))
        except Exception as error:  # whatever it is, the other Events are written
            log.error("an Event could not be written", **_about(event), error=repr(error))


def _about(event: Object) -> dict[str, str]:
    """Return the fields of a log line about an Event."""
    pool = Key(event["metadata"]["namespace"], event["involvedObject"]["name"])
    return {"pool": str(pool), "reason": event["reason"]}


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
