"""One pass over a pool: observe, plan, act, report.

All is decided in `decisions`. A pass carries it out, in this order:

1. Find the pool, see to it that a poller counts the jobs in its tubes, and observe what there is for the pool.
2. Make the plan, which is final.
3. Apply the Deployment. If it is to have fewer pods, have those go first that are idle. If it is new, the pass ends
   here, and another follows: of many new pools all have their Deployments before the rest is done for any of them.
4. Make the report from what came of that, and write it: the status, which holds the intent of a request, and
   the Events.
5. Carry out what the plan says of a request, which is a kick or a discard: have the poller kick or delete jobs, or
   remove the annotation. No pass waits for beanstalkd: its answer starts another pass.
"""

from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime

from pydantic import ValidationError

from tubeherd.logs import log
from tubeherd_operator.cluster.cache import Cache
from tubeherd_operator.cluster.client import REPLICAS_MANAGER, Cluster, ClusterError, Conflict
from tubeherd_operator.cluster.kinds import POOLS
from tubeherd_operator.decisions.budget import BudgetPlan
from tubeherd_operator.decisions.findings import PoolEvent
from tubeherd_operator.decisions.invalid import report_invalid
from tubeherd_operator.decisions.observation import Observation, Pool, replicas_so_far
from tubeherd_operator.decisions.plan import Change, Plan, make_plan, repairs_after
from tubeherd_operator.decisions.repairs import Repairs
from tubeherd_operator.decisions.report import Report, Results, make_report
from tubeherd_operator.decisions.request_value import Deed
from tubeherd_operator.decisions.retries import served_by
from tubeherd_operator.decisions.status import changes
from tubeherd_operator.objects import Key, Object, controller_of
from tubeherd_operator.passes.executors import Executors
from tubeherd_operator.passes.idle_pods import Ask, IdlePods
from tubeherd_operator.passes.observe import observe, understand_pool
from tubeherd_operator.passes.requests import AGAIN_SECONDS, Requests
from tubeherd_operator.queues.servers import Servers
from tubeherd_operator.settings import OperatorSettings
from tubeherd_operator.workers import running_jobs


class Refused(ClusterError):
    """The API server refused the Deployment or the PodDisruptionBudget of a pool; all else of the pass was done."""

    def __init__(self, refusal: ClusterError, again_after: float | None) -> None:
        """`again_after`: after how many seconds the rest wants another pass; None if only a change needs one."""
        super().__init__(refusal.status, str(refusal))
        self.again_after = again_after


