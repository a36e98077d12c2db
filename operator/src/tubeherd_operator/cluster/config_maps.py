"""Watches the ConfigMaps that pools name. Only their names and versions are asked for, never what is in them.

kopf would watch all ConfigMaps of the cluster, and others may change some of them every second. Here each one that a
pool names has a watch of its own; if a namespace has many of them, they share one of that namespace, and if there are
many watches, they become one for the cluster. While a watch does not work, its ConfigMaps do not count as watched, and
passes ask for each once a minute.
"""

import asyncio
import json
from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, Final

import aiohttp

from tubeherd.logs import log
from tubeherd_operator.cluster.cache import Cache
from tubeherd_operator.cluster.kinds import CONFIG_MAPS
from tubeherd_operator.cluster.session import Session
from tubeherd_operator.objects import Key, Object

_NAMES_MOST: Final = 10
"""So many ConfigMaps of a namespace have watches of their own at most."""
_WATCHES_MOST: Final = 50
"""So many watches there are at most, if the operator may watch the whole cluster. Each costs a connection."""
_LOOK_SECONDS: Final = 1.0
"""How often to look whether pools name other ConfigMaps."""
_AGAIN_SECONDS: Final = 5.0
_FORBIDDEN_SECONDS: Final = 60.0
"""How long to wait after a watch was forbidden."""
_SERVER_SECONDS: Final = 300
"""After how many seconds the API server ends a watch, and another follows: a watch can die without an error."""
_TIMEOUT: Final = aiohttp.ClientTimeout(total=None, sock_connect=10.0, sock_read=_SERVER_SECONDS + 30.0)
_FORM: Final = "application/json;as=PartialObjectMetadata{};g=meta.k8s.io;v=v1"


class _Refused(Exception):
    """An answer other than 200, or the end of a watch because it is too far behind."""

    def __init__(self, status: int) -> None:
        super().__init__(f"the API server answers with HTTP status {status}")
        self.status = status


def scopes(named: Collection[Key], *, everywhere: bool) -> frozenset[Key]:
    """Return what is to be watched so that it is known when these ConfigMaps change.

    Without a name all of a namespace are meant, and without both all of the cluster, which must be allowed by
    `everywhere`.
    """
    by_namespace: dict[str, set[Key]] = {}
    for key in named:
        by_namespace.setdefault(key.namespace, set()).add(key)
    found = {
        scope
        for namespace, keys in by_namespace.items()
        for scope in (keys if len(keys) <= _NAMES_MOST else {Key(namespace, "")})
    }
    if len(found) <= _WATCHES_MOST:
        return frozenset(found)
    return frozenset({Key("", "")} if everywhere else {Key(namespace, "") for namespace in by_namespace})


class ConfigMapWatches:
    """Keeps the ConfigMaps of the cache true to the cluster."""

    def __init__(
        self,
        cache: Cache,
        session: Callable[[], Session | None],
        *,
        everywhere: bool,
        asked: Callable[[str, str, int], None] = lambda *_: None,
    ) -> None:
        """`session` returns the present session, or None if there is none yet.

        If `everywhere`, one watch may be for the whole cluster. `asked` is called as `TracedSession` calls it.
        """
        self._cache = cache
        self._session = session
        self._everywhere = everywhere
        self._asked = asked
        self._trouble: dict[Key, str] = {}

    async def run(self) -> None:
        """Watch until this is cancelled."""
        running: dict[Key, asyncio.Task[None]] = {}
        try:
            while True:
                wanted = scopes(self._cache.named_config_maps(), everywhere=self._everywhere)
                for scope in wanted - running.keys():
                    running[scope] = asyncio.create_task(self._watch(scope))
                for scope in running.keys() - wanted:
                    running.pop(scope).cancel()
                    self._cache.uncover(scope)
                await asyncio.sleep(_LOOK_SECONDS)
        finally:
            for scope, task in running.items():
                task.cancel()
                self._cache.uncover(scope)
            if running:
                await asyncio.wait(running.values())

    async def _watch(self, scope: Key) -> None:
        version = ""
        while True:
            try:
                version = version or await self._list(scope)
                version = await self._follow(scope, version)
            except Exception as error:  # whatever it is, the watch is begun anew: nobody else would notice changes
                version = ""
                self._cache.uncover(scope)
                self._report(scope, str(error) if isinstance(error, aiohttp.ClientError | _Refused) else repr(error))
                is_forbidden = isinstance(error, _Refused) and error.status == 403
                await asyncio.sleep(_FORBIDDEN_SECONDS if is_forbidden else _AGAIN_SECONDS)

    async def _list(self, scope: Key) -> str:
        """Have the cache know the ConfigMaps as they are, and return their version."""
        async with self._ask(scope, "list", {}) as answer:
            self._check("list", answer.status)
            found: Object = json.loads(await answer.read())
        self._cache.cover(scope, found["items"])
        self._trouble.pop(scope, None)
        return str(found["metadata"]["resourceVersion"])

    async def _follow(self, scope: Key, version: str) -> str:
        """Have the cache know what changes after a version, and return the last version when the watch ends."""
        query = {"watch": "true", "resourceVersion": version, "allowWatchBookmarks": "true"}
        query |= {"timeoutSeconds": str(_SERVER_SECONDS)}
        async with self._ask(scope, "watch", query) as answer:
            self._check("watch", answer.status)
            unread = b""
            async for chunk in answer.content.iter_any():
                *lines, unread = (unread + chunk).split(b"\n")
                for line in lines:
                    version = self._take(json.loads(line))
        return version

    def _take(self, event: Object) -> str:
        """Take what a watch reports, and return the version after it."""
        item: Object = event["object"]
        match event["type"]:
            case "ADDED" | "MODIFIED":
                self._cache.put(CONFIG_MAPS, item)
            case "DELETED":
                self._cache.drop(CONFIG_MAPS, item)
            case "ERROR":
                raise _Refused(int(item.get("code", 0)))
        return str(item["metadata"]["resourceVersion"])

    def _ask(
        self, scope: Key, verb: str, query: Mapping[str, str]
    ) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        session = self._session()
        if session is None:
            raise RuntimeError("there is no connection to the API server yet")
        one: dict[str, Any] = {"fieldSelector": f"metadata.name={scope.name}"} if scope.name else {}
        return session.http.get(
            f"{session.server}{CONFIG_MAPS.path(scope.namespace)}",
            params={**query, **one},
            headers={"Accept": _FORM.format("List" if verb == "list" else "")},
            timeout=_TIMEOUT,
        )

    def _check(self, verb: str, status: int) -> None:
        self._asked(verb, CONFIG_MAPS.plural, status)
        if status != 200:
            raise _Refused(status)

    def _report(self, scope: Key, why: str) -> None:
        if self._trouble.get(scope) != why:
            self._trouble[scope] = why
            what = f"ConfigMap {scope}" if scope.name else f"ConfigMaps of {scope.namespace or 'all namespaces'}"
            log.warning(f"{what} cannot be watched, pools ask once a minute until that works: {why}")
