"""What the operator counts for its metrics: passes, requests to the API server, kicks and discards."""

from typing import Final, Literal, get_args

from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics

from tubeherd.metric_table import Metric
from tubeherd_operator import metric_table as table

PassFailure = Literal["unreachable", "refused", "conflict", "overloaded", "answer", "error"]
_PASS_BUCKETS: Final = (0.001, 0.005, 0.02, 0.1, 0.5, 2.0, 10.0, 60.0)
"""In seconds. A pass that finds nothing to do takes a millisecond, one with a request to the API server some more."""


class Counted:
    """The counters of one operator; safe to use from several threads."""

    def __init__(self) -> None:
        disable_created_metrics()  # each counter would have a second series that says since when it counts
        self.registry = CollectorRegistry()
        self._pass_seconds = Histogram(
            table.PASS_SECONDS.name, table.PASS_SECONDS.help, registry=self.registry, buckets=_PASS_BUCKETS
        )
        self._pass_failures = self._counter(table.PASS_FAILURES)
        for kind in get_args(PassFailure):
            self._pass_failures.labels(kind)
        self._api_requests = self._counter(table.API_REQUESTS)
        self._requests = {
            "kick": (self._counter(table.KICKS), self._counter(table.KICKED_JOBS)),
            "discard": (self._counter(table.DISCARDS), self._counter(table.DISCARDED_JOBS)),
        }

    def passed(self, seconds: float, failure: PassFailure | None) -> None:
        """Count a pass, and why it failed if it has."""
        self._pass_seconds.observe(seconds)
        if failure is not None:
            self._pass_failures.labels(failure).inc()

    def asked(self, verb: str, resource: str, status: int) -> None:
        """Count a request to the API server; `status` is that of HTTP, or 0 if there was no answer."""
        self._api_requests.labels(verb, resource, str(status)).inc()

    def requested(self, deed: Literal["kick", "discard"], jobs: int) -> None:
        """Count a kick or discard that has come to its end, and how many jobs it kicked or deleted."""
        requests, changed = self._requests[deed]
        requests.inc()
        changed.inc(jobs)

    def _counter(self, metric: Metric) -> Counter:
        return Counter(metric.name, metric.help, metric.labels, registry=self.registry)
