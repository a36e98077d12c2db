"""The reader of the protocol, against scripted answers over a real socket: whatever comes, one clear error."""

import os
import re
import socket
import time
from contextlib import closing

import greenstalk
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.replies import AnsweredSocket, document, stats_job, stats_tube
from tubeherd.policy import BurialKind, Bury, Delete, Policy, Release
from tubeherd.queue.answers import LeaseGone, QueueUnavailable, RefusedError, Reserved, Settled, TubeStats
from tubeherd.queue.connection import Connection, connect

PEERS: dict[int, socket.socket] = {}
"""By the `id` of a connection, the socket at its other end."""


@pytest.fixture
def scripted():
    """Make connections to a peer that has already given these answers and closed; `sent` tells what was asked."""
    ends = []

    def script(answers: bytes) -> Connection:
        listener = socket.create_server(("127.0.0.1", 0))
        connection = connect(f"127.0.0.1:{listener.getsockname()[1]}")
        peer, _ = listener.accept()
        ends.extend([listener, peer])
        peer.sendall(answers)
        peer.shutdown(socket.SHUT_WR)
        PEERS[id(connection)] = peer
        ends.append(connection)
        return connection

    yield script
    PEERS.clear()
    for end in ends:
        end.close()


def sent(connection: Connection) -> bytes:
    connection.abandon()
    received = b""
    while chunk := PEERS[id(connection)].recv(4096):
        received += chunk
    return received


def test_counters_of_a_job_numbered_zero_are_asked_for(scripted):
    """beanstalkd counts from 1, and 0 stands for no job that is foreseen."""
    connection = scripted(b"RESERVED 0 2\r\n{}\r\n" + stats_job(id=0))
    assert connection.take_reserved().stats.id == 0
    assert sent(connection) == b"stats-job 0\r\n"


def test_reserve_takes_a_body_of_any_bytes(scripted):
    before = time.monotonic()
    connection = scripted(b"RESERVED 7 4\r\n\r\n\xff\x00\r\n" + stats_job())
    connection.ask_reserve(3)
    reserved = connection.take_reserved()
    assert (reserved.stats.id, reserved.body) == (7, b"\r\n\xff\x00")
    assert reserved.stats == scripted(stats_job()).stats_job(7)
    assert before < reserved.since < time.monotonic()
    assert sent(connection) == b"reserve-with-timeout 3\r\nstats-job 7\r\n"


def test_lease_that_was_gone_at_once_is_told(scripted):
    connection = scripted(b"RESERVED 7 2\r\n{}\r\nNOT_FOUND\r\n")
    connection.ask_reserve(0)
    with pytest.raises(LeaseGone, match=r"the lease of job 7 was gone"):
        connection.take_reserved()


def test_body_that_beanstalkd_lost_is_none(scripted):
    connection = scripted(b"RESERVED 7 2\r\n\0\0\0\0" + stats_job())
    connection.ask_reserve(0)
    reserved = connection.take_reserved()
    assert (reserved.stats.id, reserved.body, reserved.stats.ttr) == (7, None, 60)


def test_body_that_is_longer_than_it_was_said_to_be_ends_the_connection(scripted):
    connection = scripted(b"RESERVED 7 4\r\nabcdef\r\n")
    connection.ask_reserve(0)
    with pytest.raises(QueueUnavailable):
        connection.take_reserved()


@pytest.mark.parametrize("answer", [b"TIMED_OUT\r\n", b"DEADLINE_SOON\r\n"])
def test_reserve_without_a_job_is_none(scripted, answer):
    connection = scripted(answer)
    connection.ask_reserve(0)
    assert connection.take_reserved() is None


@pytest.mark.parametrize("tube", ["mail", '"mail"'], ids=["1.12", "1.13"])
def test_stats_job(scripted, tube):
    stats = scripted(stats_job(tube=tube)).stats_job(7)
    assert (stats.id, stats.tube, stats.priority, stats.delay, stats.ttr) == (7, "mail", 5, 2, 60)
    assert (stats.reserves, stats.releases, stats.buries, stats.kicks, stats.lost_deliveries) == (3, 1, 0, 0, 1)


