"""The operator's process: watches keep the cache, threads run the passes."""

import logging
import os
import sys
import threading
import traceback
from typing import Final

from tubeherd.configuration import WrongSettings
from tubeherd.logs import log
from tubeherd_operator.cluster.cache import Cache
from tubeherd_operator.cluster.client import Cluster, ClusterError
from tubeherd_operator.cluster.kinds import WATCHED
from tubeherd_operator.cluster.watches import Watches
from tubeherd_operator.health import Health, serve
from tubeherd_operator.passes.reconcile import Reconciler
from tubeherd_operator.passes.work_queue import WorkQueue
from tubeherd_operator.queues.servers import Servers
from tubeherd_operator.settings import OperatorSettings

_THREADS: Final = 4


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
    health = Health([kind.plural for kind in WATCHED])
    try:
        serve(settings.health, health)
    except OSError as error:
        sys.exit(f"TUBEHERD_OPERATOR_HEALTH: cannot listen on {settings.health}: {error.strerror or error}")
    queue = WorkQueue()
    cache = Cache(queue.add)
    cluster = Cluster(cache.put)
    servers = Servers(settings.poll_interval, queue.add)
    reconciler = Reconciler(cache, cluster, servers, settings)
    log.info("operator started", default_image=settings.default_image, default_server=settings.default_server)
    Watches(cluster, cache, health, lambda: _start_passes(queue, reconciler)).run()


def _start_passes(queue: WorkQueue, reconciler: Reconciler) -> None:
    """Start the threads that run passes, as soon as it is known what every pool serves."""
    reconciler.note_pools()
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


class _LibraryLogs(logging.Handler):
    """Writes what libraries log in the format of our own lines."""

    def emit(self, record: logging.LogRecord) -> None:
        write = log.error if record.levelno >= logging.ERROR else log.warning
        write(record.getMessage(), logger=record.name)
