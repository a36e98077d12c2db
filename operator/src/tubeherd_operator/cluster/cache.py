"""The cache: every pool of the cluster, with what belongs to it, as the watches bring it.

Watches, listings and the operator's own writes bring versions of an object in any order. The cache keeps the newest:
Kubernetes numbers them. So a pass never acts on an object that is older than the operator's own last write of it.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from sys import intern
from typing import Any, Final

from tubeherd_operator.cluster.kinds import (
    BUDGETS,
    CONFIG_MAPS,
    DEPLOYMENTS,
    PODS,
    POOLS,
    REPLICA_SETS,
    WATCHED,
    Kind,
    executors_of,
    key_of,
    pool_label_of,
    pool_selected_by,
)
from tubeherd_operator.objects import Key, Object

_DELETED_MOST: Final = 10_000
"""How many deleted objects of a kind are remembered, so that an answer that is late does not bring them back."""
_SHARED_LEVELS: Final = 16
"""What is nested more deeply is left as it is: a template with a thousand levels must do no harm."""


_GROUPS: Final[Mapping[Kind, Callable[[Object], Key]]] = {
    POOLS: executors_of,
    REPLICA_SETS: pool_label_of,
    PODS: pool_label_of,
    BUDGETS: pool_selected_by,
}
"""By what the objects of a kind are found, beside their names."""


class _Shelf:
    """The objects of one kind."""

    def __init__(self, kind: Kind) -> None:
        self.objects: dict[Key, Object] = {}
        self.groups: dict[Key, dict[Key, Object]] = {}
        self.versions: set[int] = set()
        """Those of the objects."""
        self.deleted: OrderedDict[Key, int] = OrderedDict()
        """By namespace and name: the version at which an object was deleted."""
        self._group_of = _GROUPS.get(kind, key_of)

    def put(self, item: Object) -> list[Object]:
        """Keep an object, and return it after the one that it replaces; nothing if it is not newer."""
        key, version = key_of(item), _version(item)
        known = self.objects.get(key)
        if version <= max(_version(known) if known else -1, self.deleted.get(key, -1)):
            return []
        replaced = self._remove(key)
        self.objects[key] = item
        self.versions.add(version)
        self.groups.setdefault(self._group_of(item), {})[key] = item
        return [*replaced, item]

    def drop(self, item: Object, *, for_good: bool) -> list[Object]:
        """Drop an object, and return what was dropped; nothing if a newer one has its name.

        Unless it is `for_good`, the same version may come back.
        """
        key, version = key_of(item), _version(item)
        known = self.objects.get(key)
        if known and _version(known) > version:
            return []
        self.deleted[key] = max(version if for_good else version - 1, self.deleted.get(key, -1))
        self.deleted.move_to_end(key)
        if len(self.deleted) > _DELETED_MOST:
            self.deleted.popitem(last=False)
        return self._remove(key)

    def _remove(self, key: Key) -> list[Object]:
        item = self.objects.pop(key, None)
        if item is None:
            return []
        self.versions.discard(_version(item))
        group = self._group_of(item)
        del self.groups[group][key]
        if not self.groups[group]:
            del self.groups[group]
        return [item]


class Cache:
    """Keeps objects, and reports each pool around which something has changed; safe to use from several threads.

    The objects that it returns belong to all who use it: nobody may change them.
    """

    def __init__(
        self,
        changed: Callable[[Key], None],
        written: Callable[[Key], None],
        unwatched: Callable[[Key], None] = lambda _: None,
    ) -> None:
        """Have `changed` called with a pool when it, or what belongs to it, has changed.

        To it belong its Deployment, ReplicaSets and pods, and the ConfigMap with its executors. `written` is called
        instead if only the operator itself has changed something, and no spec. `unwatched` is called if the ConfigMap
        with the pool's executors is watched no longer.
        """
        self._changed = changed
        self._written = written
        self._unwatched = unwatched
        self._shelves = {kind: _Shelf(kind) for kind in (*WATCHED, CONFIG_MAPS)}
        self._covered: set[Key] = set()
        """The ConfigMaps that are watched; without a name all of a namespace, and without both all."""
        self._lock = threading.Lock()

    def put(self, kind: Kind, item: Object) -> None:
        """Keep an object, unless a newer version of it is known, or that it was deleted since."""
        _, concerned = self._keep(kind, item)
        self._report(concerned)

    def put_written(self, kind: Kind, item: Object) -> None:
        """Keep an object that the operator has just written, as the API server has answered it, as `put` does.

        Others may have changed it just before. So it is reported as changed if its spec is not the one that is known.
        """
        items, concerned = self._keep(kind, item)
        if len(items) == 2 and _spec_of(items[0]) == _spec_of(items[1]):
            for pool in concerned:
                self._written(pool)
        else:
            self._report(concerned)

    def drop(self, kind: Kind, item: Object) -> None:
        """Drop an object that was deleted, or that has lost the label by which its kind is watched."""
        self._drop(kind, item, for_good=True)

    def fill(self, kind: Kind, listing: Callable[[], Iterable[Object]], namespace: str = "") -> None:
        """Keep what a listing of a kind returns, and drop what it lacks, unless it raises: that is raised here too.

        If there is a `namespace`, what others have stays.
        """
        with self._lock:
            before = {key: item for key, item in self._shelves[kind].objects.items() if _is_in(Key(namespace, ""), key)}
        self._replace(kind, before, listing())

    def _replace(self, kind: Kind, before: Mapping[Key, Object], listed: Iterable[Object]) -> None:
        """Keep what was listed, and drop what was known before and is not in the listing."""
        names = set()
        for item in listed:
            self.put(kind, item)
            names.add(key_of(item))
        for key, item in before.items():
            if key not in names:
                # Unless it has changed since: then a watch has brought it. If its kind was not served for a while, it
                # may come back as it was.
                self._drop(kind, item, for_good=False)

    def _drop(self, kind: Kind, item: Object, *, for_good: bool) -> None:
        with self._lock:
            concerned = self._concerned(kind, self._shelves[kind].drop(item, for_good=for_good))
        self._report(concerned)

    def has_version(self, kind: Kind, version: int) -> bool:
        """Return whether an object of this kind is known at this version, which no two objects of a kind share."""
        with self._lock:
            return version in self._shelves[kind].versions

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

    def config_map(self, key: Key) -> Object | None:
        """Return name and version of a ConfigMap that is watched, or None if there is none."""
        with self._lock:
            return self._shelves[CONFIG_MAPS].objects.get(key)

    def named_config_maps(self) -> set[Key]:
        """Return the ConfigMaps that pools name, whether or not they exist."""
        with self._lock:
            return {key for key in self._shelves[POOLS].groups if key.name}

    def watches_config_map(self, key: Key) -> bool:
        """Return whether the cache has a ConfigMap if there is one, and is told of its changes."""
        with self._lock:
            return self._covers(key)

    def _covers(self, key: Key) -> bool:
        return not self._covered.isdisjoint((key, Key(key.namespace, ""), Key("", "")))

    def cover(self, scope: Key, listed: list[Object]) -> None:
        """Know the ConfigMaps of a scope as they were listed; they are watched from then on."""
        with self._lock:
            before = {key: item for key, item in self._shelves[CONFIG_MAPS].objects.items() if _is_in(scope, key)}
        self._replace(CONFIG_MAPS, before, listed)
        with self._lock:
            lacking: set[Key] = set()
            if scope not in self._covered:  # some may have been deleted while nobody watched
                there = self._shelves[CONFIG_MAPS].objects
                lacking = {pool for named, pool in self._naming(scope) if named not in there}
            self._covered.add(scope)
        self._report(lacking)

    def uncover(self, scope: Key) -> None:
        """Take note that the ConfigMaps of a scope are watched no longer, and forget those that no other scope has."""
        with self._lock:
            self._covered.discard(scope)
            shelf = self._shelves[CONFIG_MAPS]
            for key in [key for key in shelf.objects if _is_in(scope, key) and not self._covers(key)]:
                shelf.drop(shelf.objects[key], for_good=False)
            pools = [pool for _, pool in self._naming(scope)]
        for pool in pools:
            self._unwatched(pool)

    def _naming(self, scope: Key) -> Iterator[tuple[Key, Key]]:
        """Yield each ConfigMap of a scope that pools name, with each of these pools."""
        for named, pools in self._shelves[POOLS].groups.items():
            if named.name and _is_in(scope, named):
                yield from ((named, pool) for pool in pools)

    def replica_sets(self, key: Key) -> list[Object]:
        """Return the ReplicaSets that have a pool's label, by name."""
        return self._group(REPLICA_SETS, key)

    def pods(self, key: Key) -> list[Object]:
        """Return the pods that have a pool's label, by name."""
        return self._group(PODS, key)

    def budgets(self, key: Key) -> list[Object]:
        """Return the PodDisruptionBudgets that may select a pool's pods, and the one of its name, by name."""
        with self._lock:
            shelf = self._shelves[BUDGETS]
            found = {**shelf.groups.get(key, {}), **shelf.groups.get(Key(key.namespace, ""), {})}
            named = {key: shelf.objects[key]} if key in shelf.objects else {}
            return [item for _, item in sorted((found | named).items())]

    def _group(self, kind: Kind, key: Key) -> list[Object]:
        with self._lock:
            return [item for _, item in sorted(self._shelves[kind].groups.get(key, {}).items())]

    def _keep(self, kind: Kind, item: Object) -> tuple[list[Object], set[Key]]:
        """Keep an object; return it after the one that it replaces, or nothing if it is not newer, and its pools."""
        with self._lock:
            items = self._shelves[kind].put(_shared(_slim(kind, item)))
            return items, self._concerned(kind, items)

    def _concerned(self, kind: Kind, items: list[Object]) -> set[Key]:
        """Return the pools that objects belong to, or would belong to if there were such pools."""
        if kind == CONFIG_MAPS:
            return {pool for item in items for pool in self._shelves[POOLS].groups.get(key_of(item), {})}
        if kind == BUDGETS:
            return self._concerned_by_budget(items)
        # A Deployment has its pool's name, which nobody can change, unlike its labels.
        return {key_of(item) if kind in (POOLS, DEPLOYMENTS) else pool_label_of(item) for item in items}

    def _concerned_by_budget(self, items: list[Object]) -> set[Key]:
        """Return the pool of its name and those whose pods it may select, which are all unless it selects only one's.

        Its status changes with each pod, and does not concern the others.
        """
        named = {key_of(item) for item in items}
        if len(items) == 2 and items[0].get("spec") == items[1].get("spec"):
            return named
        selected = {pool_selected_by(item) for item in items}
        one = {key for key in selected if key.name}
        namespaces = {key.namespace for key in selected - one}
        return named | one | {pool for pool in self._shelves[POOLS].objects if pool.namespace in namespaces}

    def _report(self, pools: set[Key]) -> None:
        for pool in pools:
            self._changed(pool)


