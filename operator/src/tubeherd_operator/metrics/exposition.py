"""Makes the text that Prometheus reads, one family at a time: all of it takes megabytes for a thousand pools."""

from collections.abc import Callable, Iterator

from prometheus_client import ProcessCollector, generate_latest
from prometheus_client.metrics_core import Metric as Family

from tubeherd_operator.cluster.cache import Cache
from tubeherd_operator.cluster.kinds import key_of
from tubeherd_operator.counted import Counted
from tubeherd_operator.health import Health
from tubeherd_operator.metric_table import LEFT_OUT
from tubeherd_operator.metrics import beanstalkds, itself, pools
from tubeherd_operator.passes.work_queue import WorkQueue
from tubeherd_operator.queues.servers import Servers


class Exposition:
    """The metrics of one operator; safe to use from several threads."""

    def __init__(
        self,
        counted: Counted,
        health: Health,
        queue: WorkQueue,
        cache: Cache,
        servers: Servers,
        acts: Callable[[], bool],
    ) -> None:
        """`acts` returns whether this is the operator that acts. Only that one shows servers and pools."""
        self._counted = counted
        self._health = health
        self._queue = queue
        self._cache = cache
        self._servers = servers
        self._acts = acts
        self.process = ProcessCollector(registry=counted.registry)

    def text(self) -> Iterator[bytes]:
        """Yield the text in Prometheus' format 0.0.4, in parts."""
        for family in self._families():
            yield generate_latest(_Only(family))

    def _families(self) -> Iterator[Family]:
        acts, stored = self._acts(), self._cache.pools()
        watches, depth = self._health.states(), self._queue.depth()
        yield from itself.families(acts=acts, pools=len(stored), watches=watches, queue=depth)
        yield from self._counted.registry.collect()
        if not acts:
            return
        servers = sorted(self._servers.figures(), key=lambda figures: figures.server)
        known = pools.known_pools(
            (
                (pool, self._cache.deployment(key), self._servers.burials(key))
                for key, pool in sorted((key_of(pool), pool) for pool in stored)
            ),
            servers,
        )
        shown = servers[: beanstalkds.SERVERS_MOST]
        yield from beanstalkds.families(shown)
        yield from pools.families(known)
        left_out = {
            "servers": len(servers) - len(shown),
            "tubes": beanstalkds.tubes_left_out(shown),
            "pool_tubes": pools.tubes_left_out(known),
        }
        yield LEFT_OUT.of(((what,), count) for what, count in left_out.items())


class _Only:
    """One family, as prometheus_client collects them."""

    def __init__(self, family: Family) -> None:
        self._family = family

    def collect(self) -> Iterator[Family]:
        """Yield it; prometheus_client calls this."""
        yield self._family
