"""Has the pods go first whose workers execute no job, when the number of pods falls."""

from collections.abc import Callable, Mapping

from tubeherd.logs import log
from tubeherd_operator.cluster.client import Cluster, ClusterError
from tubeherd_operator.decisions.leaving import COST, Leaving
from tubeherd_operator.objects import Key

Ask = Callable[[Mapping[str, str]], Mapping[str, int]]


def mark_idle_pods(cluster: Cluster, ask: Ask, key: Key, leaving: Leaving) -> None:
    """Ask the pods of a pool what they do, and mark those that are idle.

    `ask` returns how many jobs the workers at these addresses execute. If a mark cannot be written, it is only logged:
    a worker whose pod goes finishes its jobs in any case.
    """
    addresses = leaving.addresses
    running = ask(addresses)
    if silent := sorted(addresses.keys() - running.keys()):
        some = f"{len(silent)} of {len(addresses)} pods, such as {silent[0]}, did"
        log.warning(f"{some} not say how many jobs they execute, and count as busy", pool=str(key))
    for name, cost in leaving.costs(running).items():
        try:
            cluster.annotate_pod(key.namespace, name, COST, cost)
        except ClusterError as error:
            log.warning(f"pods that are idle could not be marked to go first: {error}", pool=str(key))
            return