@given(st.lists(st.integers(0, 10**19 - 1), min_size=9, max_size=9))
def test_counters_may_be_as_large_as_beanstalkd_writes_them(counts):
    names = ("id", "pri", "age", "delay", "ttr", "reserves", "releases", "buries", "kicks")
    answer = stats_job(**dict(zip(names, counts, strict=True)))
    with closing(Connection(AnsweredSocket([answer]))) as connection:
        job, *others = connection.stats_job(counts[0])
    assert [job, *others[1:]] == counts


def test_values_that_are_made_without_their_constructors_have_all_fields(scripted):
    reserved = scripted(b"RESERVED 7 2\r\n{}\r\n" + stats_job()).take_reserved()
    for value in (reserved, reserved.stats, Policy().job(reserved.stats)):
        assert type(value)(**value._asdict()) == value


def test_stats_job_of_a_lease_that_has_run_out(scripted):
    """beanstalkd may notice late, and tells a negative time until then."""
    assert scripted(stats_job(time_left=-1)).stats_job(7).ttr == 60


@pytest.mark.parametrize(
    ("verdict", "command", "answer"),
    [
        (Delete(), b"delete 7\r\n", b"DELETED\r\n"),
        (Release(600, 5), b"release 7 5 600\r\n", b"RELEASED\r\n"),
        (Bury(5, "why", BurialKind.EXCEPTION), b"bury 7 5\r\n", b"BURIED\r\n"),
    ],
)
def test_verdict_and_next_reserve_go_out_in_one_write(scripted, verdict, command, answer):
    connection = scripted(answer + b"RESERVED 8 2\r\n{}\r\n" + stats_job(id=8))
    assert connection.settle(7, verdict, ask_reserve=True) is Settled.DONE
    assert connection.take_reserved().stats.id == 8
    assert sent(connection) == command + b"reserve-with-timeout 0\r\nstats-job 8\r\n"


def answers_to(*ids: int) -> bytes:
    """Return what beanstalkd says where jobs come with these ids, each but the first after the delete of the last."""
    return b"DELETED\r\n".join(b"RESERVED %d 2\r\n{}\r\n%b" % (number, stats_job(id=number)) for number in ids)


def do(connection: Connection, number: int | None = None) -> Reserved | None:
    """Delete this job, if one is given, and take the next."""
    if number is None:
        connection.ask_reserve(0)
    else:
        connection.settle(number, Delete(), ask_reserve=True)
    return connection.take_reserved()


def foreseeing(scripted, further: bytes) -> Connection:
    """Return a connection that has taken the jobs 5, 6 and 7, and foresees the job 8."""
    connection = scripted(answers_to(5, 6, 7) + b"DELETED\r\n" + further)
    for number in (None, 5, 6):
        do(connection, number)
    return connection


@pytest.mark.parametrize("ids", [(5, 6, 7, 8), (10, 13, 16, 19), (9, 8, 7, 6)])
def test_counters_of_a_job_whose_id_is_foreseen_are_asked_for_in_the_same_write(scripted, ids):
    connection = scripted(answers_to(*ids))
    taken = [do(connection, number) for number in (None, *ids[:-1])]
    assert [reserved.stats.id for reserved in taken] == list(ids)
    assert sent(connection).endswith(b"delete %d\r\nreserve-with-timeout 0\r\nstats-job %d\r\n" % ids[-2:])


def test_connections_that_take_turns_in_any_order_foresee_together(scripted):
    one = scripted(answers_to(5, 7))
    other = scripted(answers_to(6) + b"DELETED\r\nRESERVED 9 2\r\n{}\r\n" + stats_job(id=8) + stats_job(id=9))
    other.foresight = one.foresight
    for connection, before in ((one, None), (other, None), (one, 5), (other, 6)):
        do(connection, before)
    assert sent(other).endswith(b"reserve-with-timeout 0\r\nstats-job 8\r\nstats-job 9\r\n")


