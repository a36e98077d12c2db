"""What the operator adds to the spec of a pool: numbered defaults, and the worker image of its installation.

An upgrade of the operator restarts no pod: a Deployment notes which defaults it has, and `kept_defaults` keeps them. So
a version that has been released never changes; golden files guard it. Other defaults are another version.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from pydantic import BaseModel, ConfigDict, ValidationError

DEFAULTS_ANNOTATION: Final = "tubeherd.io/defaults"
"""The annotation of a Deployment that has its record."""


@dataclass(frozen=True, slots=True)
class Additions:
    """What a version of the defaults adds, if the pool's spec says nothing else."""

    cpu: int = 0
    """Requested for each slot, in thousandths of a CPU; 0: nothing is requested."""
    memory: int = 0
    """Requested for the first slot and the supervisor, in MiB; 0: nothing is requested."""
    memory_further: int = 0
    """Requested for each further slot, in MiB."""
    tmp_size: str | None = None
    """At most so much may be in /tmp."""
    is_spread: bool = False
    """Whether the pods are spread over nodes and zones."""
    has_budget: bool = False
    """Whether there is a PodDisruptionBudget."""
    in_words: str = "none"


ADDITIONS: Final[Mapping[int, Additions]] = {
    1: Additions(),
    2: Additions(
        cpu=20,
        # Measured: 46 MiB with one slot and 10 more with each further, without what executors import and need.
        memory=64,
        memory_further=16,
        # The kubelet evicts a pod that has more, so this only keeps one that runs wild from filling its node.
        tmp_size="1Gi",
        is_spread=True,
        has_budget=True,
        in_words="requests for CPU and memory, a limit for /tmp, a spread over nodes and zones, a PodDisruptionBudget",
    ),
}
"""By version, the oldest first."""
NEWEST: Final = max(ADDITIONS)


@dataclass(frozen=True, slots=True)
class Defaults:
    """The defaults with which a Deployment is rendered."""

    version: int
    image: str
    """Of pools that name none."""

    @property
    def additions(self) -> Additions:
        """What this version adds."""
        return ADDITIONS[self.version]


class Record(BaseModel):
    """What a Deployment notes of its defaults."""

    model_config = ConfigDict(frozen=True, strict=True)

    version: int
    image: str | None = None
    """None if the pool's spec names an image."""
    template: str
    """The digest of the pod template as spec and defaults have it, without the digest of the executors."""

    def write(self) -> str:
        """Return the value of the annotation."""
        return self.model_dump_json(exclude_none=True)


def read_record(text: str | None) -> Record | None:
    """Return the record in the value of an annotation; None if it has none that this operator understands."""
    try:
        record = Record.model_validate_json(text or "")
    except ValidationError:
        return None
    return record if record.version in ADDITIONS else None
