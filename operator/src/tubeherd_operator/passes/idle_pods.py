"""Has the pods go first whose workers execute no job, when the number of pods falls."""

import threading
import time
from collections.abc import Callable, Mapping
from typing import Final

from tubeherd.logs import log
from tubeherd_operator.cluster.client import Cluster, ClusterError
from tubeherd_operator.decisions.leaving import COST, Leaving
from tubeherd_operator.objects import Key

Ask = Callable[[Mapping[str, str]], Mapping[str, int]]

_MARKING_MOST: Final = 2
"""So many passes mark pods at a time: fewer than there are threads, as pods that cannot be reached take two seconds."""
_SEEN_SECONDS: Final = 0.5
"""How long a mark has time to be seen. Kubernetes chooses the pods that go by what a watch of its own has brought."""


class IdlePods:
    """Asks the pods of pools what they do, and marks those that are idle; several threads may use it."""

    def __init__(self, cluster: Cluster, ask: Ask, wait: Callable[[float], object] = time.sleep) -> None:
        """`ask` returns how many jobs the workers at these addresses execute; `wait` waits so many seconds."""
        self._cluster = cluster
        self._ask = ask
        self._wait = wait
        self._places = threading.BoundedSemaphore(_MARKING_MOST)

    def mark(self, key: Key, leaving: Leaving) -> bool:
        """Mark the idle pods of a pool, and wait until that is seen; return False if too many passes do so already.

        What fails is only logged: a worker whose pod goes finishes its jobs in any case.
        """
        if not self._places.acquire(blocking=False):
            return False
        try:
            if costs := self._costs(key, leaving):
                self._write(key, costs)
                self._wait(_SEEN_SECONDS)
        finally:
            self._places.release()
        return True

    def _costs(self, key: Key, leaving: Leaving) -> Mapping[str, str | None]:
        running = self._ask(leaving.addresses)
        if silent := sorted(leaving.addresses.keys() - running.keys()):
            some = f"{len(silent)} of {len(leaving.addresses)} pods, such as {silent[0]}, did"
            log.warning(f"{some} not say how many jobs they execute, and count as busy", pool=str(key))
        return leaving.costs(running)

    def _write(self, key: Key, costs: Mapping[str, str | None]) -> None:
        for name, cost in costs.items():
            try:
                self._cluster.annotate_pod(key.namespace, name, COST, cost)
            except ClusterError as error:
                log.warning(f"pods that are idle could not be marked to go first: {error}", pool=str(key))
                return
