"""The operator's process: kopf watches, threads run the passes."""

import itertools
import logging
import os
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from typing import Final

import kopf

from tubeherd.configuration import WrongSettings
from tubeherd.logs import log
from tubeherd_operator.cluster import watches
from tubeherd_operator.cluster.client import Cluster, ClusterError
from tubeherd_operator.objects import Key
from tubeherd_operator.passes.reconcile import Reconciler
from tubeherd_operator.passes.work_queue import WorkQueue
from tubeherd_operator.queues.servers import Servers
from tubeherd_operator.settings import OperatorSettings

_THREADS: Final = 4
_RESYNC_SECONDS: Final = 300.0
_LIST_AGAIN_SECONDS: Final = 5.0


def main() -> None:
    """Run the operator until it is stopped."""
    log.configure("auto", "info")
    logging.basicConfig(level=logging.WARNING, handlers=[_LibraryLogs()])
    logging.getLogger("urllib3").setLevel(logging.ERROR)  # the pass that made a request reports its failure
    try:
        settings = OperatorSettings.load(os.environ)
    except WrongSettings as error:
        sys.exit(str(error))
    for message in OperatorSettings.misspelt(os.environ):
        log.warning(message)
    queue = WorkQueue()
    cluster = Cluster()
    servers = Servers(settings.poll_interval, queue.add)
    reconciler = Reconciler(cluster, servers, settings)
    threading.Thread(target=_run, args=(queue, cluster, servers, reconciler), name="resync", daemon=True).start()
    registry = kopf.get_default_registry()  # it has the handlers that log in to the API server
    watches.register(registry, queue.add)
    log.info("operator started", default_image=settings.default_image, default_server=settings.default_server)
    kopf.run(
        registry=registry,
        settings=_kopf_settings(),
        clusterwide=True,
        standalone=True,
        # kopf would ask for a user name, which a pod does not have.
        identity="tubeherd-operator",  # type: ignore[arg-type]  # a private NewType of kopf
        liveness_endpoint=settings.health,
    )


def _run(queue: WorkQueue, cluster: Cluster, servers: Servers, reconciler: Reconciler) -> None:
    """Start the passes, and look at every pool now and then, in case a watch has died without an error."""
    _start_passes(queue, reconciler)
    while True:
        time.sleep(_RESYNC_SECONDS)
        _look_at_every_pool(queue, cluster, servers)


def _start_passes(queue: WorkQueue, reconciler: Reconciler) -> None:
    """Start the threads that run passes, as soon as it is known what every pool serves."""
    while True:
        try:
            reconciler.note_pools()
            break
        except ClusterError as error:
            log.warning(f"pools could not be listed, no pass runs before: {error}")
            time.sleep(_LIST_AGAIN_SECONDS)
    for number in range(_THREADS):
        threading.Thread(target=_work, args=(queue, reconciler), name=f"pass {number}", daemon=True).start()


def _work(queue: WorkQueue, reconciler: Reconciler) -> None:
    while True:
        key = queue.get()
        try:
            again = reconciler.reconcile(key)
        except ClusterError as error:
            log.warning(f"pass failed, it is repeated: {error}", pool=str(key))
            queue.failed(key)
        except Exception as error:  # one pool's trouble must not end the thread that serves the others
            trace = traceback.format_exc()
            log.error("pass failed, it is repeated", pool=str(key), error=repr(error), trace=trace)
            queue.failed(key)
        else:
            queue.done(key, again)


def _look_at_every_pool(queue: WorkQueue, cluster: Cluster, servers: Servers) -> None:
    """Have every pool looked at, also those that are gone and whose end no watch reported."""
    try:
        stored = [Key(pool["metadata"]["namespace"], pool["metadata"]["name"]) for pool in cluster.pools()]
    except ClusterError as error:
        log.warning(f"pools could not be listed: {error}")
        return
    for key in {*stored, *servers.pools()}:
        queue.add(key)


def _kopf_settings() -> kopf.OperatorSettings:
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    settings.scanning.disabled = True  # the chart installs the CRD before the operator
    # A watch can die without an error (kopf#957). So each watch ends after this many seconds, and another follows.
    settings.watching.server_timeout = 300
    settings.watching.client_timeout = 330
    settings.networking.error_backoffs = _Endless()
    return settings


class _Endless:
    """The pauses between attempts to reach the API server, in seconds. If they ran out, kopf would end the process."""

    def __iter__(self) -> Iterator[float]:
        return itertools.chain((0.5, 1.0, 2.0), itertools.repeat(5.0))


class _LibraryLogs(logging.Handler):
    """Writes what libraries log in the format of our own lines."""

    def emit(self, record: logging.LogRecord) -> None:
        write = log.error if record.levelno >= logging.ERROR else log.warning
        write(record.getMessage(), logger=record.name)
