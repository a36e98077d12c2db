"""Which executors a pool has: the digest of its ConfigMap, which is asked for only when it has changed.

If the ConfigMap cannot be watched, it is asked for once a minute.
"""

import hashlib
import json
import time
from collections.abc import Callable
from typing import NamedTuple

from tubeherd_operator.cluster.cache import Cache
from tubeherd_operator.cluster.client import Cluster
from tubeherd_operator.decisions.report import UNWATCHED_SECONDS
from tubeherd_operator.objects import Key


class _Read(NamedTuple):
    """A ConfigMap when it was asked for."""

    version: str
    """Empty if there was none."""
    digest: str | None
    at: float


class Executors:
    """Knows the digests of ConfigMaps; safe to use from several threads."""

    def __init__(self, cache: Cache, cluster: Cluster, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` returns seconds."""
        self._cache = cache
        self._cluster = cluster
        self._clock = clock
        self._known: dict[Key, _Read] = {}

    def digest(self, config_map: Key) -> str | None:
        """Return the digest of a ConfigMap, or None if there is none."""
        known = self._known.get(config_map)
        is_watched, seen = self._cache.watches_config_map(config_map), self._cache.config_map(config_map)
        # Looked up again, because what a watch has brought is forgotten when it ends, which may have been in between.
        if is_watched and (seen or self._cache.watches_config_map(config_map)):
            if seen is None:
                return None
            if known and known.version == seen["metadata"]["resourceVersion"]:
                return known.digest
        elif known and self._clock() - known.at < UNWATCHED_SECONDS:
            return known.digest
        read, named = self._read(config_map), self._cache.named_config_maps()
        self._known = {key: known for key, known in self._known.items() if key in named} | {config_map: read}
        return read.digest

    def _read(self, config_map: Key) -> _Read:
        now, found = self._clock(), self._cluster.config_map(*config_map)
        if found is None:
            return _Read("", None, now)
        content = json.dumps([found.get("data"), found.get("binaryData")], sort_keys=True)
        digest = hashlib.sha256(content.encode()).hexdigest()[:16]
        return _Read(found["metadata"]["resourceVersion"], digest, now)
