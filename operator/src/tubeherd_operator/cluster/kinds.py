"""The kinds of objects that the operator watches, and where the API server has them."""

from typing import Final, NamedTuple

from tubeherd.pool import GROUP, PLURAL, VERSION
from tubeherd_operator.objects import POOL_LABEL, Key, Object


class Kind(NamedTuple):
    """A kind of objects; if it has a selector, only those that have this label."""

    group: str
    version: str
    plural: str
    selector: str = ""

    def path(self, namespace: str = "", name: str = "") -> str:
        """Return the path of the whole kind, of those in a namespace, or of one object."""
        root = f"apis/{self.group}" if self.group else "api"
        where = ["namespaces", namespace] if namespace else []
        return "/" + "/".join([root, self.version, *where, self.plural, *([name] if name else [])])


POOLS: Final = Kind(GROUP, VERSION, PLURAL)
DEPLOYMENTS: Final = Kind("apps", "v1", "deployments", POOL_LABEL)
REPLICA_SETS: Final = Kind("apps", "v1", "replicasets", POOL_LABEL)
PODS: Final = Kind("", "v1", "pods", POOL_LABEL)
BUDGETS: Final = Kind("policy", "v1", "poddisruptionbudgets")
CONFIG_MAPS: Final = Kind("", "v1", "configmaps")
"""`config_maps` watches them."""
WATCHED: Final = (POOLS, DEPLOYMENTS, REPLICA_SETS, PODS, BUDGETS)
"""The kinds that kopf watches."""


def watch_name(kind: Kind, namespace: str) -> str:
    """Return how a watch is called for users; `namespace` is "" if it is for the whole cluster."""
    return f"{kind.plural} in {namespace}" if namespace else kind.plural


def key_of(item: Object) -> Key:
    """Return namespace and name of an object."""
    return Key(item["metadata"]["namespace"], item["metadata"]["name"])


def pool_label_of(item: Object) -> Key:
    """Return the pool whose label a ReplicaSet or a pod has."""
    return Key(item["metadata"]["namespace"], item["metadata"].get("labels", {}).get(POOL_LABEL, ""))


def pool_selected_by(budget: Object) -> Key:
    """Return the pool whose pods a PodDisruptionBudget selects and no others; without a name if that is not so."""
    match budget.get("spec", {}).get("selector"):
        case {"matchLabels": {"tubeherd.io/pool": str(name), **others}, **more} if not others and not more:
            return Key(budget["metadata"]["namespace"], name)
    return Key(budget["metadata"]["namespace"], "")


def executors_of(pool: Object) -> Key:
    """Return the ConfigMap from which a pool takes its executors; its name is empty if there is none."""
    try:
        name = str(pool["spec"]["executors"]["configMap"])
    except (KeyError, TypeError):  # a stored pool need not be valid
        name = ""
    return Key(pool["metadata"]["namespace"], name)
