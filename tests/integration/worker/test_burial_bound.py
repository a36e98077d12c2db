"""How many records there are at most, and which of them go first."""

from datetime import UTC, datetime

import pytest

from tests.support.beanstalkd import NOTHING
from tests.support.burials import RECORDS, burial_records, count_records, encode
from tubeherd.burials import writer as writing
from tubeherd.burials.reader import read_burials
from tubeherd.burials.record import RECORDS_A_LOOK, RECORDS_MOST, BurialRecord
from tubeherd.burials.writer import BurialWriter
from tubeherd.policy import BurialKind
from tubeherd.queue.answers import Burying, Settled
from tubeherd.queue.bulk import connect_to_tube

PARKED_SECONDS = 4_000_000_000
MANY = 100_000
BATCH = 500


def burying(job):
    now = datetime.now(UTC)
    record = BurialRecord(job, "mail", now, BurialKind.EXCEPTION, "ValueError", "mail.py:12", "ValueError: no", 1, "a")
    return Burying(job, 5, encode(record))


class Counter:
    """Counts lost records."""

    def __init__(self):
        self.lost = 0

    def count_incident(self, incident):
        assert incident == "lost_record"
        self.lost += 1


class Burier:
    """A process that buries jobs of `mail`, one or many at a time."""

    def __init__(self, beanstalkd):
        self.counter = Counter()
        self._beanstalkd = beanstalkd
        self._connection = connect_to_tube(beanstalkd.server, "mail", 5)
        self._writer = BurialWriter(beanstalkd.server, self.counter)

    def bury(self, count):
        """Put so many jobs and bury them one by one, as a slot does; return them."""
        jobs = [self._beanstalkd.put("mail") for _ in range(count)]
        assert [taken.id for taken in self._connection.take(count)] == jobs
        for job in jobs:
            assert self._writer.bury(self._connection, *burying(job)) is Settled.DONE
            self._writer.make_room()
        return jobs

    def bury_all(self):
        """Bury up to BATCH ready jobs in few writes, as a slot does after a flush that failed; return them."""
        jobs = [taken.id for taken in self._connection.take(BATCH)]
        assert set(self._writer.bury_all(self._connection, map(burying, jobs))) <= {Settled.DONE}
        return jobs

    def close(self):
        self._connection.abandon()


@pytest.fixture
def burier(beanstalkd):
    """Make processes that bury jobs."""
    made = []

    def make():
        made.append(Burier(beanstalkd))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture
def bound(monkeypatch):
    """Lower the bound to 200 records."""
    monkeypatch.setattr(writing, "RECORDS_MOST", 200)
    return 200


def recorded(beanstalkd):
    return [record["job"] for record in burial_records(beanstalkd)]


