"""The kinds of objects that the operator watches, and where the API server has them."""

from typing import Final, NamedTuple

from tubeherd.pool import GROUP, PLURAL, VERSION
from tubeherd_operator.objects import POOL_LABEL, Key, Object


class Kind(NamedTuple):
    """A kind of objects; with a selector only those that have this label."""

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
WATCHED: Final = (POOLS, DEPLOYMENTS, REPLICA_SETS, PODS)


def key_of(item: Object) -> Key:
    """Return namespace and name of an object."""
    return Key(item["metadata"]["namespace"], item["metadata"]["name"])


def pool_of(kind: Kind, item: Object) -> Key:
    """Return the pool that an object belongs to, or would belong to if there were one."""
    if kind in (POOLS, DEPLOYMENTS):  # a Deployment has its pool's name, which nobody can change, unlike its labels
        return key_of(item)
    return Key(item["metadata"]["namespace"], item["metadata"].get("labels", {}).get(POOL_LABEL, ""))
