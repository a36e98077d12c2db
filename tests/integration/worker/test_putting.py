"""`QueueManager.put`, `put_many` and `put_for`: what is refused before it is put, and what is known after a break."""

import json
import os
import signal
from contextlib import closing
from dataclasses import dataclass

import pytest
from pydantic import BaseModel

from tests.support.beanstalkd import NOTHING
from tests.support.hostile import Peer
from tests.support.replies import document
from tests.support.waiting import wait_for
from tubeherd import (
    AnswerLost,
    ExecutorError,
    InvalidPayload,
    PutManyStopped,
    QueueManager,
    QueueUnavailable,
    RefusedError,
    events,
    executor,
)
from tubeherd.by_hand.putting import putting
from tubeherd.queue.bulk import connect_to_tube

pytestmark = pytest.mark.usefixtures("no_executors")


@pytest.fixture
def queue(beanstalkd):
    with QueueManager(beanstalkd.server, tubes="mail") as manager:
        yield manager


class Mail(BaseModel):
    to: str
    copies: int = 1


def bodies(beanstalkd, tube="mail"):
    """Take the ready jobs of a tube out, and return their bodies in their order."""
    with closing(connect_to_tube(beanstalkd.server, tube, 10)) as connection:
        connection.body_bytes_most = 65535
        return [job.body for job in connection.take(beanstalkd.count(tube)["ready"])]


def answering_puts(*answers: bytes, max_job_size: int = 65535):
    """Script a server that takes puts, and answers them in turn, and all others rightly; b"" ends the connection."""

    def script(peer: Peer) -> None:
        left = list(answers)
        with peer.socket.makefile("rb") as lines:
            for line in lines:
                peer._count_command()
                word = line.split()[0]
                if word == b"use":
                    peer.send(b"USING mail\r\n")
                elif word == b"stats":
                    peer.send(document(b"---\nmax-job-size: %d\n" % max_job_size))
                else:
                    lines.readline()
                    answer = left.pop(0) if left else b"INSERTED 9\r\n"
                    if not answer:
                        return
                    peer.send(answer)

    return script


# What is refused before it is put


@pytest.mark.parametrize("payload", [{"to": 4711}, {}, b'{"to": 4711}', b"no JSON", [1], None])
def test_put_refuses_what_the_executor_could_not_take(beanstalkd, queue, payload):
    @executor("mail")
    def mail(payload: Mail): ...

    with pytest.raises(InvalidPayload, match="payload is not valid: ") as caught:
        queue.put("mail", payload)
    assert isinstance(caught.value, ValueError)
    assert "4711" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert beanstalkd.count("mail") == NOTHING


@pytest.mark.parametrize("payload", [{"to": "ann"}, Mail(to="ann"), b'{"to": "ann", "copies": 2}'])
def test_put_takes_what_the_executor_can_take(beanstalkd, queue, payload):
    @executor("mail")
    def mail(payload: Mail): ...

    queue.put("mail", payload)
    queue.put("other", {"to": 4711})  # of which nothing is known here
    assert (beanstalkd.count("mail")["ready"], beanstalkd.count("other")["ready"]) == (1, 1)


def test_put_does_not_check_what_listeners_may_change_first(beanstalkd, queue):
    @executor("mail")
    def mail(payload: Mail): ...

    def add_receiver(action):
        action.payload["to"] = "ann"

    events.execute_pre.connect(add_receiver)
    try:
        queue.put("mail", {})
    finally:
        events.execute_pre.disconnect(add_receiver)
    assert beanstalkd.count("mail")["ready"] == 1


def test_put_does_not_check_the_payload_of_an_executor_that_takes_bytes(beanstalkd, queue):
    @executor("mail")
    def mail(payload: bytes): ...

    queue.put("mail", b"\xff")
    assert beanstalkd.count("mail")["ready"] == 1


# One job and a connection that breaks


def test_put_works_at_once_after_a_restart_of_beanstalkd(beanstalkd, queue):
    queue.put("mail", 1)
    beanstalkd.kill()
    beanstalkd.start()
    queue.put("mail", 2)
    assert beanstalkd.count("mail")["ready"] == 2


