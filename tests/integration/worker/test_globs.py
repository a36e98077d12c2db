"""Tubes that globs match: found as they come, left as they go, and no job is lost or left to wait for good."""

import json
import urllib.request

import pytest

from tests.support.beanstalkd import NOTHING
from tests.support.burials import burial_records

SOON = "from tubeherd.slot import watched\nwatched._LOOK_SECONDS = 0.3\nwatched._UNUSED_SECONDS = 2.0\n"
"""Executors that begin with this let their slots look all the time, and soon leave tubes that nobody uses."""

REPORTS = """
from traces import note, wait_for
from tubeherd import Job, executor

@executor("reports.*")
def report(payload, job: Job):
    note(f"{job.tube} {payload}")
    if payload == "wait":
        wait_for("go")
    if payload == "fail":
        raise ValueError("no such month")

@executor("reports.weekly")
def weekly(payload, job: Job):
    note(f"weekly {job.tube} {payload}")

@executor("mail")
def mail(payload):
    note(f"mail {payload}")
"""
COROUTINES = REPORTS.replace("def report(", "async def report(")


def put(beanstalkd, tube, payload=1, **options):
    return beanstalkd.put(tube, json.dumps(payload), **options)


@pytest.mark.parametrize("options", [(), ("--async-concurrency", "3"), ("--concurrency", "3")], ids=" ".join)
def test_tube_that_comes_later_is_served_and_an_excluded_one_is_not(beanstalkd, run_worker, options):
    worker = run_worker(
        beanstalkd.server, REPORTS, "--include", "reports.*", "--exclude", "reports.test*,*.no", *options
    )
    worker.wait_for(lambda: beanstalkd.waiting("reports.weekly"), "it waits")
    for tube in ("reports.a", "reports.test1", "reports.no", "reports.weekly", "mail", "default", "reports"):
        put(beanstalkd, tube)
    worker.wait_for_notes("reports.a 1", "weekly reports.weekly 1")
    put(beanstalkd, "reports.b")
    worker.wait_for_notes("reports.b 1")
    assert sorted(worker.notes()) == ["reports.a 1", "reports.b 1", "weekly reports.weekly 1"]
    for tube in ("reports.test1", "reports.no", "mail", "default", "reports"):
        assert beanstalkd.count(tube) == NOTHING | {"ready": 1}
    assert worker.stop() == 0


@pytest.mark.parametrize("options", [(), ("--async-concurrency", "2")], ids=" ".join)
def test_worker_whose_glob_matches_nothing_is_connected_and_waits(beanstalkd, run_worker, address, options):
    put(beanstalkd, "default")
    worker = run_worker(
        beanstalkd.server, SOON + REPORTS, "--include", "reports.q*", "--health", address,
        "--concurrency", "2", *options,
    )  # fmt: skip
    worker.wait_for_lines("connected", 2, tube_count=0)
    worker.wait_for_line("no tube matches reports.q* yet", level="info")
    with urllib.request.urlopen(f"http://{address}/readyz", timeout=30) as answer:
        assert answer.status == 200
    put(beanstalkd, "reports.q1")
    worker.wait_for_notes("reports.q1 1")
    assert beanstalkd.count("default") == NOTHING | {"ready": 1}
    assert len(worker.lines("no tube matches")) == 1
    assert worker.stop() == 0


def test_it_stops_at_once_while_nothing_matches(beanstalkd, run_worker):
    worker = run_worker(beanstalkd.server, REPORTS.replace("weekly", "weeks"), "--include", "reports.q*")
    worker.wait_for_line("connected", tube_count=0)
    assert worker.stop(seconds=40) == 0


def test_until_empty_ends_when_no_tube_that_matches_has_a_job(beanstalkd, run_worker):
    for number in range(20):
        put(beanstalkd, f"reports.{number}")
    putting = f"""
from tubeherd import QueueManager
@executor("reports.3")
def more(payload):
    QueueManager("{beanstalkd.server}").put("reports.more", 5)
    note("more")
"""
    worker = run_worker(beanstalkd.server, REPORTS + putting, "--until-empty")
    assert worker.exit_code() == 0
    assert len(worker.notes()) == 21
    assert "reports.more 5" in worker.notes()
    nothing = run_worker(beanstalkd.server, REPORTS, "--until-empty", "--include", "reports.q*")
    assert nothing.exit_code() == 0


