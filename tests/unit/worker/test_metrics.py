"""What /metrics of a worker shows, and that each of its metrics is one of the declared ones."""

import pytest
from prometheus_client import values
from prometheus_client.parser import text_string_to_metric_families

from tests.support.metrics import declared, shown
from tubeherd.metric_table import METRICS
from tubeherd.metrics import Metrics, Recycled, Slots
from tubeherd.policy import BurialKind
from tubeherd.shared_memory.tally import Incident, VerdictLabel
from tubeherd.version import version

SLOTS = Slots(
    jobs_running=3, wanted=2, running=3, connected=1, memory={0: 31_000_000, 3: 8_000_000}, memory_limit=64_000_000
)
EXPECTED = """\
tubeherd_jobs_running 3.0
tubeherd_job_seconds_bucket{le="0.001",tube="mail",verdict="deleted"} 1.0
tubeherd_job_seconds_bucket{le="0.01",tube="mail",verdict="deleted"} 1.0
tubeherd_job_seconds_bucket{le="0.1",tube="mail",verdict="deleted"} 1.0
tubeherd_job_seconds_bucket{le="1.0",tube="mail",verdict="deleted"} 3.0
tubeherd_job_seconds_bucket{le="10.0",tube="mail",verdict="deleted"} 3.0
tubeherd_job_seconds_bucket{le="60.0",tube="mail",verdict="deleted"} 3.0
tubeherd_job_seconds_bucket{le="600.0",tube="mail",verdict="deleted"} 3.0
tubeherd_job_seconds_bucket{le="+Inf",tube="mail",verdict="deleted"} 3.0
tubeherd_job_seconds_count{tube="mail",verdict="deleted"} 3.0
tubeherd_job_seconds_sum{tube="mail",verdict="deleted"} 0.75
tubeherd_job_seconds_bucket{le="0.001",tube="mail",verdict="lease_gone"} 0.0
tubeherd_job_seconds_bucket{le="0.01",tube="mail",verdict="lease_gone"} 0.0
tubeherd_job_seconds_bucket{le="0.1",tube="mail",verdict="lease_gone"} 0.0
tubeherd_job_seconds_bucket{le="1.0",tube="mail",verdict="lease_gone"} 0.0
tubeherd_job_seconds_bucket{le="10.0",tube="mail",verdict="lease_gone"} 0.0
tubeherd_job_seconds_bucket{le="60.0",tube="mail",verdict="lease_gone"} 0.0
tubeherd_job_seconds_bucket{le="600.0",tube="mail",verdict="lease_gone"} 0.0
tubeherd_job_seconds_bucket{le="+Inf",tube="mail",verdict="lease_gone"} 1.0
tubeherd_job_seconds_count{tube="mail",verdict="lease_gone"} 1.0
tubeherd_job_seconds_sum{tube="mail",verdict="lease_gone"} 700.0
tubeherd_job_failures_total{kind="exception"} 0.0
tubeherd_job_failures_total{kind="invalid"} 0.0
tubeherd_job_failures_total{kind="deadline"} 2.0
tubeherd_job_failures_total{kind="memory"} 0.0
tubeherd_job_failures_total{kind="killed"} 0.0
tubeherd_job_failures_total{kind="poison"} 0.0
tubeherd_job_failures_total{kind="rejected"} 0.0
tubeherd_leases_lost_total 2.0
tubeherd_reconnects_total 1.0
tubeherd_burial_records_lost_total 0.0
tubeherd_slots_wanted 2.0
tubeherd_slots_running 3.0
tubeherd_slots_connected 1.0
tubeherd_slot_memory_bytes{place="0"} 3.1e+07
tubeherd_slot_memory_bytes{place="3"} 8e+06
tubeherd_slot_memory_limit_bytes 6.4e+07
tubeherd_slot_recycles_total{reason="limit"} 1.0
tubeherd_slot_recycles_total{reason="memory"} 0.0
tubeherd_slot_recycles_total{reason="late_job"} 0.0
tubeherd_slot_recycles_total{reason="reload"} 0.0
tubeherd_slot_deaths_total{kind="deadline"} 0.0
tubeherd_slot_deaths_total{kind="memory"} 0.0
tubeherd_slot_deaths_total{kind="killed"} 1.0
tubeherd_slot_deaths_total{kind="interrupted"} 0.0
tubeherd_worker_info{version="VERSION"} 1.0
"""


@pytest.fixture
def metrics(monkeypatch):
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", "restored afterwards")
    monkeypatch.setattr(values, "ValueClass", None)
    metrics = Metrics()
    yield metrics
    metrics.files.remove()


@pytest.fixture
def text(metrics):
    """What is shown after one slot has ended, another one lives, and the supervisor has counted too."""
    for seconds in (0.0, 0.25):
        tally = metrics.open_tally()
        tally.begin(["mail"])
        tally.count("mail", VerdictLabel.DELETED, seconds)
        tally.count_incident(Incident.DEADLINE)
        if not seconds:
            metrics.keep(tally)
            tally.close()
    metrics.count("mail", VerdictLabel.DELETED, 0.5)
    metrics.count("mail", VerdictLabel.LEASE_GONE, 700)
    metrics.count_incident(Incident.LOST_LEASE)
    metrics.count_incident(Incident.RECONNECT)
    metrics.count_recycled(Recycled.LIMIT)
    metrics.count_death(BurialKind.KILLED)
    return metrics.text(SLOTS).decode()


def test_what_the_worker_has_seen_is_shown(text):
    values_only = "".join(line for line in text.splitlines(keepends=True) if not line.startswith("#"))
    assert values_only == EXPECTED.replace("VERSION", version())


def test_every_metric_is_declared_and_every_declared_one_is_shown(text):
    assert shown(text_string_to_metric_families(text)) == declared(METRICS)


def test_limit_of_memory_is_absent_where_there_is_none(metrics):
    assert "tubeherd_slot_memory_limit_bytes" not in metrics.text(SLOTS._replace(memory_limit=None)).decode()
