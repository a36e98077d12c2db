"""A wrong guess which job comes next costs a command, and nothing else: each job has its own counters."""

import json
from collections import Counter
from collections.abc import Iterable
from itertools import count

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.beanstalkd import Beanstalkd, Client
from tubeherd.policy import BurialKind, Bury, Delete, Release
from tubeherd.queue.connection import Connection

NOTING = """
from tubeherd import Job, executor
from traces import note

@executor("mail")
def mail(failures: int, job: Job):
    note(f"{job.id} attempt {job.attempt} lost {job.lost_deliveries}")
    if job.attempt <= failures:
        raise RuntimeError("no such customer")
"""
TUBES = count()
VERDICTS = st.sampled_from([Delete(), Release(0, 5), Release(0, 9), Bury(5, "no", BurialKind.EXCEPTION)])
GUESSES = st.integers(-1, 6)
"""Which job is foreseen, by its place among those that were put. There is none in the places -1 and 6."""


@given(
    puts=st.lists(st.tuples(st.integers(5, 9), st.integers(0, 2)), min_size=1, max_size=6),
    steps=st.lists(st.tuples(GUESSES, VERDICTS), max_size=12),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_counters_are_those_of_the_reserved_job_whatever_was_foreseen(beanstalkd, puts, steps):
    tube = f"mail-{next(TUBES)}"
    connection, other = beanstalkd.connection(tube), beanstalkd.connection()
    bodies = put_all(beanstalkd, tube, puts)
    connection.ask_reserve(0)
    for guess, verdict in steps:
        reserved = connection.take_reserved()
        if reserved is None:
            connection.ask_reserve(0)
            continue
        assert reserved.body == bodies[reserved.stats.id]
        assert reserved.stats == other.stats_job(reserved.stats.id)._replace(age=reserved.stats.age)
        foresee(connection, guess + min(bodies))
        connection.settle(reserved.stats.id, verdict, ask_reserve=True)
    connection.abandon()
    other.abandon()


def put_all(beanstalkd: Beanstalkd, tube: str, puts: Iterable[tuple[int, int]]) -> dict[int, bytes]:
    """Put jobs with these priorities, release each so many times that its counters differ, and return their bodies."""
    bodies: dict[int, bytes] = {}
    with Client(("127.0.0.1", beanstalkd.port), encoding=None) as client:
        for priority, releases in puts:
            body = b"job %d" % len(bodies)
            job_id = client.put_in(tube, body, priority=priority)
            for _ in range(releases):
                client.release(client.reserve_job(job_id), priority=priority)
            bodies[job_id] = body
    return bodies


def foresee(connection: Connection, job_id: int) -> None:
    """Have a connection foresee this job, as after three jobs that were put before."""
    for earlier in (job_id - 3, job_id - 2, job_id - 1):
        connection.foresight.note(connection.foresight.reserves.add(), earlier)


def test_two_slots_on_one_tube_have_each_jobs_own_counters_while_they_foresee_wrongly(beanstalkd, run_worker):
    expected = Counter[str]()
    for number in range(300):
        if number % 10 == 0:  # the ids go on by one ten times, and then leave two out
            beanstalkd.put("other", b"0")
            beanstalkd.put("other", b"0")
        failures, lost = int(number % 7 == 0), int(number % 9 == 0)
        job_id = beanstalkd.put("mail", json.dumps(failures).encode())
        if lost:
            lose(beanstalkd, job_id)
        expected.update(f"{job_id} attempt {attempt} lost {lost}" for attempt in range(1, failures + 2))
    worker = run_worker(beanstalkd.server, NOTING, "--concurrency", "2", "--retry-delays", "1s")
    worker.wait_for(lambda: sum(expected.values()) <= len(worker.notes()), "all attempts")
    assert Counter(worker.notes()) == expected
    asked = beanstalkd.client().stats()["cmd-stats-job"]
    assert asked > sum(expected.values()), "no guess was wrong"


def lose(beanstalkd: Beanstalkd, job_id: int) -> None:
    """Reserve a job and close the connection."""
    with Client(("127.0.0.1", beanstalkd.port), encoding=None) as client:
        client.reserve_job(job_id)