@pytest.mark.parametrize("options", [(), ("--concurrency", "2", "--async-concurrency", "3")], ids=" ".join)
def test_tube_that_nobody_uses_vanishes_and_is_served_when_it_comes_again(beanstalkd, run_worker, options):
    worker = run_worker(beanstalkd.server, SOON + COROUTINES, "--include", "reports.*", *options)
    client = beanstalkd.client()
    for tube in ("reports.a", "reports.b"):
        client.put_in(tube, b"1")
    client.use("default")
    worker.wait_for_notes("reports.a 1", "reports.b 1")
    worker.wait_for(lambda: not {"reports.a", "reports.b"} & {*client.tubes()}, "both have vanished")
    client.put_in("reports.b", b"2")
    worker.wait_for_notes("reports.b 2")
    assert worker.stop() == 0


@pytest.mark.slow
def test_tube_with_delayed_or_buried_jobs_stays(beanstalkd, run_worker):
    worker = run_worker(beanstalkd.server, SOON + REPORTS, "--include", "reports.*", "--retry-delays", "none")
    put(beanstalkd, "reports.later", delay=8)
    put(beanstalkd, "reports.bad", "fail")
    worker.wait_for_notes("reports.later 1", "reports.bad fail")
    (record,) = worker.wait_for(lambda: burial_records(beanstalkd), "a record")
    assert record["tube"] == "reports.bad"
    assert beanstalkd.count("reports.bad") == NOTHING | {"buried": 1}
    (line,) = worker.lines("buried")
    assert line["tube"] == "reports.bad"


