"""Carries out what a plan says of a request, and keeps what this process knows of it beside the pool's status."""

import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from tubeherd_operator.cluster.client import Cluster, ClusterError
from tubeherd_operator.decisions.errands import Errand, Find
from tubeherd_operator.decisions.observation import Pool
from tubeherd_operator.decisions.request import Known, RequestPlan
from tubeherd_operator.decisions.request_value import Deed
from tubeherd_operator.decisions.status import read_status
from tubeherd_operator.objects import Key, Object
from tubeherd_operator.queues.servers import Servers

AGAIN_SECONDS: Final = 0.2
"""After how many seconds a pool is read again that somebody else has changed in between."""
COUNTED_SECONDS: Final = 60.0
"""For so long a request that cannot begin goes by the buried jobs that were counted for it."""


@dataclass(slots=True)
class _Memory:
    pool: str
    opened: str | None = None
    removed: str | None = None
    stays_because: str | None = None
    rests_until: float = 0.0
    """On the monotonic clock: when the next step may begin."""
    counted: tuple[str, float] = ("", 0.0)
    """The id of the errand that has counted buried jobs, and when that was first seen, on the monotonic clock."""


class Requests:
    """The kicks and discards of all pools; only one thread at a time may use it for the same pool."""

    def __init__(
        self,
        cluster: Cluster,
        servers: Servers,
        now: Callable[[], str],
        new_id: Callable[[], str] = lambda: uuid.uuid4().hex,
        clock: Callable[[], float] = time.monotonic,
        done: Callable[[Deed, int], None] = lambda *_: None,
    ) -> None:
        """`now` returns the time in RFC 3339, `new_id` an id that was never used, `clock` seconds.

        `done` is called with each request that has come to its end, and how many jobs it has kicked or deleted.
        """
        self._cluster = cluster
        self._servers = servers
        self._now = now
        self._new_id = new_id
        self._clock = clock
        self._done = done
        self._memories: dict[Key, _Memory] = {}

    def known(self, pool: Pool) -> Known:
        """Return what is known of a pool's request."""
        memory = self._memory(pool)
        errand = self._servers.errand(pool.key)
        if errand and isinstance(errand.work, Find) and not self._holds(errand, errand.work, pool, memory):
            self._servers.give(pool.key, None)
            errand = None
        return Known(
            errand,
            memory.opened,
            memory.removed,
            memory.stays_because,
            rest=max(0.0, memory.rests_until - self._clock()),
            new_id=self._new_id(),
            now=self._now(),
        )

    def forget(self, key: Key) -> None:
        """Forget a pool that is gone."""
        self._memories.pop(key, None)

    def about_to_write(self, pool: Pool, plan: RequestPlan) -> str | None:
        """Note which step the status that is written next opens; return the version that the pool must still have."""
        if plan.intent == pool.status.request:
            return None
        memory = self._memory(pool)
        memory.stays_because = None
        if plan.intent and plan.intent.step:
            memory.opened = plan.intent.step  # from now on it may be stored, even if the API server's answer is lost
        return str(pool.stored["metadata"]["resourceVersion"])

    def carry_out(self, pool: Pool, plan: RequestPlan, stored: Object) -> bool:
        """Pass the errand on, and remove the annotation; return whether another pass is to look at what changed.

        `stored` is the pool after its status was written. Raises ClusterError if the annotation cannot be removed.
        """
        if plan.intent != pool.status.request and read_status(stored).request != plan.intent:
            raise ClusterError(
                0, "status.request was not stored, so no job is kicked or deleted: update the CRD of WorkerPools"
            )
        memory = self._memory(pool)
        if plan.errand is not None or plan.intent != pool.status.request:
            self._servers.give(pool.key, plan.errand)
            memory.opened = None
            if plan.intent is None or plan.intent.state != "running":
                memory.rests_until = 0.0
            elif plan.rests:
                memory.rests_until = self._clock() + plan.rests
        if plan.intent and plan.intent.state == "done" and plan.intent != pool.status.request:
            self._done(plan.intent.deed, sum(share.done for share in plan.intent.tubes))
        return plan.removes is None or self._remove_annotation(pool, plan.removes, plan, stored)

    def _holds(self, errand: Errand, find: Find, pool: Pool, memory: _Memory) -> bool:
        """Return whether an errand counts buried jobs for a request that there still is, and not too long ago."""
        now = self._clock()
        if memory.counted[0] != errand.id and errand.answer:
            memory.counted = (errand.id, now)
        is_old = errand.answer is not None and now >= memory.counted[1] + COUNTED_SECONDS
        return find.request in pool.requests.values() and not is_old

    def _remove_annotation(self, pool: Pool, annotation: Deed, plan: RequestPlan, stored: Object) -> bool:
        """Return whether the annotation was removed, and nobody had changed the pool in between."""
        memory = self._memory(pool)
        try:
            removed = self._cluster.remove_annotation(*pool.key, annotation, stored["metadata"]["resourceVersion"])
        except ClusterError as error:
            if error.is_refusal:
                memory.stays_because = str(error)
            raise
        if removed and plan.intent:
            memory.removed, memory.stays_because = plan.intent.id, None
        return removed

    def _memory(self, pool: Pool) -> _Memory:
        memory = self._memories.get(pool.key)
        if memory is None or memory.pool != pool.uid:
            if memory:
                self._servers.give(pool.key, None)  # what waits is for a pool of the same name that has gone
            memory = self._memories[pool.key] = _Memory(pool.uid)
        return memory
