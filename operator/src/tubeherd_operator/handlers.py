"""What kopf calls: each only says which pool to look at again."""

from collections.abc import Mapping
from typing import Any

import kopf

from tubeherd.pool import GROUP, PLURAL, VERSION
from tubeherd_operator.deployment import POOL_LABEL
from tubeherd_operator.workqueue import Key, WorkQueue


def register(registry: kopf.OperatorRegistry, queue: WorkQueue) -> None:
    """Have events of pools, their Deployments and their pods put pools into the queue."""

    async def pool_changed(namespace: str | None, name: str | None, **_: Any) -> None:
        queue.add(Key(str(namespace), str(name)))

    async def pod_changed(namespace: str | None, labels: Mapping[str, str], **_: Any) -> None:
        queue.add(Key(str(namespace), labels[POOL_LABEL]))

    ours = {POOL_LABEL: kopf.PRESENT}
    kopf.on.event(GROUP, VERSION, PLURAL, registry=registry)(pool_changed)
    # A Deployment has its pool's name, which nobody can change, unlike its labels.
    kopf.on.event("apps", "v1", "deployments", labels=ours, registry=registry)(pool_changed)
    kopf.on.event("", "v1", "pods", labels=ours, registry=registry)(pod_changed)
