"""An API server and a beanstalkd in this process, which fail just where a test of the operator's passes wants it."""

from collections import Counter
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import replace
from typing import Any, TypeVar

from tubeherd_operator.cluster.client import ClusterError, Conflict
from tubeherd_operator.decisions.budget import build_budget
from tubeherd_operator.decisions.counts import Counts
from tubeherd_operator.decisions.errands import Done, Errand, Find, Found, Step
from tubeherd_operator.decisions.findings import PoolEvent
from tubeherd_operator.decisions.request_value import Deed
from tubeherd_operator.decisions.retries import Served
from tubeherd_operator.objects import FIELD_MANAGER, Key, Object

Result = TypeVar("Result")


class StoredPool:
    """One pool and its Deployment: the API server's answers to the operator's requests, and the operator's cache.

    `fail` has an error for the kind of request (`apply`, `status`, `remove`) that fails before it has an
    effect, `lose` one for those whose effect is there, but whose answer is lost.
    """

    def __init__(self, pool: Object | None, deployment: Object | None) -> None:
        self.all = [pool]
        self.live = deployment
        self.held_budgets = [build_budget(pool)] if pool else []
        self.fail: dict[str, Exception] = {}
        self.lose: dict[str, Exception] = {}
        self.writes: list[tuple[str, Any]] = []
        """What was done, with what was written."""
        self.versions: list[Any] = []
        """The pool after each change."""
        self.held = pool
        self.own_pods: list[Object] = []
        self.own_replica_sets: list[Object] = []
        self.behind = 0
        """How many changes the cache does not have yet."""
        self.meanwhile: Callable[[], None] | None = None
        """What happens before the next request that changes something; it happens once."""

    @property
    def held(self) -> Any:
        """The pool as it is stored; None if there is none."""
        return self.versions[-1]

    @held.setter
    def held(self, pool: Object | None) -> None:
        stored = deepcopy(pool)
        if stored is not None:
            stored["metadata"]["resourceVersion"] = str(len(self.versions) + 1)
        self.versions.append(stored)

    def pool(self, *key: str | Key) -> Object | None:
        """Return the pool: as it is if asked by namespace and name, or as the cache has it if asked by its key."""
        behind = self.behind if len(key) == 1 else 0
        found: Object | None = deepcopy(self.versions[max(0, len(self.versions) - 1 - behind)])
        return found

    def put(self, *_: Any) -> None:
        """Have the cache know the pool as it is."""
        self.behind = 0

    def pools(self) -> list[Any]:
        """Return what a test has put in line."""
        return self.all

    def deployment(self, *_: str) -> Object | None:
        """Return the Deployment."""
        return self.live

    def pods(self, *_: str) -> list[Object]:
        """Return the pods."""
        return self.own_pods

    def replica_sets(self, *_: str) -> list[Object]:
        """Return the ReplicaSets."""
        return self.own_replica_sets

    def budgets(self, *_: Key) -> list[Object]:
        """Return the PodDisruptionBudgets of the namespace."""
        return self.held_budgets

    def apply_budget(self, budget: Object) -> Object:
        """Create or change the PodDisruptionBudget of the pool."""

        def apply() -> Object:
            name = budget["metadata"]["name"]
            self.held_budgets = [each for each in self.held_budgets if each["metadata"]["name"] != name] + [budget]
            return budget

        return self._do("budget", budget, apply)

    def delete_budget(self, budget: Object) -> None:
        """Delete a PodDisruptionBudget."""
        self._do("delete budget", budget, lambda: self.held_budgets.remove(budget))

    def apply_deployment(self, deployment: Object, manager: str = FIELD_MANAGER) -> Object | None:
        """Create or change the Deployment."""

        def apply() -> Object | None:
            if manager != FIELD_MANAGER:
                return self.live
            generation = self.live["metadata"]["generation"] + 1 if self.live else 1
            metadata = deployment["metadata"] | {"generation": generation}
            self.live = deployment | {"metadata": metadata, "status": self.live["status"] if self.live else {}}
            return self.live

        return self._do("apply", deployment, apply)

    def patch_deployment(self, _namespace: str, _name: str, patch: list[Object]) -> None:
        """Note a patch of the Deployment."""
        self._do("patch", patch, lambda: None)

    def write_status(self, _namespace: str, _name: str, patch: Mapping[str, Any], version: str | None = None) -> Object:
        """Merge into the status."""

        def write() -> Object:
            if version is not None and version != self.held["metadata"]["resourceVersion"]:
                raise Conflict(409, "the object has been modified")
            self.held = _merged(self.held, {"status": patch})
            stored: Object = self.held
            return stored

        return self._do("status", patch, write)

    def remove_annotation(self, _namespace: str, _name: str, key: str, version: str) -> bool:
        """Remove the annotation."""

        def remove() -> bool:
            if version != self.held["metadata"]["resourceVersion"]:
                return False
            self.held = _merged(self.held, {"metadata": {"annotations": {key: None}}})
            return True

        return self._do("remove", key, remove)

    def annotate_pod(self, _namespace: str, name: str, _key: str, value: str | None) -> None:
        """Note an annotation of a pod."""
        self._do("mark", (name, value), lambda: None)

    def note_event(self, _pool: Object, event: PoolEvent, _now: str) -> None:
        """Note the reason of an Event."""
        self.writes.append(("event", event.reason))

    def annotate(self, value: str | None, deed: Deed = "kick") -> None:
        """Set or remove an annotation, as a user does."""
        self.held = _merged(self.held, {"metadata": {"annotations": {deed: value}}})

    @property
    def annotations(self) -> dict[Deed, str]:
        """The annotations of the pool."""
        found: dict[Deed, str] = self.held["metadata"].get("annotations", {})
        return found

    @property
    def annotation(self) -> str | None:
        """The value of the annotation `kick`."""
        return self.annotations.get("kick")

    def condition(self, type_: str) -> Object:
        """Return a condition of the pool."""
        found: Object = next(entry for entry in self.held["status"]["conditions"] if entry["type"] == type_)
        return found

    def events(self, reason: str) -> int:
        """Return how many Events with this reason were created."""
        return self.writes.count(("event", reason))

    def _do(self, what: str, value: Any, act: Callable[[], Result]) -> Result:
        if self.meanwhile:
            happens, self.meanwhile = self.meanwhile, None
            happens()
        if what in self.fail:
            raise self.fail[what]
        done = act()
        if what not in self.lose:
            self.writes.append((what, value))
            return done
        raise self.lose[what]


