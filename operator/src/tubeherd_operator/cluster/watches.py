"""The functions that kopf calls when a watch brings a change: each only names the pool that is to be looked at."""

from collections.abc import Callable, Mapping
from typing import Any

import kopf

from tubeherd.pool import GROUP, PLURAL, VERSION
from tubeherd_operator.objects import POOL_LABEL, Key


def register(registry: kopf.OperatorRegistry, changed: Callable[[Key], None]) -> None:
    """Have `changed` called with a pool when the pool, its Deployment or one of its pods has changed."""

    async def pool_changed(namespace: str | None, name: str | None, **_: Any) -> None:
        changed(Key(str(namespace), str(name)))

    async def pod_changed(namespace: str | None, labels: Mapping[str, str], **_: Any) -> None:
        changed(Key(str(namespace), labels[POOL_LABEL]))

    ours = {POOL_LABEL: kopf.PRESENT}
    kopf.on.event(GROUP, VERSION, PLURAL, registry=registry)(pool_changed)
    # A Deployment has its pool's name, which nobody can change, unlike its labels.
    kopf.on.event("apps", "v1", "deployments", labels=ours, registry=registry)(pool_changed)
    kopf.on.event("", "v1", "pods", labels=ours, registry=registry)(pod_changed)
