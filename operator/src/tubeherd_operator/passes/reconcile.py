"""One pass over a pool: observe, plan, act."""

import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final, NamedTuple

from tubeherd.logs import log
from tubeherd.pool import GROUP, KIND, VERSION
from tubeherd_operator.cluster.client import Cluster, ClusterError
from tubeherd_operator.decisions.conditions import KICK_ACCEPTED, READY, WAITING, Condition, stamp
from tubeherd_operator.decisions.kick import ANNOTATION
from tubeherd_operator.decisions.plan import Event, Plan, make_plan
from tubeherd_operator.decisions.report import changes
from tubeherd_operator.objects import Key, Object
from tubeherd_operator.passes.observe import observe
from tubeherd_operator.queues.servers import Servers
from tubeherd_operator.settings import OperatorSettings

_RETRY_KICK_SECONDS: Final = 2.0


class _Progress(NamedTuple):
    """A kick from its first job put back until its annotation is gone: no part of it is to be done twice.

    Only a crash of the operator between the two can repeat a kick. The other order, removing the annotation first,
    would lose it instead.
    """

    uid: str
    value: str
    kicked: dict[str, int]
    complete: bool


class Reconciler:
    """Runs passes; one at a time for each pool."""

    def __init__(
        self,
        cluster: Cluster,
        servers: Servers,
        settings: OperatorSettings,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._cluster = cluster
        self._servers = servers
        self._settings = settings
        self._now = now
        self._kicks: dict[Key, _Progress] = {}

    def reconcile(self, key: Key) -> float | None:
        """Bring a pool and the world in line; return after how many seconds to look again, if nothing happens.

        Raises ClusterError where the API server refuses or is out of reach; the pass is then to be repeated.
        """
        seen = observe(key, self._cluster, self._servers, self._settings)
        if seen is None:
            self._kicks.pop(key, None)
            return None
        plan = make_plan(seen, self._timestamp())
        status, events = plan.status, list(plan.events)
        failed = self._apply(seen.pool, plan, status, events)
        progress = self._kick(key, seen.pool, plan)
        if progress:
            self._show_kick(seen.pool, status, progress)
        self._write(key, seen.pool, status)
        for event in events:
            self._tell(seen.pool, event)
        again = _RETRY_KICK_SECONDS if progress and not progress.complete else plan.again_after
        if plan.kick_value is not None and (plan.remove_kick or (progress and progress.complete)):
            if self._cluster.remove_annotation(*key, ANNOTATION, plan.kick_value):
                self._kicks.pop(key, None)
            else:  # it has changed, or must not be changed: the next look tells, and knows what was kicked
                again = _RETRY_KICK_SECONDS
        if failed:
            raise failed
        return again

    def _apply(self, pool: Object, plan: Plan, status: Object, events: list[Event]) -> ClusterError | None:
        """Apply the Deployment; a refusal is said in the status and the pass goes on."""
        if plan.deployment is None:
            return None
        try:
            self._cluster.apply_deployment(plan.deployment)
        except ClusterError as error:
            # A field that its schema does not have is answered with 500 by the API server.
            if error.status not in (400, 403, 422, 500):
                raise
            message = f"the API server refuses the pool's Deployment: {error}; correct the pool's spec"
            self._condition(pool, status, Condition(READY, "False", "DeploymentRefused", message))
            before = pool.get("status", {}).get("conditions", [])
            told_before = any(entry["reason"] == "DeploymentRefused" for entry in before)
            told = [event for event in events if event.reason not in ("Created", "Updated", "Repaired")]
            events[:] = told if told_before else [*told, Event("Warning", "DeploymentRefused", message)]
            return error
        return None

    def _kick(self, key: Key, pool: Object, plan: Plan) -> _Progress | None:
        """Carry out what passes before this one have not, and return how far it is; None without a kick."""
        uid, value = pool["metadata"]["uid"], plan.kick_value
        progress = self._kicks.get(key)
        if progress and (progress.uid, progress.value) != (uid, value):
            del self._kicks[key]  # the pool's owner took it back, or wants another
            progress = None
        if (progress and progress.complete) or plan.kick is None or value is None:
            return progress
        before = progress.kicked if progress else {}
        left = None if plan.kick.most is None else plan.kick.most - sum(before.values())
        done = self._servers.kick(key, plan.kick.tubes, left)
        kicked = before | {tube: before.get(tube, 0) + count for tube, count in done.tubes.items()}
        progress = self._kicks[key] = _Progress(uid, value, kicked, done.error is None)
        if progress.complete:
            self._tell(pool, Event("Normal", "Kicked", _summary(value, kicked)))
        return progress

    def _show_kick(self, pool: Object, status: Object, kick: _Progress) -> None:
        if not kick.complete:
            message = f"kick={kick.value} waits: beanstalkd is out of reach; it goes on as soon as beanstalkd answers"
            self._condition(pool, status, Condition(KICK_ACCEPTED, "False", WAITING, message))
            return
        self._condition(pool, status, Condition(KICK_ACCEPTED, "True", "Kicked", _summary(kick.value, kick.kicked)))
        tubes = [{"name": name, "kicked": count} for name, count in kick.kicked.items()]
        total = sum(kick.kicked.values())
        status["lastKick"] = {"value": kick.value, "time": self._timestamp(), "kicked": total, "tubes": tubes}

    def _condition(self, pool: Object, status: Object, condition: Condition) -> None:
        before = pool.get("status", {}).get("conditions", [])
        generation = pool["metadata"]["generation"]
        others = [entry for entry in status["conditions"] if entry["type"] != condition.type]
        status["conditions"] = [*others, stamp(condition, before, generation, self._timestamp())]

    def _write(self, key: Key, pool: Object, status: Object) -> None:
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