class Tubes:
    """The jobs of a beanstalkd, of which only the buried ones matter."""

    def __init__(self, **buried: int) -> None:
        self.buried = buried
        self.done: Counter[Deed] = Counter()
        """How many jobs were kicked and deleted."""

    @property
    def kicked(self) -> int:
        """How many jobs were kicked."""
        return self.done["kick"]

    def change(self, deed: Deed, tube: str, most: int) -> int:
        """Kick or delete buried jobs."""
        done = min(most, self.buried.get(tube, 0))
        if done:
            self.buried[tube] -= done
        self.done[deed] += done
        return done


class Errands:
    """Beanstalkd's side of one operator: it runs an errand when a test wants it, and counts what a test says."""

    def __init__(self, tubes: Tubes, counted: Counts | None) -> None:
        self.tubes = tubes
        self.counted = counted
        self.watched: dict[Key, tuple[str, Served]] = {}
        self.beside: dict[Key, Served] = {}
        self.given: list[Errand] = []
        """All errands, the oldest first."""
        self._errand: Errand | None = None

    def watch(self, key: Key, server: str, served: Served, _replicas: int = 0) -> None:
        """Note what a pool serves."""
        self.watched[key] = (server, served)

    def forget(self, key: Key) -> None:
        """Forget a pool."""
        self.watched.pop(key, None)

    def others(self, *_: Key) -> dict[Key, Served]:
        """Return what a test says."""
        return self.beside

    def counts(self, *_: Key) -> Counts | None:
        """Return what a test says."""
        return self.counted

    def burials(self, *_: Key) -> None:
        """Return that the records have not been read yet."""

    def give(self, _key: Key, errand: Errand | None) -> None:
        """Take an errand."""
        self._errand = errand
        if errand:
            self.given.append(errand)

    def errand(self, _key: Key) -> Errand | None:
        """Return the errand."""
        return self._errand

    @property
    def waits(self) -> bool:
        """Whether an errand waits to be run."""
        return self._errand is not None and self._errand.answer is None

    @property
    def asks_for_a_step(self) -> bool:
        """Whether the errand that waits is to kick or delete jobs."""
        return self.waits and self._errand is not None and isinstance(self._errand.work, Step)

    def run(self, lost: str = "") -> Errand:
        """Run the errand that waits, and return it.

        The connection breaks, if `lost` is `unsent`, before its command is sent; `before`, before beanstalkd has read
        it; `after`, when beanstalkd has done it.
        """
        assert self._errand is not None
        errand = self._errand
        answer: Found | Done
        match errand.work:
            case Find(_, wanted):
                buried = {tube: self.tubes.buried.get(tube, 0) for tube in wanted.tubes.named}
                answer = Found({}, "connection lost") if lost else Found(buried)
            case Step() as step:
                answer = self._run(step, lost)
        self._errand = replace(errand, answer=answer)
        return errand

    def _run(self, step: Step, lost: str) -> Done:
        *first, last = step.most
        done = {tube: self.tubes.change(step.deed, tube, step.most[tube]) for tube in first}
        if lost == "unsent":
            return Done(done, error="connection lost")
        if lost != "before":
            done[last] = self.tubes.change(step.deed, last, step.most[last])
        if not lost:
            return Done(done)
        done.pop(last, None)
        return Done(done, last, "connection lost")


def _merged(thing: Any, patch: Mapping[str, Any]) -> Any:
    """Return an object with a merge patch applied, as RFC 7386 says."""
    merged = dict(thing) if isinstance(thing, dict) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = _merged(merged.get(key), value) if isinstance(value, Mapping) else value
    return merged


DOWN = ClusterError(503, "down")
"""What a request ends with whose answer is lost, or which has not reached the API server."""