class Reconciler:
    """Runs passes; one at a time for each pool."""

    def __init__(
        self,
        cache: Cache,
        cluster: Cluster,
        servers: Servers,
        settings: OperatorSettings,
        write_event: Callable[[Object, PoolEvent, str], None],
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        ask: Ask = running_jobs,
        request_done: Callable[[Deed, int], None] = lambda *_: None,
    ) -> None:
        """`write_event` is called with each Event of a WorkerPool and the time of it in RFC 3339.

        `ask` returns how many jobs the workers at these addresses execute.
        `request_done` is called with each request that has come to its end, and how many jobs it kicked or deleted.
        """
        self._cache = cache
        self._cluster = cluster
        self._executors = Executors(cache, cluster)
        self._servers = servers
        self._settings = settings
        self._write_event = write_event
        self._now = now
        self._idle_pods = IdlePods(cluster, ask)
        self._requests = Requests(cluster, servers, self._timestamp, done=request_done)
        self._repairs: dict[Key, Repairs] = {}
        """What was repaired of late."""
        self._doubtful: set[Key] = set()
        """The pools whose last pass failed. It may have written what the cache does not have."""
        self._unreported: dict[Key, tuple[PoolEvent, ...]] = {}
        """The Events of what earlier passes have changed that are still to be written: no later pass knows of it."""

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

        Raises ClusterError if the API server refuses a request or is out of reach; the pass is then to be repeated. It
        is Refused if all but the refused was done.
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
            self._requests.forget(key)
            self._repairs.pop(key, None)
            self._unreported.pop(key, None)
            return None
        self._have_counted(pool)
        seen = observe(pool, self._cache, self._cluster, self._executors, self._servers, self._requests.known(pool))
        seen = replace(seen, now=self._now().timestamp(), repairs=self._repairs.get(key, Repairs()))
        plan = make_plan(seen)
        results = self._act(key, plan, seen)
        if plan.begins and results.deployment:
            self._unreported[key] = plan.begins
            return 0.0
        report = make_report(seen, plan, results, self._timestamp())
        try:
            is_carried_out = self._write(pool, plan, report)
        except Conflict:
            is_carried_out = False
        if not is_carried_out:
            self._refresh(key)
        again_after = report.again_after if is_carried_out else AGAIN_SECONDS
        if isinstance(refusal := results.refusal or results.budget_refusal, ClusterError):
            raise Refused(refusal, again_after)
        return again_after

    def _have_counted(self, pool: Pool) -> None:
        if pool.server:
            replicas = replicas_so_far(pool, self._cache.deployment(pool.key))
            self._servers.watch(pool.key, pool.server, served_by(pool.spec), replicas)
        else:
            self._servers.forget(pool.key)

    def _act(self, key: Key, plan: Plan, seen: Observation) -> Results:
        deployment, refusal = self._apply(key, plan)
        budget, budget_refusal = self._apply_budget(plan.budget)
        repairs = None
        if deployment or budget:
            repairs = self._repairs[key] = repairs_after(seen, plan, deployment, budget)
        return Results(deployment, refusal, budget, budget_refusal, repairs)

    def _apply(self, key: Key, plan: Plan) -> tuple[Object | None, ClusterError | None]:
        """Return the Deployment as it is now, or the refusal: the pass goes on, in order to report it.

        Both are None if nothing was applied.
        """
        change = plan.change
        if change is None or (change.adopts and not self._is_stored(key, change)):
            return None, None
        # To mark pods takes seconds, in which the pool may be deleted.
        if change.leaving and not (self._idle_pods.mark(key, change.leaving) and self._is_stored(key, change)):
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

    def _apply_budget(self, plan: BudgetPlan) -> tuple[Object | None, ClusterError | None]:
        """Return the PodDisruptionBudget as it is now, if it was applied, or the refusal."""
        try:
            if plan.removed:
                self._cluster.delete_budget(plan.removed)
            return self._cluster.apply_budget(plan.wanted) if plan.wanted and plan.is_applied else None, None
        except ClusterError as error:
            if not error.is_refusal:
                raise
            return None, error

    def _is_stored(self, key: Key, change: Change) -> bool:
        """Ask anew for the pool that is to own a Deployment.

        If the pool is deleted and its Deployment is to stay, the Deployment loses its owner after the deletion has
        begun. If it were given back to the pool then, it would be deleted with it.
        """
        metadata = (self._cluster.pool(*key) or {}).get("metadata", {})
        return metadata.get("uid") == controller_of(change.deployment) and "deletionTimestamp" not in metadata

    def _write(self, pool: Pool, plan: Plan, report: Report) -> bool:
        """Write the report, and do what the plan says of a request; return whether all was done.

        Raises Conflict if somebody else has changed the pool, so that a change of the request's intent was not written.
        """
        stored, version = pool.stored, self._requests.about_to_write(pool, plan.request)
        if patch := changes(report.status, pool.stored):
            try:
                stored = self._cluster.write_status(*pool.key, patch, version)
            except ClusterError:
                self._unreported[pool.key] = (*self._unreported.get(pool.key, ()), *report.changes)
                raise
        self._write_events(pool, [*self._unreported.pop(pool.key, ()), *report.events])
        is_carried_out = self._requests.carry_out(pool, plan.request, stored)
        if is_carried_out and plan.request.event_after_removal:
            self._write_event(pool.stored, plan.request.event_after_removal, self._timestamp())
        return is_carried_out

    def _write_events(self, pool: Pool, events: Iterable[PoolEvent]) -> None:
        for event in events:
            self._write_event(pool.stored, event, self._timestamp())

    def _write_invalid(self, key: Key, stored: Object, error: ValidationError) -> None:
        report = report_invalid(stored, error, self._timestamp())
        for event in report.events:
            self._write_event(stored, event, self._timestamp())
        try:
            if report.status:
                self._cluster.write_status(*key, report.status)
        except ClusterError as refusal:
            if not refusal.is_refusal:
                raise
            # Before Kubernetes 1.30 the API server judges the whole object anew. Then the Event has to do.
            log.warning(f"the condition that its spec is not valid could not be written: {refusal}", pool=str(key))

    def _timestamp(self) -> str:
        return self._now().strftime("%Y-%m-%dT%H:%M:%SZ")
