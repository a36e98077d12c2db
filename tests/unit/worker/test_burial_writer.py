"""The record and its burial in one write, by the answers of a server that is given word for word."""

from contextlib import closing

import pytest

from tests.support.replies import AnsweredSocket, stats, stats_job, stats_tube
from tubeherd.burials import writer as writing
from tubeherd.burials.writer import BurialWriter
from tubeherd.queue.answers import Burying, QueueUnavailable, RefusedError, Settled
from tubeherd.queue.connection import Connection

BURYING = Burying(7, 5, b"{}")
LOOK = stats_tube() + b"NOT_FOUND\r\n" + stats()


class Counter:
    """Counts lost records."""

    lost = 0

    def count_incident(self, incident):
        assert incident == "lost_record"
        self.lost += 1


def bury(*answers):
    """Bury the job 7 on a server that answers this, and return what became of it and how many records were lost."""
    counter = Counter()
    with closing(Connection(AnsweredSocket(answers))) as connection:
        return BurialWriter("nowhere:1", counter).bury(connection, *BURYING), counter.lost


def test_record_is_put_and_the_job_buried():
    assert bury(b"USING a\r\nINSERTED 9\r\nBURIED\r\n", LOOK) == (Settled.DONE, 0)


def test_record_that_the_server_had_to_bury_for_lack_of_memory_is_there():
    assert bury(b"USING a\r\nBURIED 9\r\nBURIED\r\n", LOOK) == (Settled.DONE, 0)


@pytest.mark.parametrize("refusal", ["DRAINING", "JOB_TOO_BIG", "OUT_OF_MEMORY", "INTERNAL_ERROR", "EXPECTED_CRLF"])
def test_refused_record_is_counted_and_the_job_is_buried(logged, refusal):
    assert bury(f"USING a\r\n{refusal}\r\nBURIED\r\n".encode(), LOOK) == (Settled.DONE, 1)
    assert [line["event"] for line in logged()] == [
        f"beanstalkd refused the record of a burial: {refusal}; jobs are buried all the same"
    ]


def test_record_of_a_lease_that_was_gone_is_deleted():
    answers = (b"USING a\r\nINSERTED 9\r\nNOT_FOUND\r\n", LOOK, b"DELETED\r\n")
    assert bury(*answers) == (Settled.LEASE_GONE, 0)


def test_refused_burial_closes_the_connection_because_more_answers_are_on_their_way():
    with pytest.raises(QueueUnavailable, match="beanstalkd answered INTERNAL_ERROR when a job was to be buried"):
        bury(b"USING a\r\nINSERTED 9\r\nINTERNAL_ERROR\r\n", LOOK)


@pytest.mark.parametrize(
    "look",
    [
        b"OUT_OF_MEMORY\r\nNOT_FOUND\r\n" + stats(),
        stats_tube() + b"OUT_OF_MEMORY\r\n" + stats(),
        stats_tube() + b"NOT_FOUND\r\nOUT_OF_MEMORY\r\n",
        3 * b"OUT_OF_MEMORY\r\n",
    ],
)
def test_refused_look_changes_no_burial_and_leaves_no_answer_unread(logged, look):
    with closing(Connection(AnsweredSocket([b"USING a\r\nINSERTED 9\r\nBURIED\r\n", look, stats_job()]))) as connection:
        assert BurialWriter("nowhere:1").bury(connection, *BURYING) is Settled.DONE
        assert connection.stats_job(7).id == 7
    assert [line["event"] for line in logged()] == [
        "beanstalkd answered OUT_OF_MEMORY when burial records were counted or removed; jobs are buried all the same"
    ]


def test_deletes_that_a_full_disk_refuses_leave_no_answer_unread():
    answers = b"DELETED\r\nINTERNAL_ERROR\r\nNOT_FOUND\r\n"
    with closing(Connection(AnsweredSocket([answers, stats_job()]))) as connection:
        with pytest.raises(RefusedError, match="INTERNAL_ERROR"):
            connection.delete([1, 2, 3])
        assert connection.stats_job(7).id == 7


class RememberingSocket(AnsweredSocket):
    """A socket that remembers each write."""

    def __init__(self, pieces):
        super().__init__(pieces)
        self.written = []

    def sendall(self, data, flags=0):
        self.written.append(data)


FIRST = b"USING a\r\nINSERTED 9\r\nBURIED\r\n" + LOOK


def test_record_and_burial_and_next_reserve_go_out_in_one_write_in_this_order():
    pieces = (FIRST, b"INSERTED 10\r\nBURIED\r\nRESERVED 7 2\r\n{}\r\n", stats_job())
    with closing(Connection(sock := RememberingSocket(pieces))) as connection:
        writer = BurialWriter("nowhere:1")
        assert writer.looks_next
        writer.bury(connection, *BURYING)
        assert not writer.looks_next
        assert writer.bury(connection, *BURYING, ask_reserve=True) is Settled.DONE
        assert connection.take_reserved().stats.id == 7
    assert sock.written[2] == b"put 65536 0 120 2\r\n{}\r\nbury 7 5\r\nreserve-with-timeout 0\r\n"


@pytest.mark.parametrize(("server", "deleted"), [("same", [b"delete 10\r\ndelete 11\r\n"]), ("another", [])])
def test_old_records_are_deleted_by_id_only_on_the_server_that_gave_the_ids(monkeypatch, server, deleted):
    """A server that was started again may have given such an id to a job of a user."""
    monkeypatch.setattr(writing, "RECORDS_A_LOOK", 2)
    monkeypatch.setattr(writing, "RECORDS_MOST", 8)
    look = stats_tube(delayed=0, buried=0, ready=8) + b"FOUND 10 2\r\n{}\r\n"
    pieces = [b"USING a\r\nINSERTED 9\r\nBURIED\r\n" + stats_tube() + b"NOT_FOUND\r\n" + stats("same")]
    pieces += [b"INSERTED 10\r\nBURIED\r\n", b"INSERTED 11\r\nBURIED\r\n", look, stats(server), b"DELETED\r\n" * 2]
    with closing(Connection(sock := RememberingSocket(pieces))) as connection:
        writer = BurialWriter("nowhere:1")
        for _ in range(3):
            writer.bury(connection, *BURYING)
    assert [data for data in sock.written if data.startswith(b"delete")] == deleted
