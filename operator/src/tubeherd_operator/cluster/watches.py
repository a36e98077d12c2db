"""Keeps the cache true to the cluster. kopf watches; each change that it reports goes into the cache.

kopf looks for its resources once, when it starts, and ends when a watch is answered with 404. So it is started when
the API server has WorkerPools, and again when it has ended.

kopf does not report what was deleted while a watch was broken off for minutes: it then lists what there is, and watches
from there on. `session` notices that it lists. Then the cache is filled from a listing of our own.
"""

import asyncio
import itertools
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from http import HTTPStatus
from typing import Any, Final

import kopf

from tubeherd.logs import log
from tubeherd_operator.cluster.cache import Cache
from tubeherd_operator.cluster.client import Cluster, ClusterError
from tubeherd_operator.cluster.config_maps import ConfigMapWatches
from tubeherd_operator.cluster.kinds import POOLS, WATCHED, Kind, watch_name
from tubeherd_operator.cluster.session import Session, TracedSession
from tubeherd_operator.health import Health

_LOOK_SECONDS: Final = 5.0
"""How often to look for the resource WorkerPool while the API server does not have it."""
_AGAIN_SECONDS: Final = 1.0
"""How long to wait after kopf has ended, or after a listing has failed."""
_LONGEST_PAUSE_SECONDS: Final = 30.0
"""How long to wait after listings have failed again and again: an API server in trouble is not to be loaded more."""
_REFUSED_SECONDS: Final = 300.0
"""After how long to list again if one of several namespaces could not be read: no watch may say when it can be."""


