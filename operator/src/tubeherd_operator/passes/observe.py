"""Gathers all that a pass needs to know of a pool. Looking changes nothing."""

from tubeherd_operator.cluster.cache import Cache
from tubeherd_operator.cluster.client import Cluster
from tubeherd_operator.cluster.kinds import executors_of
from tubeherd_operator.decisions.observation import Observation, Pool, read_pool
from tubeherd_operator.decisions.request import Known
from tubeherd_operator.objects import Object
from tubeherd_operator.passes.executors import Executors
from tubeherd_operator.queues.servers import Servers
from tubeherd_operator.settings import OperatorSettings


def understand_pool(stored: Object | None, settings: OperatorSettings) -> Pool | None:
    """Return a pool from its object; None if it is gone or is being deleted.

    Raises ValidationError if its spec is not valid.
    """
    if stored is None or "deletionTimestamp" in stored["metadata"]:
        return None
    image, server, allowed = settings.default_image, settings.default_server, settings.allowed_servers
    return read_pool(stored, image, server, allowed, fixed_user=settings.fixed_user)


def observe(
    pool: Pool, cache: Cache, cluster: Cluster, executors: Executors, servers: Servers, request: Known
) -> Observation:
    """Return a pool with all that a pass needs to know; `request` is what this process knows of its request.

    The counts are read last, so that the poller of a new pool has a moment to count.
    """
    config_map = executors_of(pool.stored)
    # Before the digest is read: if the watch begins in between, the pass is repeated for nothing, and misses nothing.
    is_watched = pool.spec.executors is None or cache.watches_config_map(config_map)
    return Observation(
        pool=pool,
        # The cache lacks a Deployment that is new, has lost the label by which it is watched, or is somebody else's.
        deployment=cache.deployment(pool.key) or cluster.deployment(*pool.key),
        replica_sets=cache.replica_sets(pool.key),
        pods=cache.pods(pool.key),
        executors_digest=executors.digest(config_map) if pool.spec.executors else None,
        executors_watched=is_watched,
        budgets=cache.budgets(pool.key),
        counts=servers.counts(pool.key),
        burials=servers.burials(pool.key),
        others=servers.others(pool.key),
        request=request,
    )