@pytest.mark.slow
@pytest.mark.timeout(360)  # it does much, which takes minutes on a busy machine
def test_100_000_burials_stay_within_the_bound_and_the_newest_keep_their_reason(beanstalkd, burier):
    two, buried, highest = [burier(), burier()], [], 0
    client = beanstalkd.client()
    client.use("mail")
    for _ in range(MANY // (2 * BATCH)):
        for _ in range(2 * BATCH):
            client.put(b"{}")
        for each in two:
            buried += each.bury_all()
            highest = max(highest, count_records(beanstalkd))
    assert len(buried) == MANY
    assert count_records(beanstalkd) >= RECORDS_MOST - 2 * RECORDS_A_LOOK
    assert highest <= RECORDS_MOST + 2 * RECORDS_A_LOOK
    found = read_burials(beanstalkd.server)
    kept = {record.job for record in found.records}
    assert kept >= set(buried[-(RECORDS_MOST - 2 * RECORDS_A_LOOK) :])
    assert found.without_record == MANY - len(kept)
    assert beanstalkd.count("mail") == NOTHING | {"buried": MANY}
    assert [each.counter.lost for each in two] == [0, 0]


def test_oldest_records_go_first(beanstalkd, burier, bound):
    jobs = burier().bury(5 * bound)
    assert bound <= count_records(beanstalkd) <= bound + RECORDS_A_LOOK
    kept = recorded(beanstalkd)
    assert kept == jobs[-len(kept) :]


def test_process_that_is_alone_makes_room_without_taking_records_out(beanstalkd, burier, bound):
    one = burier()
    one.bury(bound + 2 * RECORDS_A_LOOK)
    reserves = beanstalkd.stats()["cmd-reserve-with-timeout"]
    one.bury(3 * RECORDS_A_LOOK)  # each is reserved once itself
    assert beanstalkd.stats()["cmd-reserve-with-timeout"] == reserves + 3 * RECORDS_A_LOOK


def test_records_that_were_parked_are_older_than_those_that_are_ready(beanstalkd, burier, bound):
    one = burier()
    one.bury(bound)
    client = beanstalkd.client()
    client.watch(RECORDS)
    for _ in range(bound):
        client.release(client.reserve(timeout=0), priority=65536, delay=PARKED_SECONDS)
    newest = one.bury(bound)
    assert recorded(beanstalkd)[-bound:] == newest


def test_only_the_oldest_of_the_parked_records_are_made_ready(beanstalkd, burier, bound):
    """Whoever has parked them would take all of them out again."""
    one = burier()
    jobs = one.bury(bound)
    client = beanstalkd.client()
    client.watch(RECORDS)
    for _ in range(bound):
        client.release(client.reserve(timeout=0), priority=65536, delay=PARKED_SECONDS)
    newest = one.bury(RECORDS_A_LOOK)
    assert beanstalkd.count(RECORDS)["delayed"] == bound - RECORDS_A_LOOK
    assert recorded(beanstalkd) == [*jobs[1:RECORDS_A_LOOK], *newest], "those that are ready: one was removed"


def test_records_of_jobs_that_are_not_buried_any_more_go_before_older_ones(beanstalkd, burier, bound):
    jobs = burier().bury(bound)
    for job in jobs[50:100]:
        beanstalkd.delete(job)
    (newest,) = burier().bury(1)  # the first burial of a process looks how many records there are
    assert recorded(beanstalkd) == [*jobs[:50], *jobs[100:], newest]


def test_processes_that_bury_one_job_each_keep_the_bound(beanstalkd, burier, bound):
    jobs = [job for _ in range(bound + 50) for job in burier().bury(1)]
    assert recorded(beanstalkd) == jobs[-bound:]


def test_what_writers_that_are_gone_left_beyond_the_bound_is_removed(beanstalkd, burier, bound):
    (job,) = burier().bury(1)
    for _ in range(bound + 450):
        beanstalkd.put(RECORDS, burying(job).record, priority=65536)
    burier().bury(1)
    assert count_records(beanstalkd) <= bound


def test_bound_holds_while_a_reader_has_all_records(beanstalkd, burier, bound):
    one = burier()
    one.bury(bound)
    reader = connect_to_tube(beanstalkd.server, RECORDS, 5)
    taken = reader.take(1000)
    newest = one.bury(3 * RECORDS_A_LOOK)
    assert count_records(beanstalkd) <= bound + RECORDS_A_LOOK
    assert newest[-1] in recorded(beanstalkd)
    reader.give_back([each.id for each in taken], 65536)
    assert count_records(beanstalkd) <= bound + RECORDS_A_LOOK
    reader.abandon()


def test_writer_that_can_make_no_room_puts_no_further_records_and_says_so_once(
    beanstalkd, burier, bound, monkeypatch, logged
):
    one = burier()
    with monkeypatch.context() as patch:
        patch.setattr(one._writer, "_server", "127.0.0.1:1")
        jobs = one.bury(bound + 5 * RECORDS_A_LOOK)
        assert count_records(beanstalkd) <= bound + RECORDS_A_LOOK
    assert beanstalkd.count("mail") == NOTHING | {"buried": len(jobs)}
    assert one.counter.lost == len(jobs) - count_records(beanstalkd)
    (line,) = logged()
    assert line["event"].startswith("old burial records cannot be removed, so further burials get none for now: cannot")
    assert line["event"].endswith("jobs are buried all the same")
    newest = one.bury(2 * RECORDS_A_LOOK)
    assert newest[-1] in recorded(beanstalkd)
    assert count_records(beanstalkd) <= bound + RECORDS_A_LOOK