class Watches:
    """Watches pools, Deployments, ReplicaSets and pods."""

    def __init__(
        self,
        cluster: Cluster,
        cache: Cache,
        health: Health,
        filled: Callable[[], None],
        namespaces: Sequence[str] = (),
        asked: Callable[[str, str, int], None] = lambda *_: None,
        *,
        config_maps: bool = True,
    ) -> None:
        """Watch in these namespaces; if there are none, in all.

        `filled` is called once, when the cache has everything that there is; `asked` after each request of kopf, as
        `TracedSession` calls it. `config_maps`: whether ConfigMaps may be watched.
        """
        self._cluster = cluster
        self._cache = cache
        self._health = health
        self._filled = filled
        self._namespaces = namespaces
        self._asked = asked
        self._listed = threading.Event()
        self._unreadable: set[str] = set()
        """The namespaces in which the last listing was refused."""
        self._session: TracedSession | None = None
        self._beside: asyncio.Future[None] | None = None
        """The watches of ConfigMaps, while kopf runs."""
        self._config_maps: ConfigMapWatches | None = None
        if config_maps:
            self._config_maps = ConfigMapWatches(cache, self._present_session, everywhere=not namespaces, asked=asked)

    def run(self) -> None:
        """Watch until the process is to stop; only for the main thread."""
        threading.Thread(target=self._fill_again_and_again, name="listing", daemon=True).start()
        try:
            asyncio.run(self._watch())
        except asyncio.CancelledError:
            log.info("stopped by a signal")

    async def _watch(self) -> None:
        self._end_on_signals()
        while True:
            await self._find_resource()
            watching = asyncio.ensure_future(self._kopf())
            self._beside = asyncio.ensure_future(self._config_maps.run()) if self._config_maps else None
            await asyncio.wait([watching])
            self._end_on_signals()
            await self._end_beside()
            if not watching.cancelled():
                return watching.result()
            log.warning("the watches have ended, they start again")
            self._listed.set()  # pools that went with their CustomResourceDefinition go from the cache
            await asyncio.sleep(_AGAIN_SECONDS)

    async def _kopf(self) -> None:
        """Let kopf watch until a signal comes, or until it cannot go on: then this is cancelled."""
        this = asyncio.current_task()
        await kopf.operator(
            registry=self._registry(this.cancel if this else lambda: None),
            settings=_settings(),
            clusterwide=not self._namespaces,
            namespaces=self._namespaces,
            standalone=True,
            # kopf would ask for a user name, which a pod does not have.
            identity="tubeherd-operator",  # type: ignore[arg-type]  # a private NewType of kopf
        )

    async def _end_beside(self, **_: Any) -> None:
        """End the watches of ConfigMaps. kopf calls this when it ends, or it would wait for them for 5 s."""
        if self._beside:
            self._beside.cancel()
            await asyncio.wait([self._beside])

    def _present_session(self) -> Session | None:
        return self._session.present if self._session else None

    def _end_on_signals(self) -> None:
        """End the process on a signal while kopf does not run, which has handlers of its own.

        The image blocks SIGTERM until now, so that one that comes earlier waits.
        """
        if task := asyncio.current_task():
            for number in (signal.SIGINT, signal.SIGTERM):
                asyncio.get_running_loop().add_signal_handler(number, task.cancel)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])

    async def _find_resource(self) -> None:
        """Return when the API server has WorkerPools; look every few seconds until then."""
        missing = False
        while True:
            try:
                if await asyncio.to_thread(self._cluster.serves, POOLS):
                    return
            except ClusterError as error:
                self._fail_all(f"waits: {error}")
            else:
                self._fail_all("waits: the CustomResourceDefinition workerpools.tubeherd.io does not exist")
                if not missing:
                    log.warning("the CustomResourceDefinition workerpools.tubeherd.io does not exist: create it")
                missing = True
            await asyncio.sleep(_LOOK_SECONDS)

    def _fail_all(self, why: str) -> None:
        for kind in WATCHED:
            for namespace in self._namespaces or ("",):
                self._health.failed(watch_name(kind, namespace), why)

    def _registry(self, stop: Callable[[], object]) -> kopf.OperatorRegistry:
        registry = kopf.OperatorRegistry()
        self._session = TracedSession(
            self._health, self._listed.set, stop, self._namespaces, self._asked, self._cache.has_version
        )
        kopf.on.login(registry=registry)(self._session.log_in)
        kopf.on.cleanup(registry=registry)(self._end_beside)
        for kind in WATCHED:
            kopf.on.event(kind.group, kind.version, kind.plural, registry=registry)(self._handler(kind))
        return registry

    def _handler(self, kind: Kind) -> Callable[..., Any]:
        async def changed(event: kopf.RawEvent, **_: Any) -> None:
            item: Any = event["object"]
            if event["type"] == "DELETED":
                self._cache.drop(kind, item)
            else:
                self._cache.put(kind, item)

        return changed

    def _fill_again_and_again(self) -> None:
        filled, pause, is_refused = False, _AGAIN_SECONDS, False
        while True:
            self._listed.wait(_REFUSED_SECONDS if is_refused else None)
            self._listed.clear()
            try:
                is_refused = self._fill()
            except Exception as error:  # whatever it is, this thread is the only one that learns what was deleted
                why = str(error) if isinstance(error, ClusterError) else repr(error)
                log.warning(f"objects could not be listed, it is tried again: {why}")
                self._health.listing_failed(f"failed, and is tried again: {why}")
                self._listed.set()
                threading.Event().wait(pause)
                pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)
            else:
                pause = _AGAIN_SECONDS
                self._health.listed()
                if not filled:
                    self._filled()
                    filled = True

    def _fill(self) -> bool:
        """List everything, and return whether one of several namespaces may not be read; raises ClusterError.

        Nobody who takes the operator's rights in one, or deletes it, is to stop the work for the others.
        """
        scopes = self._namespaces or ("",)
        refused = [error for namespace in scopes if (error := self._fill_namespace(namespace))]
        if len(refused) == len(scopes):
            raise refused[0]
        return bool(refused)

    def _fill_namespace(self, namespace: str) -> ClusterError | None:
        """List everything in a namespace, or in all; return why it may not be read."""
        try:
            for kind in WATCHED:
                self._cache.fill(kind, partial(self._cluster.objects, kind, namespace), namespace)
        except ClusterError as error:
            if error.status != HTTPStatus.FORBIDDEN:
                raise
            if namespace and namespace not in self._unreadable:
                log.warning(f"namespace {namespace} cannot be looked after until the operator may read it: {error}")
            self._unreadable.add(namespace)
            return error
        self._unreadable.discard(namespace)
        return None


def _settings() -> kopf.OperatorSettings:
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    settings.scanning.disabled = True  # kopf would ask for the right to read CustomResourceDefinitions
    # A watch can die without an error (kopf#957). So each watch ends after this many seconds, and another follows.
    settings.watching.server_timeout = 300
    settings.watching.client_timeout = 330
    # For so many seconds kopf keeps a task and the whole object after each change; unless it is told, for five.
    settings.queueing.idle_timeout = 0.1
    settings.networking.error_backoffs = _Endless()
    settings.persistence.diffbase_storage = _NothingToCompare()
    settings.process.ultimate_exiting_timeout = None  # kopf would kill the process ten minutes after it has ended
    for kind in WATCHED:
        if kind.selector:
            settings.watching.label_selectors[kind.group, kind.version, kind.plural] = kind.selector
    return settings


class _NothingToCompare(kopf.DiffBaseStorage):
    """What kopf compares an object with. It would copy each object for that, and nobody here asks for differences."""

    def build(self, **_: Any) -> kopf.BodyEssence:
        return kopf.BodyEssence({})

    def fetch(self, **_: Any) -> None:
        return None

    def store(self, **_: Any) -> None:
        """Store nothing."""


class _Endless:
    """The pauses between attempts to reach the API server, in seconds. If they ran out, kopf would end."""

    def __iter__(self) -> Iterator[float]:
        return itertools.chain((0.5, 1.0, 2.0), itertools.repeat(5.0))
