"""The operator's process: watches keep the cache, threads run the passes."""

import logging
import os
import socket
import sys
import threading
import time
import traceback
import uuid
from typing import Final

from tubeherd.configuration import WrongSettings
from tubeherd.logs import log
from tubeherd_operator.cluster.cache import Cache
from tubeherd_operator.cluster.client import Cluster, ClusterError
from tubeherd_operator.cluster.election import Election
from tubeherd_operator.cluster.events import Events
from tubeherd_operator.cluster.kinds import WATCHED, watch_name
from tubeherd_operator.cluster.watches import Watches
from tubeherd_operator.counted import Counted, PassFailure
from tubeherd_operator.decisions.rank import Rank, rank_of
from tubeherd_operator.decisions.report import UNWATCHED_SECONDS
from tubeherd_operator.ending import end
from tubeherd_operator.health import Health, serve
from tubeherd_operator.metrics.exposition import Exposition
from tubeherd_operator.objects import Key
from tubeherd_operator.passes.reconcile import Reconciler, Refused
from tubeherd_operator.passes.work_queue import WorkQueue
from tubeherd_operator.queues.servers import Servers
from tubeherd_operator.settings import OperatorSettings

_THREADS: Final = {Rank.OTHER: 8, Rank.REQUEST: 1}
"""So many passes run side by side, and mostly wait for the API server. One thread is kept for kicks and discards."""
_LAST_PASSES_SECONDS: Final = 5.0
"""How long to wait for the last passes before another operator may lead at once."""
_LAST_EVENTS_SECONDS: Final = 3.0
"""How long to wait until the last Events are written, when the passes have ended."""


def main() -> None:
    """Run the operator until it is stopped."""
    log.configure("auto", "info")
    logging.basicConfig(level=logging.WARNING, handlers=[_LibraryLogs()])
    logging.getLogger("urllib3").setLevel(logging.ERROR)  # the pass that made a request reports its failure
    logging.getLogger("kopf._cogs.clients").setLevel(logging.CRITICAL)  # `cluster.session` reports it once a watch
    try:
        settings = OperatorSettings.load(os.environ)
    except WrongSettings as error:
        sys.exit(str(error))
    for message in OperatorSettings.misspelt(os.environ):
        log.warning(message)
    threading.excepthook = _end_for_thread
    namespaces = settings.watch_namespaces
    counted = Counted()
    health = Health([watch_name(kind, namespace) for kind in WATCHED for namespace in namespaces or ("",)])
    queue = WorkQueue(lambda key: rank_of(cache.pool(key), cache.deployment(key)))
    cache = Cache(queue.add, queue.add_written, lambda key: queue.add(key, UNWATCHED_SECONDS))
    servers = Servers(settings.poll_interval, queue.add)
    acts = threading.Event()
    metrics = Exposition(counted, health, queue, cache, servers, acts.is_set)
    try:
        serve(settings.health, health, metrics.text)
    except OSError as error:
        sys.exit(f"TUBEHERD_OPERATOR_HEALTH: cannot listen on {settings.health}: {error.strerror or error}")
    cluster = Cluster(cache.put_written, counted.asked, sum(_THREADS.values()))
    events = Events(cluster)
    reconciler = Reconciler(cache, cluster, servers, settings, events.write, request_done=counted.requested)
    log.info("operator started", default_image=settings.default_image, default_server=settings.default_server)
    election = _election(settings.lease, cluster)
    arguments = (election, queue, reconciler, counted, acts)
    passes = threading.Thread(target=_start_passes, args=arguments, name="passes", daemon=True)
    Watches(
        cluster,
        cache,
        health,
        passes.start,
        namespaces,
        counted.asked,
        config_maps=settings.watch_config_maps,
    ).run()
    passes_have_ended = queue.close(_LAST_PASSES_SECONDS)
    events.finish(_LAST_EVENTS_SECONDS)
    if election and passes_have_ended:
        election.leave()  # at the very end, because another operator acts from then on


def _election(lease: str | None, cluster: Cluster) -> Election | None:
    """Return this operator's part in the election of the leader; None if it is alone."""
    if lease is None:
        return None
    namespace, name = lease.split("/")
    return Election(cluster, Key(namespace, name), f"{socket.gethostname()}_{uuid.uuid4().hex[:8]}")


def _start_passes(
    election: Election | None, queue: WorkQueue, reconciler: Reconciler, counted: Counted, acts: threading.Event
) -> None:
    """Start the threads that run passes, if this operator leads, and as soon as it is known what every pool serves.

    It takes part in the election only from now on: while it knows no pools, another may do more.
    """
    if election:
        for work in (election.guard, election.run):
            threading.Thread(target=work, name=f"election {work.__name__}", daemon=True).start()
        election.wait()
    reconciler.note_pools()
    acts.set()
    for last, count in _THREADS.items():
        for number in range(count):
            arguments = (queue, last, reconciler, counted)
            threading.Thread(target=_work, args=arguments, name=f"pass {last.name} {number}", daemon=True).start()


def _work(queue: WorkQueue, last: Rank, reconciler: Reconciler, counted: Counted) -> None:
    while True:
        key = queue.get(last)
        began = time.monotonic()
        failure: PassFailure | None = None
        try:
            again = reconciler.reconcile(key)
        except ClusterError as error:
            log.warning(f"pass failed, it is repeated: {error}", pool=str(key))
            failure = error.kind
            queue.failed(key, error.again_after if isinstance(error, Refused) else None)
        except Exception as error:  # one pool's trouble must not end the thread that serves the others
            trace = traceback.format_exc()
            log.error("pass failed, it is repeated", pool=str(key), error=repr(error), trace=trace)
            failure = "error"
            queue.failed(key)
        else:
            queue.done(key, again)
        counted.passed(time.monotonic() - began, failure)


def _end_for_thread(broken: threading.ExceptHookArgs) -> None:
    """End the process because one of its threads has ended by an error: without it the others would work blindly."""
    name = broken.thread.name if broken.thread else "of a library"
    trace = "".join(traceback.format_exception(broken.exc_type, broken.exc_value, broken.exc_traceback))
    end(f"the thread {name} has ended by an error", trace=trace)


class _LibraryLogs(logging.Handler):
    """Writes what libraries log in the format of our own lines."""

    def emit(self, record: logging.LogRecord) -> None:
        write = log.error if record.levelno >= logging.ERROR else log.warning
        trace = "".join(traceback.format_exception(*record.exc_info)) if record.exc_info else None
        write(record.getMessage(), logger=record.name, trace=trace)
