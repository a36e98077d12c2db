"""Which executors a pool has: the digest of its ConfigMap, which is asked for only when it has changed."""

import hashlib
import json

from tubeherd_operator.cluster.cache import Cache
from tubeherd_operator.cluster.client import Cluster
from tubeherd_operator.objects import Key


class Executors:
    """Knows the digests of ConfigMaps; safe to use from several threads."""

    def __init__(self, cache: Cache, cluster: Cluster) -> None:
        self._cache = cache
        self._cluster = cluster
        self._known: dict[Key, tuple[str, str]] = {}
        """By ConfigMap: its version, and the digest of what is in it."""

    def digest(self, config_map: Key) -> str | None:
        """Return the digest of a ConfigMap, or None if there is none."""
        seen = self._cache.config_map(config_map)
        version, digest = self._known.get(config_map, ("", ""))
        if seen and seen["metadata"]["resourceVersion"] == version:
            return digest
        found = self._cluster.config_map(*config_map)
        if found is None:
            self._known.pop(config_map, None)
            return None
        content = json.dumps([found.get("data"), found.get("binaryData")], sort_keys=True)
        digest = hashlib.sha256(content.encode()).hexdigest()[:16]
        self._known[config_map] = (found["metadata"]["resourceVersion"], digest)
        return digest
