"""How far a Deployment is, from its status."""

from typing import NamedTuple

from tubeherd_operator.decisions.observation import Observation
from tubeherd_operator.decisions.pods import is_observed


class Rollout(NamedTuple):
    """How many pods there are, and how many of them are as the pool's spec says."""

    wanted: int
    """As the pool says, or if it says nothing, as others have scaled the Deployment."""
    pods: int
    """Pods that exist."""
    ready: int
    updated: int
    """Pods of the present spec."""
    done: bool
    """Whether all pods that are wanted, and no others, are of the present spec and ready."""


def rollout_of(seen: Observation) -> Rollout:
    """Return the rollout of a pool's Deployment; nothing is ready if there is none, or if it is not the pool's."""
    live = {} if seen.deployment is None or seen.deployment_is_foreign else seen.deployment
    wanted = seen.declared_replicas
    if wanted is None:
        wanted = live.get("spec", {}).get("replicas", 1)
    status = live.get("status", {})
    ready, updated, pods = (status.get(name, 0) for name in ("readyReplicas", "updatedReplicas", "replicas"))
    is_present = not (seen.refusal or seen.wrong_template)  # otherwise the live Deployment is that of an earlier spec
    updated = updated if is_present else 0
    current = bool(live) and is_present and is_observed(live)
    done = current and ready >= wanted and updated >= wanted and pods == wanted
    return Rollout(wanted, pods, ready, updated, done)