def test_put_whose_answer_is_lost_is_not_sent_again(serve):
    server = serve(answering_puts(b""))
    with QueueManager(server.server) as queue, pytest.raises(AnswerLost, match="may have been put or not"):
        queue.put("mail", {})
    assert (len(server.times), server.commands) == (1, 2)  # use and put


def test_put_without_a_server_has_put_nothing(beanstalkd, queue):
    beanstalkd.kill()
    with pytest.raises(QueueUnavailable, match="cannot reach beanstalkd") as caught:
        queue.put("mail", {})
    assert not isinstance(caught.value, AnswerLost)


def test_put_into_a_server_that_is_to_be_emptied_is_refused_and_not_sent_again(beanstalkd, queue):
    os.kill(beanstalkd.stats()["pid"], signal.SIGUSR1)
    with pytest.raises(RefusedError, match="DRAINING"):
        queue.put("mail", {})
    assert beanstalkd.stats()["cmd-put"] == 1


# Many jobs


def test_put_many_puts_each_payload_and_returns_the_ids_in_order(beanstalkd, queue):
    ids = queue.put_many("mail", ({"n": n} for n in range(800)), priority=7, delay="10m", ttr="2m")
    assert len(ids) == 800
    client = beanstalkd.client()
    assert [json.loads(client.peek(ids[n]).body) for n in (0, 1, 399, 799)] == [{"n": n} for n in (0, 1, 399, 799)]
    stats = beanstalkd.stats_job(ids[799])
    assert (stats["tube"], stats["pri"], stats["delay"], stats["ttr"]) == ("mail", 7, 600, 120)
    assert beanstalkd.count("mail") == NOTHING | {"delayed": 800}


def test_put_many_of_nothing(beanstalkd, queue):
    assert list(queue.put_many("mail", [])) == []


def test_put_many_takes_large_payloads(beanstalkd, queue):
    payloads = [b"%d" % n * 60_000 for n in range(9)] * 4
    queue.put_many("mail", payloads)
    assert bodies(beanstalkd) == payloads


@pytest.mark.parametrize("payloads", ["ann", b"ann", bytearray(b"ann"), {"to": "ann"}, Mail(to="ann")])
def test_put_many_refuses_one_payload(beanstalkd, queue, payloads):
    with pytest.raises(ValueError, match="takes several payloads, such as a list, and not one"):
        queue.put_many("mail", payloads)


@pytest.mark.parametrize("options", [{"priority": -1}, {"delay": "soon"}, {"ttr": 0}])
def test_put_many_refuses_what_put_refuses(beanstalkd, queue, options):
    with pytest.raises(ValueError, match=r"priority|duration|time"):
        queue.put_many("mail", [1], **options)
    with pytest.raises(ValueError, match="is no tube name"):
        queue.put_many("two words", [1])


@pytest.mark.parametrize("index", [0, 1, 249, 250, 251, 600, 699])
def test_put_many_stops_at_an_invalid_payload_and_is_exact(beanstalkd, queue, index):
    @executor("mail")
    def mail(payload: int): ...

    payloads = [*range(index), "secret", *range(index, 700)]
    with pytest.raises(PutManyStopped, match="payload is not valid") as caught:
        queue.put_many("mail", payloads)
    stopped = caught.value
    assert isinstance(stopped.__cause__, InvalidPayload)
    assert "secret" not in str(stopped)
    assert (stopped.put, stopped.at_most, stopped.go_on, stopped.refused) == (index, index, index, {})
    assert len(stopped.ids) == index
    assert bodies(beanstalkd) == [b"%d" % n for n in range(index)]


@pytest.mark.parametrize("index", [0, 1, 249, 250, 251, 600])
def test_put_many_stops_at_a_payload_that_is_too_big_and_puts_none_behind_it(beanstalkd, queue, index):
    payloads = [*range(index), "x" * 70_000, *range(index, 700)]
    with pytest.raises(PutManyStopped, match=f"of index {index} was refused: .*JOB_TOO_BIG") as caught:
        queue.put_many("mail", payloads)
    stopped = caught.value
    assert (stopped.put, stopped.at_most, stopped.go_on) == (index, index, index)
    assert list(stopped.refused) == [index]
    assert beanstalkd.count("mail")["ready"] == index


