"""Has the pods go first whose workers execute no job, when the number of pods falls."""

import threading
from collections.abc import Callable, Mapping
from typing import Final

from tubeherd.logs import log
from tubeherd_operator.cluster.client import Cluster, ClusterError
from tubeherd_operator.decisions.leaving import COST, Leaving
from tubeherd_operator.objects import Key

Ask = Callable[[Mapping[str, str]], Mapping[str, int]]


_ASKING_MOST: Final = 2
"""So many passes ask pods at a time: fewer than there are threads, as pods that cannot be reached take two seconds."""


class IdlePods:
    """Asks the pods of pools what they do, and marks those that are idle; several threads may use it."""

    def __init__(self, cluster: Cluster, ask: Ask) -> None:
        """`ask` returns how many jobs the workers at these addresses execute."""
        self._cluster = cluster
        self._ask = ask
        self._places = threading.BoundedSemaphore(_ASKING_MOST)

    def mark(self, key: Key, leaving: Leaving) -> None:
        """Mark the idle pods of a pool, unless too many passes ask pods already.

        What fails is only logged: a worker whose pod goes finishes its jobs in any case.
        """
        if not self._places.acquire(blocking=False):
            log.warning("many pods are asked whether they are idle, so any of this pool may go", pool=str(key))
            return
        try:
            running = self._ask(leaving.addresses)
        finally:
            self._places.release()
        if silent := sorted(leaving.addresses.keys() - running.keys()):
            some = f"{len(silent)} of {len(leaving.addresses)} pods, such as {silent[0]}, did"
            log.warning(f"{some} not say how many jobs they execute, and count as busy", pool=str(key))
        self._write(key, leaving.costs(running))

    def _write(self, key: Key, costs: Mapping[str, str | None]) -> None:
        for name, cost in costs.items():
            try:
                self._cluster.annotate_pod(key.namespace, name, COST, cost)
            except ClusterError as error:
                log.warning(f"pods that are idle could not be marked to go first: {error}", pool=str(key))
                return