def _version(item: Object) -> int:
    return int(item["metadata"]["resourceVersion"])


def _spec_of(item: Object) -> tuple[str | None, int | None]:
    """Return the id of an object and the number of its spec, which Kubernetes counts up with each change."""
    return item["metadata"].get("uid"), item["metadata"].get("generation")


def _is_in(scope: Key, key: Key) -> bool:
    return scope.namespace in ("", key.namespace) and scope.name in ("", key.name)


def _slim(kind: Kind, item: Object) -> Object:
    """Return an object without the record of who set which field, which is a third of its size.

    Of a ConfigMap only name and version remain: its annotations may hold a copy of all that is in it. Of a ReplicaSet
    only the metadata remain: it has a copy of its Deployment's pod template, and shows only which pods are the present.
    """
    if kind == CONFIG_MAPS:
        return {"metadata": {name: item["metadata"][name] for name in ("namespace", "name", "resourceVersion")}}
    metadata = {name: value for name, value in item["metadata"].items() if name != "managedFields"}
    return {"metadata": metadata} if kind == REPLICA_SETS else item | {"metadata": metadata}


def _shared(value: Any, levels: int = _SHARED_LEVELS) -> Any:
    """Return a copy of what is in an object in which equal strings are one: objects of a kind have most in common.

    So a thousand pools need half of the memory.
    """
    match value:
        case str():
            return intern(value)
        case dict() if levels:
            return {intern(key): _shared(item, levels - 1) for key, item in value.items()}
        case list() if levels:
            return [_shared(item, levels - 1) for item in value]
    return value