@pytest.mark.parametrize("options", [(), ("--async-concurrency", "2")], ids=" ".join)
def test_slot_that_dies_with_a_job_of_such_a_tube_keeps_the_lease(beanstalkd, run_worker, address, options):
    source = COROUTINES if options else REPORTS
    settings = 'executor("reports.*", retry_delays=["1h", "2h"])'
    worker = run_worker(
        beanstalkd.server, source.replace('executor("reports.*")', settings), "--health", address, *options
    )
    job = put(beanstalkd, "reports.a", "wait", ttr=2)
    worker.wait_for_notes("reports.a wait")
    worker.kill_slot()
    line = worker.wait_for_line("failed, retry later", job=job)
    assert (line["tube"], line["delay"] // 60) == ("reports.a", 60)
    assert beanstalkd.stats_job(job)["timeouts"] == 0
    put(beanstalkd, "reports.b")
    worker.wait_for_notes("reports.b 1")

    def metrics() -> list[str]:
        with urllib.request.urlopen(f"http://{address}/metrics", timeout=30) as answer:
            return answer.read().decode().splitlines()

    for verdict in ("deleted", "retried"):
        counted = f'tubeherd_job_seconds_count{{tube="reports.*",verdict="{verdict}"}} 1.0'
        worker.wait_for(lambda counted=counted: counted in metrics(), counted)
    assert worker.stop() == 0


@pytest.mark.slow
@pytest.mark.parametrize("options", [(), ("--async-concurrency", "3")], ids=" ".join)
def test_restarted_beanstalkd_and_cut_connections_find_the_tubes_watched_again(beanstalkd, run_worker, proxy, options):
    worker = run_worker(proxy.server, REPORTS, "--concurrency", "2", *options)
    put(beanstalkd, "reports.a")
    worker.wait_for_notes("reports.a 1")
    beanstalkd.kill()
    beanstalkd.start()
    for tube in ("reports.a", "reports.b", "mail"):
        put(beanstalkd, tube, 2)
    worker.wait_for_notes("reports.a 2", "reports.b 2", "mail 2")
    proxy.broken |= set(range(1, proxy.connections + 1))
    put(beanstalkd, "reports.c", 3)
    worker.wait_for_notes("reports.c 3")
    assert worker.stop() == 0


def test_next_slot_in_the_place_serves_the_same_tubes_and_a_recycled_one_finds_new_ones(beanstalkd, run_worker):
    worker = run_worker(beanstalkd.server, SOON + REPORTS, "--max-jobs", "3")
    for number in range(12):
        put(beanstalkd, f"reports.{number % 5}", number)
    worker.wait_for_notes(*[f"reports.{number % 5} {number}" for number in range(12)])
    assert len(worker.lines("slot recycled")) >= 3
    assert worker.stop() == 0


def test_busy_slot_finds_new_tubes(beanstalkd, run_worker):
    for _ in range(5000):
        beanstalkd.put("mail", "1")
    slow = REPORTS.replace('note(f"mail {payload}")', "import time; time.sleep(0.004)")
    worker = run_worker(beanstalkd.server, SOON + slow, "--batch-size", "100000", "--log-level", "warning")
    worker.wait_for(lambda: beanstalkd.count("mail")["ready"] < 5000, "it has begun")
    put(beanstalkd, "reports.new", priority=0)  # otherwise beanstalkd has the older jobs done first
    worker.wait_for_notes("reports.new 1")
    assert beanstalkd.count("mail")["ready"], "`mail` had jobs all the time"
    assert worker.stop() == 0


def test_tube_without_an_executor_is_left_alone_with_one_warning(beanstalkd, run_worker):
    for tube in ("other", "reports.a"):
        put(beanstalkd, tube)
    worker = run_worker(beanstalkd.server, SOON + REPORTS, "--include", "*", "--concurrency", "3", "--max-jobs", "1")
    worker.wait_for_notes("reports.a 1")
    worker.wait_for_line("tube other matches, and no executor does its jobs", level="warning")
    put(beanstalkd, "reports.b")
    worker.wait_for_notes("reports.b 1")
    assert len(worker.lines("tube other matches, and no executor does its jobs")) == 1
    assert beanstalkd.count("other") == NOTHING | {"ready": 1}


@pytest.mark.slow
@pytest.mark.parametrize("options", [(), ("--async-concurrency", "2")], ids=" ".join)
def test_2000_tubes_are_watched_and_a_warning_says_that_there_are_more(beanstalkd, run_worker, options):
    client = beanstalkd.client()
    for number in range(2100):
        client.put_in(f"reports.{number:04}", b"1")
    worker = run_worker(beanstalkd.server, REPORTS, "--include", "reports.*", "--log-level", "warning", *options)
    line = worker.wait_for_line("2101 tubes match, and a worker takes jobs from 2000 at most")
    assert line["level"] == "warning"
    worker.wait_for(lambda: len(worker.notes()) == 1999, "those that are watched are done")
    assert [beanstalkd.count(f"reports.{number}")["ready"] for number in (1998, 1999, 2099)] == [0, 1, 1]
    assert worker.stop() == 0


def test_answer_to_a_look_that_cannot_be_used_ends_the_connection_and_no_more(beanstalkd, run_worker, interceptor):
    worker = run_worker(interceptor.server, SOON + REPORTS)
    put(beanstalkd, "reports.a")
    worker.wait_for_notes("reports.a 1")
    interceptor.answers["list-tubes"] = [b"OUT_OF_MEMORY", b"OK 5\r\nwrong"]
    worker.wait_for_line("beanstalkd answered OUT_OF_MEMORY")
    worker.wait_for_line("the server's answer is not beanstalkd's (a list of tubes was expected)")
    put(beanstalkd, "reports.b")
    worker.wait_for_notes("reports.b 1")
    assert worker.stop() == 0


def test_worker_refuses_a_glob_that_no_executor_fits(beanstalkd, run_worker):
    source = "from tubeherd import executor\n@executor('mail')\ndef mail(payload): ...\n"
    worker = run_worker(beanstalkd.server, source, "--include", "reports.*")
    assert worker.exit_code() == 3
    assert worker.lines("'reports.*' matches no tube that has an executor here")


def test_command_does_the_jobs_of_the_tubes_that_its_glob_matches(beanstalkd, run_worker):
    echo = "sh -c 'echo $TUBEHERD_JOB_TUBE >> $FOLDER/notes'"
    worker = run_worker(beanstalkd.server, REPORTS, "--command", f"images.*={echo}", "--include", "images.*")
    put(beanstalkd, "images.a")
    worker.wait_for_notes("images.a")
    assert worker.stop() == 0


@pytest.mark.slow
@pytest.mark.parametrize("options", [(), ("--async-concurrency", "2")], ids=" ".join)
def test_server_that_is_silent_when_it_is_asked_for_its_tubes_is_left_after_ten_seconds(
    beanstalkd, run_worker, proxy, options
):
    worker = run_worker(proxy.server, REPORTS, *options)
    put(beanstalkd, "reports.a")
    worker.wait_for_notes("reports.a 1")
    proxy.silent |= set(range(1, proxy.connections + 1))
    worker.wait_for_line("beanstalkd ")
    put(beanstalkd, "reports.b", 2)
    worker.wait_for_notes("reports.b 2")
    assert worker.stop() == 0
