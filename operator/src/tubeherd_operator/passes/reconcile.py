"""One pass over a pool: observe, plan, act, report.

All is decided in `decisions`. A pass carries it out, in this order:

1. Find the pool, see to it that a poller counts the jobs in its tubes, and observe what there is for the pool.
2. Make the plan, which is final.
3. Act: apply the Deployment, then kick, and keep what came of the kick.
4. Make the report from what came of the plan, and write it: the kick's Event, the status, the other Events.
5. Remove the annotation of a finished kick, if it still has the same value.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime

from pydantic import ValidationError

from tubeherd.logs import log
from tubeherd_operator.cluster.cache import Cache
from tubeherd_operator.cluster.client import REPLICAS_MANAGER, Cluster, ClusterError
from tubeherd_operator.cluster.events import write_event
from tubeherd_operator.cluster.kinds import POOLS
from tubeherd_operator.decisions import kick
from tubeherd_operator.decisions.findings import Reason
from tubeherd_operator.decisions.invalid import report_invalid
from tubeherd_operator.decisions.observation import Observation, Pool
from tubeherd_operator.decisions.plan import Change, Plan, make_plan, repairs_after
from tubeherd_operator.decisions.repairs import Repairs
from tubeherd_operator.decisions.report import Report, Results, make_report
from tubeherd_operator.decisions.retries import served_by
from tubeherd_operator.decisions.status import changes
from tubeherd_operator.objects import Key, Object, controller_of
from tubeherd_operator.passes.executors import Executors
from tubeherd_operator.passes.observe import observe, understand_pool
from tubeherd_operator.queues.servers import Servers
from tubeherd_operator.settings import OperatorSettings


class Reconciler:
    """Runs passes; one at a time for each pool."""

    def __init__(
        self,
        cache: Cache,
        cluster: Cluster,
        servers: Servers,
        settings: OperatorSettings,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._cache = cache
        self._cluster = cluster
        self._executors = Executors(cache, cluster)
        self._servers = servers
        self._settings = settings
        self._now = now
        self._kicks: dict[Key, kick.Outcome] = {}
        """What came of the kicks whose annotation is not gone yet."""
        self._repairs: dict[Key, Repairs] = {}
        """What was repaired of late."""
        self._doubtful: set[Key] = set()
        """The pools whose last pass failed. It may have written what the cache does not have."""

    def note_pools(self) -> None:
        """Take note of what each pool serves, so that even the first pass compares its pool with all others.

        Otherwise a restart of the operator would take a condition about two pools away, and bring it back.
        """
        for stored in self._cache.pools():
            with suppress(Exception):  # one pool's trouble must not hold up the others; its own pass reports it
                if pool := understand_pool(stored, self._settings):
                    self._have_counted(pool)

    def reconcile(self, key: Key) -> float | None:
        """Run one pass. Return how many seconds later the next is wanted; None if only a change needs another.

        Raises ClusterError if the API server refuses a request or is out of reach; the pass is then to be repeated.
        """
        self._refresh(key)
        self._doubtful.add(key)
        again_after = self._pass(key)
        self._doubtful.discard(key)
        return again_after

    def _refresh(self, key: Key) -> None:
        """Have the cache know a pool as it is, if the write of an earlier pass may have reached it."""
        if key in self._doubtful and (stored := self._cluster.pool(*key)):
            self._cache.put(POOLS, stored)

    def _pass(self, key: Key) -> float | None:
        stored = self._cache.pool(key)
        try:
            pool = understand_pool(stored, self._settings)
        except ValidationError as error:
            self._servers.forget(key)
            self._write_invalid(key, stored or {}, error)
            return None
        if pool is None:
            self._servers.forget(key)
            self._kicks.pop(key, None)
            self._repairs.pop(key, None)
            return None
        self._have_counted(pool)
        seen = observe(pool, self._cache, self._cluster, self._executors, self._servers, self._kicks.get(key))
        seen = replace(seen, now=self._now().timestamp(), repairs=self._repairs.get(key, Repairs()))
        plan = make_plan(seen)
        results = self._act(key, plan, seen)
        report = make_report(seen, plan, results, self._timestamp())
        self._write(pool, report)
        again_after = self._finish_kick(key, report)
        if results.refusal:
            raise results.refusal
        return again_after

    def _have_counted(self, pool: Pool) -> None:
        if pool.server:
            self._servers.watch(pool.key, pool.server, served_by(pool.spec))
        else:
            self._servers.forget(pool.key)

    def _act(self, key: Key, plan: Plan, seen: Observation) -> Results:
        deployment, refusal = self._apply(key, plan)
        repairs = None
        if plan.change and deployment:
            repairs = self._repairs[key] = repairs_after(seen, plan.change, deployment)
        outcome = plan.kick
        if isinstance(outcome, kick.Due):
            answer = self._servers.kick(key, outcome.kick.tubes, outcome.kick.most)
            outcome = outcome.after(answer, self._timestamp())
        if outcome is None:
            self._kicks.pop(key, None)
        else:
            self._kicks[key] = outcome
        return Results(deployment, refusal, outcome, repairs)

    def _apply(self, key: Key, plan: Plan) -> tuple[Object | None, ClusterError | None]:
        """Return the Deployment as it is now, or the refusal: the pass goes on, in order to report it."""
        change = plan.change
        if change is None or (change.event.reason == Reason.ADOPTED and not self._is_stored(key, change)):
            return None, None
        try:
            if change.removals:
                self._cluster.patch_deployment(*key, change.removals)
            if change.keep_replicas:
                self._cluster.apply_deployment(change.keep_replicas, REPLICAS_MANAGER)
            return self._cluster.apply_deployment(change.deployment), None
        except ClusterError as error:
            if not error.is_refusal:
                raise
            return None, error

    def _is_stored(self, key: Key, change: Change) -> bool:
        """Ask anew for the pool that is to adopt a Deployment.

        If the pool is deleted and its Deployment is to stay, the Deployment loses its owner after the deletion has
        begun. If it were given back to the pool then, it would be deleted with it.
        """
        metadata = (self._cluster.pool(*key) or {}).get("metadata", {})
        return metadata.get("uid") == controller_of(change.deployment) and "deletionTimestamp" not in metadata

    def _write(self, pool: Pool, report: Report) -> None:
        if report.kick_event:
            write_event(self._cluster, pool.stored, report.kick_event, self._timestamp())
        if patch := changes(report.status, pool.stored):
            self._cluster.write_status(*pool.key, patch)
        for event in report.events:
            write_event(self._cluster, pool.stored, event, self._timestamp())

    def _write_invalid(self, key: Key, stored: Object, error: ValidationError) -> None:
        report = report_invalid(stored, error, self._timestamp())
        for event in report.events:
            write_event(self._cluster, stored, event, self._timestamp())
        try:
            if report.status:
                self._cluster.write_status(*key, report.status)
        except ClusterError as refusal:
            if not refusal.is_refusal:
                raise
            # Before Kubernetes 1.30 the API server judges the whole object anew. Then the Event has to do.
            log.warning(f"the condition that its spec is not valid could not be written: {refusal}", pool=str(key))

    def _finish_kick(self, key: Key, report: Report) -> float | None:
        """Remove the annotation of a finished kick; return after how many seconds to look again."""
        if report.finished_kick is None:
            return report.again_after
        if not self._cluster.remove_annotation(*key, kick.ANNOTATION, report.finished_kick):
            return kick.RETRY_SECONDS  # it has another value now, or the API server refuses: the next pass looks
        self._kicks.pop(key, None)
        return report.again_after

    def _timestamp(self) -> str:
        return self._now().strftime("%Y-%m-%dT%H:%M:%SZ")
