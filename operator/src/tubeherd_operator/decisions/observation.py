"""A pool as a pass finds it, and the world around it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tubeherd.pool import WorkerPoolSpec
from tubeherd_operator.allowed_servers import is_allowed
from tubeherd_operator.decisions.autoscale import Scale, rule_of
from tubeherd_operator.decisions.burials import Burials
from tubeherd_operator.decisions.counts import Counts
from tubeherd_operator.decisions.deployment import declared_replicas
from tubeherd_operator.decisions.errands import Request
from tubeherd_operator.decisions.pods import present_pods
from tubeherd_operator.decisions.repairs import Repairs
from tubeherd_operator.decisions.request import Known
from tubeherd_operator.decisions.request_value import DEEDS, Deed
from tubeherd_operator.decisions.retries import Served
from tubeherd_operator.decisions.status import WorkerPoolStatus, read_status
from tubeherd_operator.objects import Key, Object, annotations_of, controller_of


@dataclass(frozen=True, slots=True)
class Pool:
    """A WorkerPool as it is stored, and what it asks for; the installation's defaults fill in what it leaves out."""

    stored: Object
    spec: WorkerPoolSpec
    status: WorkerPoolStatus
    default_image: str
    """Of pools that name none, as the installation has it now."""
    server: str | None
    """host:port of beanstalkd; None if neither the pool nor the installation names one, or if it is not allowed."""
    forbidden_server: str | None = None
    """The host:port that the pool names, if the installation does not allow it."""
    fixed_user: bool = True
    """Whether its pods run as the user that the operator chooses, and not as one that the cluster chooses."""

    @property
    def key(self) -> Key:
        """Namespace and name."""
        return Key(self.stored["metadata"]["namespace"], self.stored["metadata"]["name"])

    @property
    def uid(self) -> str:
        """The identity, which a later pool of the same name does not share."""
        return str(self.stored["metadata"]["uid"])

    @property
    def generation(self) -> int:
        """The number of the present spec, one higher after each change."""
        return int(self.stored["metadata"]["generation"])

    @property
    def why_no_server(self) -> str:
        """Why it has no server, if it has none."""
        if self.forbidden_server:
            return f"spec.server {self.forbidden_server} is none of the servers that this installation allows"
        return "no beanstalkd is named"

    @property
    def requests(self) -> Mapping[Deed, Request]:
        """What its annotations ask for, by their names."""
        annotations = self.stored["metadata"].get("annotations", {})
        return {deed: Request(self.uid, deed, annotations[deed]) for deed in DEEDS if deed in annotations}


def has_request(stored: Object) -> bool:
    """Return whether a stored pool is asked to kick or discard, or has a request that is not closed yet."""
    return "request" in stored.get("status", {}) or any(deed in annotations_of(stored) for deed in DEEDS)


def read_pool(
    stored: Object,
    default_image: str,
    default_server: str | None,
    allowed_servers: Sequence[str] | None = None,
    *,
    fixed_user: bool = True,
) -> Pool:
    """Return a pool from its object; raises ValidationError if its spec is not valid.

    If there are `allowed_servers`, the pool may name only these and the `default_server`.
    """
    spec = WorkerPoolSpec.model_validate(stored.get("spec"))
    server = spec.server or default_server
    if server is not None and server != default_server and not is_allowed(server, allowed_servers):
        return Pool(stored, spec, read_status(stored), default_image, None, server, fixed_user)
    return Pool(stored, spec, read_status(stored), default_image, server, None, fixed_user)


def replicas_so_far(pool: Pool, deployment: Object | None) -> int:
    """Return how many replicas autoscaling has set, or if it has not begun, how many the pool's Deployment has."""
    if pool.status.autoscale:
        return pool.status.autoscale.desired_replicas
    return int(deployment["spec"].get("replicas", 1)) if deployment else 0


@dataclass(frozen=True, slots=True)
class Observation:
    """All that a pass knows of a pool."""

    pool: Pool
    deployment: Object | None = None
    """The Deployment of the pool's name, whoever it belongs to."""
    replica_sets: list[Object] = field(default_factory=list)
    """Those that bear the pool's label."""
    pods: list[Object] = field(default_factory=list)
    """Those that bear the pool's label."""
    executors_digest: str | None = None
    """The digest of the ConfigMap with the executors; None if the pool names none, or it does not exist."""
    executors_watched: bool = True
    """Whether a change of that ConfigMap starts a pass; True if the pool names none."""
    budgets: list[Object] = field(default_factory=list)
    """The PodDisruptionBudgets that may select the pool's pods, and the one of its name, whoever they belong to."""
    counts: Counts | None = None
    """None if beanstalkd has not been asked yet."""
    burials: Burials | None = None
    """Why jobs are buried; None if the records have not been read yet."""
    others: Mapping[Key, Served] = field(default_factory=dict)
    """What the pools of the same beanstalkd serve that have another number of retry delays."""
    request: Known = field(default_factory=Known)
    """What this process knows of the pool's request beside the status."""
    now: float = 0.0
    """The time of the pass, in seconds since 1970."""
    repairs: Repairs = field(default_factory=Repairs)
    """What was repaired of late."""
    refusal: str | None = None
    """Why the API server refused the Deployment in this pass."""
    budget_refusal: str | None = None
    """Why the API server refused the PodDisruptionBudget in this pass."""
    wrong_template: str | None = None
    """What of the pool's template the operator must own; None if nothing."""
    overridden: tuple[str, ...] = ()
    """The fields of the Deployment and of the PodDisruptionBudget whose repair is no use."""

    @property
    def executors_missing(self) -> bool:
        """Whether the pool names a ConfigMap that does not exist."""
        return self.pool.spec.executors is not None and self.executors_digest is None

    @property
    def deployment_is_foreign(self) -> bool:
        """Whether a Deployment has the pool's name and does not belong to this very pool."""
        return self.deployment is not None and controller_of(self.deployment) != self.pool.uid

    @property
    def deployment_is_controlled(self) -> bool:
        """Whether the Deployment of the pool's name has an owner."""
        return self.deployment is not None and controller_of(self.deployment) is not None

    @property
    def scale(self) -> Scale | None:
        """How many replicas an autoscaled pool is to have; None if it is not autoscaled."""
        if (rule := rule_of(self.pool.spec)) is None:
            return None
        wanted = self.counts.scale if self.counts else None
        return wanted or Scale(rule.bounded(replicas_so_far(self.pool, self.deployment)))

    @property
    def declared_replicas(self) -> int | None:
        """How many pods the operator declares; None if it leaves that to others."""
        declared, scale = declared_replicas(self.pool.spec), self.scale
        return scale.replicas if declared is None and scale else declared

    @property
    def present_pods(self) -> list[Object]:
        """The pods that speak for the pool."""
        return present_pods(self.deployment, self.replica_sets, self.pods)

    @property
    def has_counts_of_this_server(self) -> bool:
        """Whether this process, or the stored status, has counts of the pool's present server."""
        if self.counts and self.counts.tubes:
            return True
        return self.pool.status.server == self.pool.server and self.pool.status.buried is not None

    @property
    def status_stands(self) -> bool:
        """Whether the stored status is left as it is, because this process has not asked beanstalkd yet.

        This is the case after a restart of the operator. The answer of beanstalkd starts the next pass at once.
        """
        stored = self.pool.status
        is_of_this_server = self.pool.server is not None and stored.server == self.pool.server
        return bool(stored.conditions) and is_of_this_server and self.counts is None
