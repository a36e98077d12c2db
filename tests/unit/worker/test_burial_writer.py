"""The record and its burial in one write, by the answers of a server that is given word for word."""

from contextlib import closing

import pytest

from tests.support.replies import AnsweredSocket, stats_tube
from tubeherd.burials.writer import BurialWriter
from tubeherd.queue.answers import Burying, QueueUnavailable, Settled
from tubeherd.queue.connection import Connection

BURYING = Burying(7, 5, b"{}")
LOOK = stats_tube()


class Counter:
    """Counts lost records."""

    lost = 0

    def count_lost_record(self):
        self.lost += 1


def bury(*answers):
    """Bury the job 7 on a server that answers this, and return what became of it and how many records were lost."""
    counter = Counter()
    with closing(Connection(AnsweredSocket(answers))) as connection:
        return BurialWriter("nowhere:1", counter).bury(connection, BURYING), counter.lost


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