@pytest.mark.parametrize("ids", [(5, 6, 9, 10), (3, 1, 4, 2), (5, 3, 1, 2)])
def test_nothing_is_foreseen_where_ids_come_in_no_order(scripted, ids):
    connection = scripted(answers_to(*ids))
    for number in (None, *ids[:-1]):
        do(connection, number)
    assert sent(connection).endswith(b"delete %d\r\nreserve-with-timeout 0\r\nstats-job %d\r\n" % ids[-2:])


@pytest.mark.parametrize("foreseen", [b"NOT_FOUND\r\n", "stats"], ids=["gone", "there"])
def test_another_job_than_the_foreseen_one_has_its_own_counters(scripted, foreseen):
    told = stats_job(id=8, pri=99) if foreseen == "stats" else foreseen
    connection = foreseeing(scripted, b"RESERVED 9 2\r\n{}\r\n" + told + stats_job(id=9))
    reserved = do(connection, 7)
    assert (reserved.stats.id, reserved.stats.priority) == (9, 5)
    assert sent(connection).endswith(b"reserve-with-timeout 0\r\nstats-job 8\r\nstats-job 9\r\n")


def test_foreseen_job_whose_lease_is_gone_at_once_is_told(scripted):
    connection = foreseeing(scripted, b"RESERVED 8 2\r\n{}\r\nNOT_FOUND\r\n")
    with pytest.raises(LeaseGone, match=r"the lease of job 8 was gone"):
        do(connection, 7)
    assert sent(connection).endswith(b"stats-job 8\r\n")


@pytest.mark.parametrize("foreseen", [b"NOT_FOUND\r\n", "stats"], ids=["gone", "there"])
def test_answer_without_a_job_leaves_nothing_of_the_foreseen_one_unread(scripted, foreseen):
    told = stats_job(id=8) if foreseen == "stats" else foreseen
    connection = foreseeing(scripted, b"TIMED_OUT\r\n" + told + b"RESERVED 8 2\r\n{}\r\n" + stats_job(id=8))
    assert do(connection, 7) is None
    assert do(connection).stats.id == 8
    assert sent(connection).endswith(b"stats-job 8\r\nreserve-with-timeout 0\r\nstats-job 8\r\n")


def test_nothing_is_foreseen_by_a_reserve_that_waits(scripted):
    connection = foreseeing(scripted, b"RESERVED 8 2\r\n{}\r\n" + stats_job(id=8))
    connection.settle(7, Delete())
    assert do(connection).stats.id == 8
    assert sent(connection).endswith(b"delete 7\r\nreserve-with-timeout 0\r\nstats-job 8\r\n")


def test_counters_of_yet_another_job_than_the_foreseen_end_the_connection(scripted):
    connection = foreseeing(scripted, b"RESERVED 8 2\r\n{}\r\n" + stats_job(id=9))
    with pytest.raises(QueueUnavailable):
        do(connection, 7)


def test_lease_that_is_gone_is_told(scripted):
    assert scripted(b"NOT_FOUND\r\n").settle(7, Delete()) is Settled.LEASE_GONE
    assert scripted(b"NOT_FOUND\r\n").touch(7) is Settled.LEASE_GONE
    assert scripted(b"NOT_FOUND\r\n").take_touched() is Settled.LEASE_GONE


def test_release_that_beanstalkd_had_to_bury_is_told(scripted):
    assert scripted(b"BURIED\r\n").settle(7, Release(1, 5)) is Settled.BURIED_INSTEAD


@pytest.mark.parametrize(
    "answer", [b"OUT_OF_MEMORY", b"INTERNAL_ERROR", b"BAD_FORMAT", b"UNKNOWN_COMMAND", b"DRAINING"]
)
def test_refusal_is_told_as_one(scripted, answer):
    with pytest.raises(RefusedError):
        scripted(answer + b"\r\n").settle(7, Delete())


