"""How soon the operator acts, with few pools: on a new pool, a burial and a kick."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from random import Random
from typing import Final

from kubernetes import client, config

from tests.bench.operator.installation import Installation
from tests.bench.operator.progress import step
from tests.bench.operator.watching import Object, Watching
from tests.bench.report import figure
from tests.support.waiting import wait_for
from tubeherd.manager import QueueManager
from tubeherd.pool import GROUP, PLURAL, VERSION

SAMPLES: Final = 10
_RANDOM: Final = Random(1)  # noqa: S311 - times, no secret
_LOOK_SECONDS: Final = 0.005
"""How often beanstalkd is looked at."""


def measure(installed: Installation) -> list[list[str]]:
    """Measure all."""
    measures = (_create_to_deployment, _burial_to_status, _annotation_to_ready)
    lines = []
    for each in measures:
        with step(f"few pools: {each.__name__.replace('_', ' ').strip()}"):
            lines += each(installed)
    return lines


def _create_to_deployment(installed: Installation) -> list[list[str]]:
    """Measure from the request that creates a pool to the Deployment's arrival in a watch."""
    namespace, api, times = installed.namespace, _pools(), []
    with Watching.collection(f"/apis/apps/v1/namespaces/{namespace.name}/deployments") as deployments:
        for number in range(SAMPLES):
            pool = namespace.pool_object(f"new-{number}", {"tubes": ["ok"], "server": namespace.server, "replicas": 0})
            began = time.monotonic()
            api.create_namespaced_custom_object(GROUP, VERSION, namespace.name, PLURAL, pool)
            times.append(deployments.until(f"new-{number}", bool) - began)
    return [figure("few pools: pool created to its Deployment", times, "s", most=1)]


def _burial_to_status(installed: Installation) -> list[list[str]]:
    """Measure from the burial of a job for a new reason to the arrival of the reason in the pool's status."""
    times = []
    with _idle_pool(installed, "burials", "other") as pool, QueueManager(installed.queue.server, "other") as queue:
        for number in range(SAMPLES):
            queue.put("other", {})
            if (job := queue.get(timeout=1)) is None:
                raise RuntimeError("the job that was put is not ready")
            reason = f"reason number {number}"
            time.sleep(_RANDOM.uniform(0, 1))  # the operator looks in intervals: any part of one is as likely
            queue.bury(job, reason)
            began = time.monotonic()
            times.append(pool.until("burials", _shows(reason, number + 1)) - began)
    return [figure("few pools: job buried to its count and reason in the pool's status", times, "s", most=1)]


def _annotation_to_ready(installed: Installation) -> list[list[str]]:
    """Measure from the request that annotates a pool with a kick to the time at which the job is ready."""
    namespace, queue, api, times = installed.namespace, installed.queue, _pools(), []
    patch = {"metadata": {"annotations": {"kick": "1"}}}
    with _idle_pool(installed, "kicks", "ok") as pool:
        for _ in range(SAMPLES):
            queue.bury("ok", 1)
            pool.until("kicks", lambda item: item["status"]["buried"] == 1)
            began = time.monotonic()
            api.patch_namespaced_custom_object(GROUP, VERSION, namespace.name, PLURAL, "kicks", patch)
            wait_for(lambda: queue.count("ok")[0] == 1, "the job is ready", pause=_LOOK_SECONDS)
            times.append(time.monotonic() - began)
            pool.until("kicks", lambda item: item["status"]["buried"] == 0 and "request" not in item["status"])
            _delete_ready(installed, "ok")
    return [figure("few pools: annotation `kick` to the job's being ready", times, "s", most=0.25)]


@cache
def _pools() -> client.CustomObjectsApi:
    """Return what creates and changes pools. It is connected already, so that no measurement waits for that."""
    api = client.CustomObjectsApi(config.new_client_from_config(os.environ["KUBECONFIG"]))
    api.list_cluster_custom_object(GROUP, VERSION, PLURAL)
    return api


@contextmanager
def _idle_pool(installed: Installation, name: str, tube: str) -> Iterator[Watching]:
    """Make a pool without pods whose jobs are counted, and watch it."""
    namespace = installed.namespace
    with Watching.collection(f"/apis/{GROUP}/{VERSION}/namespaces/{namespace.name}/{PLURAL}") as pools:
        namespace.make_pool(name, [tube], replicas=0)
        pools.until(name, lambda item: item.get("status", {}).get("buried") == 0)
        yield pools


def _shows(reason: str, buried: int) -> Callable[[Object], bool]:
    def holds(item: Object) -> bool:
        status = item["status"]
        messages = [burial["message"] for burial in status.get("recentBurials", [])]
        return status["buried"] == buried and reason in messages

    return holds


def _delete_ready(installed: Installation, tube: str) -> None:
    queue = installed.queue.client()
    queue.watch(tube)
    queue.delete(queue.reserve(timeout=1))
    queue.close()
