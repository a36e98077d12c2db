"""Which pods go first when their number falls: those whose workers execute no job.

Kubernetes ends pods that are not ready first, and then those of the lowest deletion cost.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from tubeherd_operator.objects import Object

COST: Final = "controller.kubernetes.io/pod-deletion-cost"
_GOES_FIRST: Final = "-1000"


@dataclass(frozen=True, slots=True)
class Leaving:
    """Pods of which some are to go."""

    pods: Sequence[Object]
    """Those that are ready."""
    count: int
    """How many of them are to go."""

    @property
    def addresses(self) -> dict[str, str]:
        """The IP addresses of the pods, by name."""
        return {pod["metadata"]["name"]: pod["status"]["podIP"] for pod in self.pods}

    def costs(self, running: Mapping[str, int]) -> dict[str, str | None]:
        """Return the deletion costs that are to be changed, by pod; None removes one.

        `running` says how many jobs each pod executes. A pod that is not in it counts as busy.
        """
        idle = [pod for pod in self.pods if running.get(pod["metadata"]["name"]) == 0]
        first = sorted(idle, key=lambda pod: not _goes_first(pod))[: self.count]
        wanted = {pod["metadata"]["name"] for pod in first}
        return {
            name: _GOES_FIRST if name in wanted else None
            for pod in self.pods
            if _goes_first(pod) != ((name := pod["metadata"]["name"]) in wanted)
        }


def leaving(pods: Sequence[Object], replicas: int) -> Leaving | None:
    """Return of which of the living pods some go if only so many replicas stay; None if it does not matter which."""
    ready = [pod for pod in pods if _is_ready(pod)]
    count = len(ready) - replicas
    return Leaving(ready, count) if 0 < count < len(ready) else None


def _is_ready(pod: Object) -> bool:
    status = pod.get("status", {})
    ready = any((one["type"], one["status"]) == ("Ready", "True") for one in status.get("conditions", []))
    return ready and bool(status.get("podIP"))


def _goes_first(pod: Object) -> bool:
    return bool(pod["metadata"].get("annotations", {}).get(COST) == _GOES_FIRST)