def test_stats_of_many_tubes_in_one_write(scripted):
    connection = scripted(stats_tube(4) + b"NOT_FOUND\r\n")
    assert connection.stats_tubes(["a", "b", "a"]) == {"a": TubeStats("a", 1, 2, 3, 4, 50, 40), "b": TubeStats("b")}
    assert sent(connection) == b"stats-tube a\r\nstats-tube b\r\n"


@pytest.mark.parametrize(("buried", "bound", "kicked"), [(0, 5, 0), (3, 5, 3), (9, 5, 5)])
def test_kick_never_asks_for_more_than_are_buried(scripted, buried, bound, kicked):
    connection = scripted(stats_tube(buried) + b"USING a\r\nKICKED %d\r\n" % kicked)
    assert connection.kick_buried("a", bound) == kicked
    asked = b"use a\r\nkick %d\r\n" % kicked if kicked else b""
    assert sent(connection) == b"stats-tube a\r\n" + asked


STRANGE = [
    b"",
    b"RESE",
    b"\r\n",
    b"HTTP/1.1 400 Bad Request\r\n",
    b"RESERVED\r\n",
    b"RESERVED 7\r\n",
    b"RESERVED x y\r\n",
    b"RESERVED 7 -1\r\n",
    b"RESERVED 7 4\r\nab",
    b"RESERVED 7 99999999999999999999\r\n",
    b"RESERVED 7 1000000000\r\nab",
    b"x" * 5000,
    b"OK 3\r\nabc\r\n",
]


@pytest.mark.parametrize("answer", STRANGE, ids=lambda answer: repr(answer[:30]))
def test_strange_answer_to_a_reserve_ends_the_connection(scripted, answer):
    connection = scripted(answer)
    connection.ask_reserve(0)
    with pytest.raises(QueueUnavailable):
        connection.take_reserved()


@pytest.mark.parametrize("answer", [b"", b"RESER", b"RESERVED 7 4\r\n", b"RESERVED 7 4\r\nab\r\n"])
def test_answer_that_breaks_off_is_told_from_one_that_is_not_beanstalkds(scripted, answer):
    connection = scripted(answer)
    connection.ask_reserve(0)
    with pytest.raises(QueueUnavailable, match="beanstalkd closed the connection"):
        connection.take_reserved()
    strange = scripted(b"HTTP/1.1 400 Bad Request\r\n")
    strange.ask_reserve(0)
    with pytest.raises(QueueUnavailable, match=r"the server's answer is not beanstalkd's \(RESERVED was expected\)"):
        strange.take_reserved()


@pytest.mark.parametrize(
    "answer",
    [
        b"OK x\r\n",
        b"OK 3\r\nabc\r\n",
        document(b"---\nid: seven\n"),
        stats_job(tube="m\xff"),
        document(b"\xff" * 50),
        b"OK 9\r\n",
    ],
    ids=lambda answer: repr(answer[:30]),
)
def test_strange_statistics_end_the_connection(scripted, answer):
    with pytest.raises(QueueUnavailable):
        scripted(answer).stats_job(7)
    with pytest.raises(QueueUnavailable):
        scripted(answer).stats_tubes(["a"])


@pytest.mark.parametrize(
    ("command", "answer"),
    [
        (lambda it: it.put("a", b"x", priority=0, delay=0, ttr=1), b"USING a\r\nINSERTED\r\n"),
        (lambda it: it.put("a", b"x", priority=0, delay=0, ttr=1), b"USING a\r\nINSERTED x\r\n"),
        (lambda it: it.watch_only(["a"]), b"WATCHING\r\n"),
        (lambda it: it.watch_only(["a"]), b"WATCHING 1 2\r\n"),
        (lambda it: it.kick_buried("a", 1), stats_tube(1) + b"USING a\r\nKICKED x\r\n"),
        (lambda it: it.kick_buried("a", 1), stats_tube(1) + b"USING\r\nKICKED 1\r\n"),
        (lambda it: it.watched(), b"OK 3\r\nabcde"),
        (lambda it: it.settle(1, Delete()), b"KICKED\r\n"),
    ],
    ids=lambda value: repr(value) if isinstance(value, bytes) else "",
)
def test_strange_answer_to_any_other_command_ends_the_connection(scripted, command, answer):
    with pytest.raises(QueueUnavailable):
        command(scripted(answer))


