"""The worker's metrics for Prometheus, each declared once: what /metrics shows is made from these rows.

`METRICS` lists them, and the documentation is checked against it.
"""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

if TYPE_CHECKING:
    from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

Histogram = tuple[Sequence[tuple[str, float]], float]
"""By the longest time of a bucket the number of times up to it, in order, and the sum of all times in seconds."""


class Metric(NamedTuple):
    """A metric as Prometheus scrapes it."""

    name: str
    """With the suffix `_total` of a counter. A histogram has `_bucket`, `_sum` and `_count` behind it in addition."""
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: tuple[str, ...] = ()

    def of(self, values: Iterable[tuple[Sequence[str], float]]) -> "CounterMetricFamily | GaugeMetricFamily":
        """Return a counter or gauge with these values, each behind the values of its labels."""
        # Imported late: `tubeherd.metrics` has to set a variable before the first import, which reads it.
        from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily

        family = (CounterMetricFamily if self.kind == "counter" else GaugeMetricFamily)(
            self.name, self.help, labels=self.labels
        )
        for labels, value in values:
            family.add_metric(labels, value)
        return family

    def single(self, value: float) -> "CounterMetricFamily | GaugeMetricFamily":
        """Return a counter or gauge without labels."""
        return self.of([((), value)])

    def histogram(self, values: Iterable[tuple[Sequence[str], Histogram]]) -> "HistogramMetricFamily":
        """Return a histogram with these values, each behind the values of its labels."""
        from prometheus_client.metrics_core import HistogramMetricFamily

        family = HistogramMetricFamily(self.name, self.help, labels=self.labels)
        for labels, (buckets, total) in values:
            family.add_metric(labels, buckets, total)
        return family


JOBS_RUNNING: Final = Metric(
    "tubeherd_jobs_running", "gauge", "Jobs that are being executed, or were and are held until the next worker.flush."
)
JOB_SECONDS: Final = Metric(
    "tubeherd_job_seconds",
    "histogram",
    "Time that executors and their listeners took, by tube, or glob, and by what became of the job.",
    ("tube", "verdict"),
)
JOB_FAILURES: Final = Metric(
    "tubeherd_job_failures_total",
    "counter",
    "Attempts at jobs that failed, by why; deadline: broken off because it took too long, poison: not even begun.",
    ("kind",),
)
LEASES_LOST: Final = Metric(
    "tubeherd_leases_lost_total",
    "counter",
    "Reservations that had ended too early, though the connection held: before the job began, before its verdict, or "
    "before its slot had died.",
)
RECONNECTS: Final = Metric(
    "tubeherd_reconnects_total", "counter", "Connections to beanstalkd that were opened in place of one that broke."
)
BURIAL_RECORDS_LOST: Final = Metric(
    "tubeherd_burial_records_lost_total",
    "counter",
    "Burials whose record could not be written, so that why is not known.",
)
SLOTS_WANTED: Final = Metric("tubeherd_slots_wanted", "gauge", "Slots that the worker is to have.")
SLOTS_RUNNING: Final = Metric(
    "tubeherd_slots_running", "gauge", "Slots that live, with those that still import executors or only finish jobs."
)
SLOTS_CONNECTED: Final = Metric("tubeherd_slots_connected", "gauge", "Slots that are connected to beanstalkd.")
SLOT_MEMORY: Final = Metric(
    "tubeherd_slot_memory_bytes",
    "gauge",
    "Memory of a slot and of the processes of its jobs, by the slot's place; what they share counts in full for each.",
    ("place",),
)
SLOT_MEMORY_LIMIT: Final = Metric(
    "tubeherd_slot_memory_limit_bytes", "gauge", "Memory above which a slot is killed; absent if there is no limit."
)
SLOT_RECYCLES: Final = Metric(
    "tubeherd_slot_recycles_total",
    "counter",
    "Slots that ended between jobs and were replaced, by why; late_job: a job was broken off in it.",
    ("reason",),
)
SLOT_DEATHS: Final = Metric(
    "tubeherd_slot_deaths_total",
    "counter",
    "Slots that died or were killed, by why; interrupted: for no fault of the slot or its jobs.",
    ("kind",),
)
WORKER_INFO: Final = Metric("tubeherd_worker_info", "gauge", "The version of the worker; always 1.", ("version",))

METRICS: Final = (
    JOBS_RUNNING,
    JOB_SECONDS,
    JOB_FAILURES,
    LEASES_LOST,
    RECONNECTS,
    BURIAL_RECORDS_LOST,
    SLOTS_WANTED,
    SLOTS_RUNNING,
    SLOTS_CONNECTED,
    SLOT_MEMORY,
    SLOT_MEMORY_LIMIT,
    SLOT_RECYCLES,
    SLOT_DEATHS,
    WORKER_INFO,
)
"""Every metric of a worker but those that executors define."""