def test_put_many_reads_all_answers_when_the_server_begins_to_drain(beanstalkd, queue):
    def payloads():
        for number in range(2000):
            if number == 600:
                os.kill(beanstalkd.stats()["pid"], signal.SIGUSR1)
            yield number

    with pytest.raises(PutManyStopped, match="DRAINING") as caught:
        queue.put_many("mail", payloads())
    stopped = caught.value
    assert stopped.put == stopped.at_most == stopped.go_on == len(stopped.ids) == beanstalkd.count("mail")["ready"]
    assert 0 < stopped.put < 2000
    assert min(stopped.refused) == stopped.go_on


def test_put_many_says_which_jobs_before_the_last_were_refused(serve):
    server = serve(answering_puts(b"INSERTED 1\r\n", b"OUT_OF_MEMORY\r\n", b"INSERTED 2\r\n", b"OUT_OF_MEMORY\r\n"))
    with QueueManager(server.server) as queue, pytest.raises(PutManyStopped, match="OUT_OF_MEMORY") as caught:
        queue.put_many("mail", range(4))
    stopped = caught.value
    assert (list(stopped.ids), stopped.put, stopped.at_most, stopped.go_on) == ([1, 2], 2, 2, 3)
    assert list(stopped.refused) == [1, 3]  # so 1 has to be put besides those from 3 on


def test_put_many_counts_a_job_that_beanstalkd_has_put_and_buried(serve):
    server = serve(answering_puts(b"INSERTED 1\r\n", b"BURIED 2\r\n", b"INSERTED 3\r\n"))
    with QueueManager(server.server) as queue, pytest.raises(PutManyStopped, match="kick it later") as caught:
        queue.put_many("mail", range(3))
    stopped = caught.value
    assert (list(stopped.ids), stopped.put, stopped.at_most, stopped.go_on) == ([1, 3], 3, 3, 3)
    assert stopped.refused == {}


@pytest.mark.parametrize("direction", ["out", "in"])
@pytest.mark.parametrize("passed", [20, 400, 500, 700, 3000, 9_900])
def test_put_many_over_a_connection_that_breaks_can_go_on(beanstalkd, proxy, direction, passed):
    proxy.cut[1] = (direction, passed)
    with QueueManager(proxy.server) as queue:
        stopped, ids = None, []
        try:
            ids = queue.put_many("mail", range(700))
        except PutManyStopped as error:
            stopped = error
        if stopped is not None:
            assert isinstance(stopped.__cause__, QueueUnavailable)
            queue.put("fence", 1)  # on another connection, which beanstalkd serves when it has seen the first one end
            first = beanstalkd.count("mail")["ready"]
            assert stopped.put <= first <= stopped.at_most
            assert stopped.put == len(stopped.ids)
            queue.put_many("mail", range(stopped.go_on, 700))
            done = [int(body) for body in bodies(beanstalkd)]
            unknown = range(stopped.go_on - (stopped.at_most - stopped.put), stopped.go_on)
            assert set(range(700)) - set(done) <= set(unknown)
            assert len(done) == len(set(done))
        else:  # broken before anything was put, so all went over a second connection
            assert (len(ids), proxy.connections) == (700, 2)
            assert beanstalkd.count("mail")["ready"] == 700


def test_put_many_reads_what_was_answered_before_the_server_was_killed(beanstalkd, queue, monkeypatch):
    monkeypatch.setattr(putting, "_IDLE_SECONDS", 3600)  # a source that is held up ends no batch early

    def payloads():
        for number in range(10_000):
            if number == 800:
                wait_for(lambda: beanstalkd.count("mail")["ready"] == 750, "three batches are put")
                beanstalkd.kill()
            yield number

    with pytest.raises(PutManyStopped, match="at least") as caught:
        queue.put_many("mail", payloads())
    stopped = caught.value
    beanstalkd.start()
    # An answer that the kernel had not passed on yet may be lost, and so may be what was written since.
    assert 500 <= stopped.put <= beanstalkd.count("mail")["ready"] == 750 <= stopped.at_most == stopped.go_on


