"""A pool as a pass finds it."""

from dataclasses import dataclass, field

from tubeherd.pool import WorkerPoolSpec
from tubeherd_operator.decisions.counts import Counts
from tubeherd_operator.objects import Object


@dataclass(frozen=True, slots=True)
class Observation:
    """A pool as it is, and the world around it."""

    pool: Object
    spec: WorkerPoolSpec
    image: str
    server: str | None
    """host:port of beanstalkd; None where neither the pool nor the installation names one."""
    deployment: Object | None = None
    pods: list[Object] = field(default_factory=list)
    executors_digest: str | None = None
    """Of the ConfigMap with the executors; None where the pool names none, or it does not exist."""
    counts: Counts | None = None

    @property
    def executors_missing(self) -> bool:
        """Whether the pool names a ConfigMap that does not exist."""
        return self.spec.executors is not None and self.executors_digest is None
