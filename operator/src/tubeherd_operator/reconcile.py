"""One pass over a pool: observe, plan, act."""

import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final, NamedTuple

import structlog

from tubeherd.pool import GROUP, KIND, VERSION
from tubeherd.queue import QueueUnavailable
from tubeherd_operator.broker import Broker
from tubeherd_operator.cluster import Cluster, ClusterError, Object
from tubeherd_operator.conditions import KICK_ACCEPTED, Condition, stamp
from tubeherd_operator.kick import ANNOTATION
from tubeherd_operator.observe import observe
from tubeherd_operator.plan import Event, Plan, make_plan
from tubeherd_operator.settings import OperatorSettings
from tubeherd_operator.status import changes
from tubeherd_operator.workqueue import Key

_COUNTS_SECONDS: Final = 29.0
_RETRY_KICK_SECONDS: Final = 2.0

log: Final = structlog.get_logger()


class _Done(NamedTuple):
    """A kick that was carried out, until its annotation is gone: it must not be carried out twice."""

    uid: str
    value: str
    kicked: dict[str, int]


class Reconciler:
    """Runs passes; one at a time for each pool."""

    def __init__(
        self,
        cluster: Cluster,
        broker: Broker,
        settings: OperatorSettings,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._cluster = cluster
        self._broker = broker
        self._settings = settings
        self._now = now
        self._counted: dict[Key, float] = {}
        self._kicked: dict[Key, _Done] = {}

    def reconcile(self, key: Key) -> float | None:
        """Bring a pool and the world in line; return after how many seconds to look again, if nothing happens.

        Raises ClusterError where the API server refuses or is out of reach; the pass is then to be repeated.
        """
        seen = observe(key, self._cluster, self._broker, self._settings)
        if seen is None:
            self._counted.pop(key, None)
            self._kicked.pop(key, None)
            return None
        counts_due = time.monotonic() - self._counted.get(key, float("-inf")) >= _COUNTS_SECONDS
        plan = make_plan(seen, counts_due, self._timestamp())
        status, events = plan.status, list(plan.events)
        failed = self._apply(plan, status, events)
        again = plan.again_after
        if plan.kick:
            again = self._kick(key, seen.pool, plan, status, events) or again
        self._write(key, seen.pool, status, counts_due)
        for event in events:
            self._tell(seen.pool, event)
        if plan.kick_value is not None and (plan.remove_kick or key in self._kicked):
            self._cluster.remove_annotation(*key, ANNOTATION, plan.kick_value)
            self._kicked.pop(key, None)
        if failed:
            raise failed
        return again

    def _apply(self, plan: Plan, status: Object, events: list[Event]) -> ClusterError | None:
        """Apply the Deployment; a refusal is said in the status and the pass goes on."""
        if plan.deployment is None:
            return None
        try:
            self._cluster.apply_deployment(plan.deployment)
        except ClusterError as error:
            if error.status not in (400, 403, 422):
                raise
            message = f"the API server refuses the pool's Deployment: {error}; correct the pool's spec"
            ready = next(entry for entry in status["conditions"] if entry["type"] == "Ready")
            told_before = ready["reason"] == "DeploymentRefused"
            ready |= {"status": "False", "reason": "DeploymentRefused", "message": message[:1000]}
            events[:] = [] if told_before else [Event("Warning", "DeploymentRefused", message)]
            return error
        return None

    def _kick(self, key: Key, pool: Object, plan: Plan, status: Object, events: list[Event]) -> float | None:
        """Carry out a kick, unless a pass before this one did, and say so in the status."""
        assert plan.kick is not None  # noqa: S101 - told by the caller
        value, uid = str(plan.kick_value), pool["metadata"]["uid"]
        done = self._kicked.get(key)
        if done is None or (done.uid, done.value) != (uid, value):
            assert status["server"]  # noqa: S101 - a plan without a server kicks nothing
            try:
                kicked = self._broker.kick(status["server"], plan.kick.tubes, plan.kick.most)
            except QueueUnavailable as error:
                message = f"kick={value} waits: {error}; it is done as soon as beanstalkd answers"
                self._condition(pool, status, Condition(KICK_ACCEPTED, "False", "Waiting", message))
                return _RETRY_KICK_SECONDS
            done = self._kicked[key] = _Done(uid, value, kicked)
            log.info("kicked", pool=f"{key.namespace}/{key.name}", value=value, tubes=kicked)
            events.append(Event("Normal", "Kicked", _summary(value, kicked)))
        self._condition(pool, status, Condition(KICK_ACCEPTED, "True", "Kicked", _summary(value, done.kicked)))
        tubes = [{"name": name, "kicked": count} for name, count in done.kicked.items()]
        total = sum(done.kicked.values())
        status["lastKick"] = {"value": value, "time": self._timestamp(), "kicked": total, "tubes": tubes}
        return None

    def _condition(self, pool: Object, status: Object, condition: Condition) -> None:
        before = pool.get("status", {}).get("conditions", [])
        generation = pool["metadata"]["generation"]
        others = [entry for entry in status["conditions"] if entry["type"] != condition.type]
        status["conditions"] = [*others, stamp(condition, before, generation, self._timestamp())]

    def _write(self, key: Key, pool: Object, status: Object, counts_due: bool) -> None:
        if counts_due:
            self._counted[key] = time.monotonic()
        if patch := changes(status, pool.get("status", {})):
            self._cluster.write_status(*key, patch)

    def _tell(self, pool: Object, event: Event) -> None:
        metadata, now = pool["metadata"], self._timestamp()
        log.info(event.message, pool=f"{metadata['namespace']}/{metadata['name']}", reason=event.reason)
        reference = {
            "apiVersion": f"{GROUP}/{VERSION}",
            "kind": KIND,
            "name": metadata["name"],
            "namespace": metadata["namespace"],
            "uid": metadata["uid"],
        }
        body: Object = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": f"{metadata['name']}.{uuid.uuid4().hex[:16]}", "namespace": metadata["namespace"]},
            "involvedObject": reference,
            "type": event.type,
            "reason": event.reason,
            "message": event.message[:1000],
            "source": {"component": "tubeherd-operator"},
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
        }
        try:
            self._cluster.create_event(body)
        except ClusterError as error:
            # An event is news, not state: the conditions hold what matters.
            log.warning(f"an event could not be written: {error}", reason=event.reason)

    def _timestamp(self) -> str:
        return self._now().strftime("%Y-%m-%dT%H:%M:%SZ")


def _summary(value: str, kicked: dict[str, int]) -> str:
    by_tube = ", ".join(f"{tube} {count}" for tube, count in kicked.items())
    return f"kick={value}: {sum(kicked.values())} buried jobs put back ({by_tube})"