def test_put_many_of_a_source_that_raises_has_put_what_came_before(beanstalkd, queue):
    def payloads():
        yield from range(700)
        raise LookupError("no more rows")

    with pytest.raises(PutManyStopped, match="LookupError: no more rows; 700 jobs were put") as caught:
        queue.put_many("mail", payloads())
    assert isinstance(caught.value.__cause__, LookupError)
    assert (caught.value.put, caught.value.go_on) == (700, 700)
    assert beanstalkd.count("mail")["ready"] == 700


def test_put_many_that_is_interrupted_notes_what_was_put(beanstalkd, queue):
    def payloads():
        yield from range(700)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as caught:
        queue.put_many("mail", payloads())
    assert caught.value.__notes__ == ["When put_many was stopped, 700 jobs were put."]
    assert beanstalkd.count("mail")["ready"] == 700


def test_put_many_sends_what_it_has_while_its_source_takes_long(beanstalkd, queue):
    seen = []

    def payloads():
        yield 1
        signal.sigtimedwait([], 0.06)
        yield 2
        seen.append(beanstalkd.count("mail")["ready"])

    queue.put_many("mail", payloads())
    assert seen == [1]


def test_put_many_holds_up_no_verdict_and_loses_no_lease(beanstalkd, queue):
    executor("mail")(lambda payload: payload)
    queue.put("mail", 1)
    job = queue.get(timeout=30)

    def payloads():
        yield 2
        queue.process(job)
        raise ValueError("enough")

    other = queue.put("mail", 3)
    with pytest.raises(PutManyStopped):
        queue.put_many("mail", payloads())
    assert beanstalkd.count("mail")["ready"] == 2
    assert queue.get(timeout=30).stats.id == other


# Objects


@dataclass
class Order:
    number: int


class Rush(Order):
    pass


def test_put_for_puts_what_payload_of_returns_into_the_tube_of_its_executor(beanstalkd, queue):
    def number_of(order: Order) -> int:
        return order.number

    executor("invoice", payload_of=number_of)(lambda payload: ...)
    executor("mail", payload_of=lambda order: {"to": order.number})(lambda payload: ...)
    job = queue.put_for(Rush(5), priority=3)
    assert (beanstalkd.stats_job(job)["tube"], beanstalkd.stats_job(job)["pri"]) == ("invoice", 3)
    assert bodies(beanstalkd, "invoice") == [b"5"]
    queue.put_for(Order(6), tube="mail")
    assert bodies(beanstalkd) == [b'{"to":6}']


def test_put_for_says_what_is_missing(queue):
    def number_of(order: Order) -> int:
        return order.number

    executor("plain")(lambda payload: ...)
    with pytest.raises(ExecutorError, match="annotated with Order; those with a payload_of: none"):
        queue.put_for(Order(1))
    executor("invoice", payload_of=number_of)(lambda payload: ...)
    with pytest.raises(ExecutorError, match="annotated with str; those with a payload_of: invoice"):
        queue.put_for("1")
    with pytest.raises(ExecutorError, match="does the jobs of 'plain'; those with a payload_of: invoice"):
        queue.put_for(Order(1), tube="plain")
    executor("mail", payload_of=number_of)(lambda payload: ...)
    with pytest.raises(ExecutorError, match=r"several executors have a payload_of for Order: name one .*invoice, mail"):
        queue.put_for(Order(1))


def test_put_for_checks_the_payload(beanstalkd, queue):
    @executor("mail", payload_of=lambda order: order.number)
    def mail(payload: Mail): ...

    with pytest.raises(InvalidPayload):
        queue.put_for(Order(5), tube="mail")
    assert beanstalkd.count("mail") == NOTHING


def test_payload_of_has_to_be_a_function():
    with pytest.raises(ExecutorError, match="payload_of is a function, not 'number'"):
        executor("mail", payload_of="number")
