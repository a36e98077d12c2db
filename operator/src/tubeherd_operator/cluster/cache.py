"""The cache: every pool of the cluster, with its Deployment, its ReplicaSets and its pods, as the watches bring them.

Watches, listings and the operator's own writes bring versions of an object in any order. The cache keeps the newest:
Kubernetes numbers them. So a pass never acts on an object that is older than the operator's own last write of it.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from tubeherd_operator.cluster.kinds import DEPLOYMENTS, PODS, POOLS, REPLICA_SETS, WATCHED, Kind, key_of, pool_of
from tubeherd_operator.objects import Key, Object

_DELETED_MOST: Final = 10_000
"""How many deleted objects of a kind are remembered, so that an answer that is late does not bring them back."""


class _Shelf:
    """The objects of one kind."""

    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        self.objects: dict[Key, Object] = {}
        self.of_pool: dict[Key, dict[Key, Object]] = {}
        self.deleted: OrderedDict[Key, int] = OrderedDict()
        """By namespace and name: the version at which an object was deleted."""

    def put(self, item: Object) -> set[Key]:
        """Keep an object, and return the pools that it belonged and belongs to; none if it is not newer."""
        key, version = key_of(item), _version(item)
        known = self.objects.get(key)
        if version <= max(_version(known) if known else -1, self.deleted.get(key, -1)):
            return set()
        concerned = self._remove(key)
        pool = pool_of(self.kind, item)
        self.objects[key] = item
        self.of_pool.setdefault(pool, {})[key] = item
        return concerned | {pool}

    def drop(self, item: Object) -> set[Key]:
        """Drop an object, and return the pools that it belonged to; none if a newer one has its name."""
        key, version = key_of(item), _version(item)
        known = self.objects.get(key)
        if known and _version(known) > version:
            return set()
        self.deleted[key] = max(version, self.deleted.get(key, -1))
        self.deleted.move_to_end(key)
        if len(self.deleted) > _DELETED_MOST:
            self.deleted.popitem(last=False)
        return self._remove(key)

    def _remove(self, key: Key) -> set[Key]:
        item = self.objects.pop(key, None)
        if item is None:
            return set()
        pool = pool_of(self.kind, item)
        del self.of_pool[pool][key]
        if not self.of_pool[pool]:
            del self.of_pool[pool]
        return {pool}


class Cache:
    """Keeps objects, and reports each pool around which something has changed; safe to use from several threads.

    The objects that it returns belong to all who use it: nobody may change them.
    """

    def __init__(self, changed: Callable[[Key], None]) -> None:
        """Have `changed` called with a pool when it, its Deployment, a ReplicaSet or a pod of it has changed."""
        self._changed = changed
        self._shelves = {kind: _Shelf(kind) for kind in WATCHED}
        self._lock = threading.Lock()

    def put(self, kind: Kind, item: Object) -> None:
        """Keep an object, unless a newer version of it is known, or that it was deleted since."""
        with self._lock:
            concerned = self._shelves[kind].put(_slim(item))
        self._report(concerned)

    def drop(self, kind: Kind, item: Object) -> None:
        """Drop an object that was deleted, or that has lost the label by which its kind is watched."""
        with self._lock:
            concerned = self._shelves[kind].drop(item)
        self._report(concerned)

    def fill(self, kind: Kind, listing: Callable[[], list[Object]]) -> None:
        """Keep what a listing of a kind returns, and drop what it lacks. Raises what `listing` raises."""
        with self._lock:
            before = dict(self._shelves[kind].objects)
        listed = listing()
        for item in listed:
            self.put(kind, item)
        names = {key_of(item) for item in listed}
        for key, item in before.items():
            if key not in names:
                self.drop(kind, item)  # unless it has changed since: then a watch has brought it

    def pool(self, key: Key) -> Object | None:
        """Return a WorkerPool, or None if there is none."""
        with self._lock:
            return self._shelves[POOLS].objects.get(key)

    def pools(self) -> list[Object]:
        """Return every WorkerPool."""
        with self._lock:
            return [*self._shelves[POOLS].objects.values()]

    def deployment(self, key: Key) -> Object | None:
        """Return the Deployment of a pool's name if it has the label of a pool; None if not, or if there is none."""
        with self._lock:
            return self._shelves[DEPLOYMENTS].objects.get(key)

    def replica_sets(self, key: Key) -> list[Object]:
        """Return the ReplicaSets that have a pool's label, by name."""
        return self._of_pool(REPLICA_SETS, key)

    def pods(self, key: Key) -> list[Object]:
        """Return the pods that have a pool's label, by name."""
        return self._of_pool(PODS, key)

    def _of_pool(self, kind: Kind, key: Key) -> list[Object]:
        with self._lock:
            return [item for _, item in sorted(self._shelves[kind].of_pool.get(key, {}).items())]

    def _report(self, pools: set[Key]) -> None:
        for pool in pools:
            self._changed(pool)


def _version(item: Object) -> int:
    return int(item["metadata"]["resourceVersion"])


def _slim(item: Object) -> Object:
    """Return an object without the record of who set which field, which is a third of its size."""
    metadata = {name: value for name, value in item["metadata"].items() if name != "managedFields"}
    return item | {"metadata": metadata}
