"""The marks of a server: as long as they stand still, so do all its tubes."""

from contextlib import suppress

import greenstalk
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.waiting import wait_for
from tubeherd.queue.looking import connect_to_look
from tubeherd.queue.tubes import MARKS

TUBES = ("mail", "sms", "fax")


@pytest.fixture
def look(beanstalkd):
    """Return what returns the marks of the server, and then what it has in all tubes, without pauses and waiting."""
    connection = connect_to_look(beanstalkd.server)

    def seen():
        marks = connection.server_stats().marks
        names = sorted(connection.tube_names())
        tubes = [each._replace(waiting=0, pause=0, pause_left=0) for each in connection.tubes(names)]
        # A connection that was closed before may end in between: then it is not known what the marks belong to.
        return (marks, tubes) if connection.server_stats().marks == marks else None

    yield lambda: wait_for(seen, "a moment in which nothing happens")
    connection.close()


def ready(beanstalkd, tube, ttr=60):
    return beanstalkd.put(tube, ttr=ttr)


def reserved(beanstalkd, tube, ttr=60):
    client = beanstalkd.client()
    client.reserve_job(ready(beanstalkd, tube, ttr))
    return client


def buried(beanstalkd, tube):
    return beanstalkd.bury_many(tube, 1)[0]


def held(client, tube, job):
    """Reserve the only job of a tube, and return it."""
    client.watch(tube)
    taken = client.reserve(timeout=5)
    assert taken.id == job
    return taken


def bury_one_and_kick_another(beanstalkd, client):
    taken, other = held(client, "mail", ready(beanstalkd, "mail")), buried(beanstalkd, "sms")

    def change():
        client.bury(taken)
        client.kick_job(other)
        client.reserve_job(other)

    return change


def delete_one_and_put_another(beanstalkd, client):
    job = ready(beanstalkd, "mail")
    ready(beanstalkd, "sms")

    def change():
        client.delete(job)
        beanstalkd.put("sms")

    return change


def release_one_and_reserve_another(beanstalkd, client):
    taken, other = held(client, "mail", ready(beanstalkd, "mail")), ready(beanstalkd, "sms")

    def change():
        client.release(taken)
        client.reserve_job(other)

    return change


def time_out_and_reserve_another(beanstalkd, client):
    taken, other = held(client, "mail", ready(beanstalkd, "mail", ttr=1)), ready(beanstalkd, "sms")

    def change():
        # A lease that has ended may show only when its connection asks for something.
        wait_for(lambda: client.stats_job(taken)["state"] == "ready", "the lease has ended")
        client.reserve_job(other)

    return change


def end_one_connection_and_reserve_on_a_new_one(beanstalkd, client):
    holder, other = reserved(beanstalkd, "mail"), ready(beanstalkd, "sms")

    def change():
        holder.close()
        beanstalkd.client().reserve_job(other)

    return change


def end_one_tube_and_begin_another(beanstalkd, client):
    client.watch("fax")

    def change():
        client.ignore("fax")
        client.watch("letters")

    return change


def use_another_tube(beanstalkd, client):
    client.use("fax")
    return lambda: client.use("letters")


@pytest.mark.parametrize(
    "prepare",
    [
        bury_one_and_kick_another,
        delete_one_and_put_another,
        release_one_and_reserve_another,
        time_out_and_reserve_another,
        end_one_connection_and_reserve_on_a_new_one,
        end_one_tube_and_begin_another,
        use_another_tube,
    ],
)
def test_changes_that_cancel_out_in_the_numbers_of_jobs_and_tubes_show(beanstalkd, look, prepare):
    change = prepare(beanstalkd, beanstalkd.client())
    marks, tubes = look()
    assert look() == (marks, tubes), "to look changes nothing"
    change()
    wait_for(lambda: look()[1] != tubes, "the change has happened")
    assert look()[0] != marks


def put_delayed(beanstalkd):
    beanstalkd.put("mail", delay=1)
    return "delayed"


def put_for_one_that_waits(beanstalkd):
    """Put a delayed job into a tube where a connection waits for it."""
    connection = beanstalkd.connection("mail")
    connection.ask_reserve(3600)
    wait_for(lambda: beanstalkd.waiting("mail"), "it waits")
    return put_delayed(beanstalkd)


@pytest.mark.parametrize("prepare", [put_delayed, put_for_one_that_waits])
def test_what_happens_without_a_command_shows(beanstalkd, look, prepare):
    state = prepare(beanstalkd)
    marks, tubes = look()
    wait_for(lambda: not beanstalkd.count("mail")[state], f"it is {state} no longer")
    changed, others = look()
    assert others != tubes
    assert changed != marks


OPERATIONS = st.tuples(
    st.sampled_from(
        ["put", "delay", "reserve", "take", "release", "bury", "kick", "kick_job", "delete", "use", "watch", "ignore",
         "close", "pause", "touch", "peek"]
    ),
    st.integers(0, 1),
    st.sampled_from(TUBES),
    st.integers(0, 30),
)  # fmt: skip


def do(beanstalkd, clients, jobs, operation):
    """Do something on one of two connections; what beanstalkd refuses is left out."""
    name, number, tube, nth = operation
    client, job = clients[number], jobs[nth % len(jobs)] if jobs else 0
    match name:
        case "put" | "delay":
            jobs.append(client.put_in(tube, delay=3600 if name == "delay" else 0))
        case "reserve":
            client.reserve(timeout=0)
        case "take":
            client.reserve_job(job)
        case "release" | "bury" | "touch":
            getattr(client, name)(greenstalk.Job(job, b""))
        case "kick":
            client.kick(2)
        case "use" | "watch" | "ignore":
            getattr(client, name)(tube)
        case "pause":
            client.pause_tube(tube, nth)
        case "close":
            client.close()
            clients[number] = beanstalkd.client()
        case "peek":
            client.peek(job)
        case _:
            getattr(client, name)(job)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(OPERATIONS, max_size=25))
def test_whatever_is_done_tubes_stand_still_while_the_marks_do(beanstalkd, look, operations):
    clients, jobs, seen = [beanstalkd.client(), beanstalkd.client()], [], []
    for operation in operations:
        with suppress(greenstalk.Error):
            do(beanstalkd, clients, jobs, operation)
        seen.append(look())
    by_marks = {}
    for marks, tubes in seen:
        assert by_marks.setdefault(marks, tubes) == tubes


def test_server_that_counts_less_has_no_marks(beanstalkd):
    connection = connect_to_look(beanstalkd.server)
    stats = connection.server_stats()
    connection.close()
    assert stats.marks is not None
    stats.figures.pop(MARKS[0])
    assert stats.marks is None
