"""/metrics of a real worker counts what happens to its jobs, slots and connections."""

import urllib.request

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.support.executors import CODE
from tests.support.metrics import declared, shown
from tests.support.waiting import PATIENCE
from tubeherd.metric_table import METRICS, SLOT_MEMORY_LIMIT


def scraped(address):
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=PATIENCE) as answer:
        return list(text_string_to_metric_families(answer.read().decode()))


def figures(address):
    """Return each value by its name, without the common beginning, and the values of its labels."""
    samples = [sample for family in scraped(address) for sample in family.samples]
    return {
        " ".join([sample.name.removeprefix("tubeherd_"), *sample.labels.values()]): sample.value for sample in samples
    }


def test_what_happens_to_jobs_slots_and_connections_is_counted(beanstalkd, run_worker, address):
    options = ("--health", address, "--max-jobs", "2", "--job-timeout", "1s", "--retry-delays", "1h")
    worker = run_worker(beanstalkd.server, CODE, *options)

    def wait_for_figures(expected):
        worker.wait_for(lambda: expected.items() <= figures(address).items(), str(expected))

    worker.wait_for_line("connected")
    wait_for_figures({"slots_running": 1, "slots_connected": 1, "slots_wanted": 1, "slot_recycles_total limit": 0})
    beanstalkd.put_code("pass")
    beanstalkd.put_code("pass")
    wait_for_figures({"slot_recycles_total limit": 1, "slot_deaths_total killed": 0, "slots_connected": 1})
    beanstalkd.put_code("os.kill(os.getpid(), signal.SIGKILL)")
    wait_for_figures({"slot_deaths_total killed": 1, "job_failures_total killed": 1, "slots_connected": 1})
    beanstalkd.put_code("raise ValueError")
    wait_for_figures({"job_failures_total exception": 1, "slot_recycles_total limit": 2})
    beanstalkd.put_code("wait_for('never')")
    wait_for_figures({"job_failures_total deadline": 1, "slot_recycles_total late_job": 1, "reconnects_total": 0})
    beanstalkd.kill()
    wait_for_figures({"slots_running": 1, "slots_connected": 0})
    beanstalkd.start()
    wait_for_figures({"slots_connected": 1, "reconnects_total": 1, "job_seconds_count code retried": 3})
    assert 1_000_000 < figures(address)["slot_memory_bytes 0"] < 1_000_000_000
    assert shown(scraped(address)) == declared(set(METRICS) - {SLOT_MEMORY_LIMIT})
    assert worker.stop() == 0


DYING = """
from traces import note, wait_for
from tubeherd import events, executor
@executor("mail")
def mail(payload):
    note("begun")
    wait_for("go")

@events.job_failed.connect
def failed(job, error, reason, attempts):
    note(f"failed: {reason}")
"""


@pytest.mark.parametrize(
    ("refused", "told"), [("stats-job", []), ("release", ["failed: the slot died: signal 9 (SIGKILL)"])]
)
def test_failure_by_a_slots_death_is_counted_though_its_verdict_was_lost(
    beanstalkd, interceptor, run_worker, address, refused, told
):
    """Listeners are told what is known of the job. If `stats-job` is refused, that is not even its tube."""
    job = beanstalkd.put_numbers("mail", 1)[0]
    worker = run_worker(interceptor.server, DYING, "--health", address)
    worker.wait_for_notes("begun")
    interceptor.answers[refused] = [b"INTERNAL_ERROR"]
    worker.kill_slot()
    line = worker.wait_for_line("the slot died, and the verdict on its job was lost: INTERNAL_ERROR", job=job)
    assert line["reason"] == "the slot died: signal 9 (SIGKILL)"
    worker.wait_for(lambda: worker.notes() == ["begun", *told, "begun"], "the job runs again")
    worker.wait_for(lambda: figures(address)["job_failures_total killed"] == 1, "the failure is counted")
    worker.allow("go")
    worker.wait_for_line("deleted", job=job)
    assert worker.stop() == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("at_the_end", "kind"),
    [("os.kill(os.getpid(), signal.SIGKILL)", "killed"), ("wait_for('never')", "interrupted")],
)
def test_death_of_a_slot_in_which_only_a_late_job_is_left_is_counted(beanstalkd, run_worker, address, at_the_end, kind):
    """A listener of the last flush kills the slot, or takes so long that the supervisor does."""
    listener = f"from tubeherd import events\n@events.flush.connect\ndef flush(reason, count):\n  {at_the_end}\n"
    beanstalkd.put_code("pass")
    late = beanstalkd.put_code("threading.Thread(target=time.sleep, args=(1000,)).start(); time.sleep(1000)", ttr=2)
    options = ("--health", address, "--retry-delays", "none", "--drain-limit", "1s")
    worker = run_worker(beanstalkd.server, CODE + listener, *options)
    worker.wait_for_line("buried", job=late)
    worker.wait_for(lambda: figures(address)[f"slot_deaths_total {kind}"] == 1, "its death is counted")
    assert figures(address)["slot_recycles_total late_job"] == 0
    assert worker.stop() == 0


LOSING = """
import gc
from tubeherd import Job, executor
from tubeherd.policy import Delete
from tubeherd.queue.connection import Connection
@executor("mail")
def mail(payload, job: Job):
    # Takes the job away under the slot, as beanstalkd does when a lease runs out.
    (connection,) = [thing for thing in gc.get_objects() if isinstance(thing, Connection)]
    connection.settle(job.id, Delete())
"""


def test_lease_that_was_lost_is_counted_whether_or_not_its_job_had_begun(beanstalkd, interceptor, run_worker, address):
    interceptor.answers["stats-job"] = [b"NOT_FOUND"]
    beanstalkd.put_numbers("mail", 2)
    worker = run_worker(interceptor.server, LOSING, "--health", address)
    worker.wait_for_line("lease was gone before the job began")
    worker.wait_for_line("lease was gone: ")
    worker.wait_for(lambda: figures(address)["leases_lost_total"] == 2, "both are counted")
    assert worker.stop() == 0