def test_put(scripted):
    assert scripted(b"USING a\r\nINSERTED 9\r\n").put("a", b"x", priority=0, delay=0, ttr=1) == 9


pieces = st.sampled_from(
    [b"RESERVED ", b"OK ", b"DELETED", b"7", b" ", b"\r\n", b"0", b"999", b"---\n", b"id: 7\n", b"NOT_FOUND", b"\xff"]
)


@given(st.lists(pieces | st.binary(max_size=5), max_size=12).map(b"".join))
def test_any_bytes_give_a_value_or_a_clear_error(answers):
    ours, theirs = socket.socketpair()
    theirs.sendall(answers)
    theirs.shutdown(socket.SHUT_WR)
    connection = Connection(ours)
    try:
        connection.ask_reserve(0)
        connection.take_reserved()
        connection.stats_job(7)
        connection.settle(7, Delete())
    except (QueueUnavailable, RefusedError):
        pass
    finally:
        connection.abandon()
        theirs.close()


def test_nobody_listens():
    with socket.create_server(("127.0.0.1", 0)) as free:
        server = f"127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(QueueUnavailable, match=f"cannot reach beanstalkd at {server}: Connection refused"):
        connect(server)


def test_unknown_host():
    with pytest.raises(QueueUnavailable, match=r"cannot reach beanstalkd at nowhere\.invalid"):
        connect("nowhere.invalid")


@pytest.mark.parametrize("server", ["a..b", f"{'x' * 64}.svc"])
def test_name_that_no_host_can_have(server):
    with pytest.raises(QueueUnavailable, match=f"cannot reach beanstalkd at {server}: "):
        connect(server)


@pytest.mark.parametrize("error", greenstalk.BeanstalkdError.__subclasses__(), ids=lambda error: error.__name__)
def test_every_refusal_is_the_error_that_greenstalk_has_for_it(scripted, error):
    """Users catch greenstalk.JobTooBigError and the like."""
    word = re.sub(r"\B([A-Z])", r"_\1", error.__name__).upper()
    word = word if word == "INTERNAL_ERROR" else word.removesuffix("_ERROR")
    with pytest.raises(RefusedError, match=f"^{word}$") as raised:
        scripted(word.encode() + b"\r\n").put("a", b"x", priority=0, delay=0, ttr=1)
    assert type(raised.value) is error


@pytest.mark.parametrize(
    ("answer", "command", "has_settled"),
    [
        (b"DELETED\r\n", lambda it: it.settle(7, Delete()), True),
        (b"NOT_FOUND\r\n", lambda it: it.settle(7, Delete()), False),
        (b"BURIED\r\n", lambda it: it.settle(7, Release(1, 5)), False),
        (b"TOUCHED\r\n", lambda it: it.touch(7), False),
    ],
)
def test_connection_is_of_use_once_a_verdict_was_carried_out(scripted, answer, command, has_settled):
    connection = scripted(answer)
    command(connection)
    assert connection.has_settled is has_settled


def test_socket_that_is_not_connected_any_more_makes_no_connection():
    """A slot may pass on a socket whose other end is gone by then."""
    with socket.socket() as sock, pytest.raises(QueueUnavailable, match="the connection to beanstalkd was closed"):
        Connection(sock)


def test_socket_that_others_closed_is_no_broken_connection_and_a_closed_connection_is(scripted):
    connection = scripted(b"")
    connection.close()
    with pytest.raises(QueueUnavailable):
        connection.settle(7, Delete())
    connection = scripted(b"")
    os.close(connection.socket.fileno())
    with pytest.raises(OSError, match="Bad file descriptor") as raised:
        connection.settle(7, Delete())
    assert not isinstance(raised.value, QueueUnavailable)
    connection.socket.detach()
