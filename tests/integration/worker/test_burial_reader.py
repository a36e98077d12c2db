"""Reading why jobs are buried: nothing is lost, whoever else reads, writes, kicks, restarts or dies meanwhile."""

import os
import signal
import subprocess
import sys
import threading
from contextlib import closing
from datetime import UTC, datetime

import pytest

from tests.support.beanstalkd import NOTHING
from tests.support.burials import RECORDS, burial_records, count_records, encode
from tests.support.waiting import wait_for
from tubeherd import QueueManager, QueueUnavailable
from tubeherd.burials.parking import ParkingReader
from tubeherd.burials.reader import BurialReader, read_burials
from tubeherd.burials.record import BurialRecord
from tubeherd.burials.writer import BurialWriter
from tubeherd.policy import BurialKind
from tubeherd.queue.answers import Burying
from tubeherd.queue.bulk import BulkConnection, connect_to_tube

PARKED_SECONDS = 4_000_000_000
"""How long an operator parks the records that it has read."""


def record(job, tube="mail"):
    return encode(BurialRecord(job, tube, datetime.now(UTC), BurialKind.EXCEPTION, "E", "f:1", "E: why", 1, "host"))


@pytest.fixture
def bury(beanstalkd):
    """Put so many jobs, bury them with their records, and return them."""
    writer = BurialWriter(beanstalkd.server)

    def bury(count, tube="mail"):
        connection = beanstalkd.connection(tube)
        jobs = [beanstalkd.put(tube) for _ in range(count)]
        for _ in jobs:
            connection.ask_reserve(0)
            connection.take_reserved()
        for _ in writer.bury_all(connection, [Burying(job, 5, record(job, tube)) for job in jobs]):
            pass
        connection.abandon()
        return jobs

    return bury


class TestClock:
    """A clock that stands still but in pauses, in which a test may do something."""

    __test__ = False

    def __init__(self, in_pause=lambda: None):
        self.time, self.pauses, self._in_pause = 1000.0, 0, in_pause

    def now(self):
        return self.time

    def pause(self):
        self.pauses += 1
        self.time += 0.5
        self._in_pause()


def jobs_of(burials):
    return sorted(found.job for found in burials.records)


def test_every_record_is_read_and_is_still_there(beanstalkd, bury):
    jobs = bury(1200)
    for _ in range(2):
        found = read_burials(beanstalkd.server)
        assert jobs_of(found) == jobs
        assert (found.read_elsewhere, found.without_record) == (0, 0)
    assert beanstalkd.count(RECORDS) == NOTHING | {"ready": 1200}
    assert beanstalkd.count("mail") == NOTHING | {"buried": 1200}


def test_newest_comes_first_and_groups_are_made(beanstalkd, bury):
    bury(3)
    last = bury(2, "report")[-1]
    found = read_burials(beanstalkd.server)
    assert found.records[0].job == last
    assert [(group.tube, group.count) for group in found.groups] == [("mail", 3), ("report", 2)]


def test_one_tube(beanstalkd, bury):
    jobs = bury(3)
    bury(2, "report")
    beanstalkd.bury("mail", 4)
    with QueueManager(beanstalkd.server) as queue:
        found = queue.burials("mail")
        assert (jobs_of(found), found.without_record) == (jobs, 4)
        assert queue.burials().without_record == 4
        assert queue.burials("nobody").records == ()
        with pytest.raises(ValueError, match="is no tube name"):
            queue.burials("two words")


@pytest.mark.parametrize("tube", [None, "mail"])
def test_jobs_that_are_buried_or_kicked_during_a_reading_do_not_count_as_without_a_record(
    beanstalkd, bury, monkeypatch, tube
):
    jobs = bury(3)
    give_back = BulkConnection.give_back

    def meanwhile(connection, *arguments):
        give_back(connection, *arguments)
        change()

    monkeypatch.setattr(BulkConnection, "give_back", meanwhile)
    change = lambda: bury(5)  # noqa: E731
    found = read_burials(beanstalkd.server, tube)
    assert (jobs_of(found), found.without_record) == (jobs, 0)
    change = lambda: [beanstalkd.kick_job(job) for job in jobs]  # noqa: E731
    assert read_burials(beanstalkd.server, tube).without_record == 0


def test_nothing_buried_is_nothing(beanstalkd):
    found = read_burials(beanstalkd.server)
    assert (found.records, found.groups, found.without_record) == ((), (), 0)
    assert beanstalkd.count(RECORDS) == NOTHING


def test_record_whose_job_was_kicked_or_deleted_goes(beanstalkd, bury):
    kicked, deleted, stays = bury(3)
    beanstalkd.kick_job(kicked)
    beanstalkd.delete(deleted)
    assert jobs_of(read_burials(beanstalkd.server)) == [stays]
    assert [each["job"] for each in burial_records(beanstalkd)] == [stays]


def test_job_that_was_kicked_and_buried_again_is_shown_once(beanstalkd, bury):
    (job,) = bury(1)
    beanstalkd.kick_job(job)
    connection = beanstalkd.connection("mail")
    connection.ask_reserve(0)
    connection.take_reserved()
    again = encode(BurialRecord(job, "mail", datetime.now(UTC), BurialKind.KILLED, None, None, "again", 2, "host"))
    BurialWriter(beanstalkd.server).bury(connection, job, 5, again)
    (found,) = read_burials(beanstalkd.server).records
    assert (found.job, found.message, found.attempts) == (job, "again", 2)
    assert count_records(beanstalkd) == 1


def test_record_that_was_put_but_whose_job_is_not_buried_yet_stays(beanstalkd, bury):
    """As if the reader came between the put and the bury of one write."""
    job = beanstalkd.put("mail")
    connection = beanstalkd.connection("mail")
    connection.ask_reserve(0)
    connection.take_reserved()
    beanstalkd.put(RECORDS, record(job), priority=65536)
    assert read_burials(beanstalkd.server).records == ()
    BurialWriter(beanstalkd.server).bury(connection, job, 5, None)
    assert jobs_of(read_burials(beanstalkd.server)) == [job]


def test_what_others_put_into_the_tube_is_left_alone(beanstalkd, bury):
    jobs = bury(1)
    for body in (b"", b"{}", b"\xff", b'{"job": "x"}', b"x" * 65_000):
        beanstalkd.put(RECORDS, body)
    assert jobs_of(read_burials(beanstalkd.server)) == jobs
    assert count_records(beanstalkd) == 6


# Two readers


@pytest.mark.slow
def test_two_readers_at_once_lose_none_and_say_what_they_could_not_see(beanstalkd, bury):
    jobs = bury(2000)
    found = []

    def read():
        found.extend(read_burials(beanstalkd.server) for _ in range(5))

    threads = [threading.Thread(target=read) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 10
    for each in found:
        assert len(each.records) + each.read_elsewhere == len(jobs)
    assert beanstalkd.count(RECORDS) == NOTHING | {"ready": 2000}
    assert jobs_of(read_burials(beanstalkd.server)) == jobs


def test_reader_waits_for_another_that_is_about_to_finish(beanstalkd, bury):
    jobs = bury(10)
    other = connect_to_tube(beanstalkd.server, RECORDS, 5)
    taken = other.take(4)
    clock = TestClock(lambda: clock.pauses == 3 and other.give_back([one.id for one in taken], 65536))
    found = read_burials(beanstalkd.server, clock=clock)
    assert (jobs_of(found), found.read_elsewhere, clock.pauses) == (jobs, 0, 3)
    other.abandon()


def test_reader_shows_after_five_seconds_what_it_has_and_how_many_are_read_elsewhere(beanstalkd, bury):
    jobs = bury(10)
    other = connect_to_tube(beanstalkd.server, RECORDS, 5)
    assert len(other.take(4)) == 4
    clock = TestClock()
    found = read_burials(beanstalkd.server, clock=clock)
    assert (jobs_of(found), found.read_elsewhere, found.without_record) == (jobs[4:], 4, 0)
    assert clock.time == 1005
    of_mail = read_burials(beanstalkd.server, "mail", TestClock())
    assert (jobs_of(of_mail), of_mail.read_elsewhere, of_mail.without_record) == (jobs[4:], 4, 0)
    other.abandon()
    wait_for(lambda: beanstalkd.count(RECORDS)["ready"] == 10, "the other's records are ready")
    assert jobs_of(read_burials(beanstalkd.server)) == jobs


def test_readers_that_began_in_the_same_instant_hold_nothing_while_they_wait_for_each_other(beanstalkd, bury):
    jobs = bury(10)
    other = connect_to_tube(beanstalkd.server, RECORDS, 5)
    seen = []

    def in_pause():
        seen.append(beanstalkd.count(RECORDS)["reserved"])
        if clock.pauses == 2:
            other.give_back([one.id for one in taken], 65536)

    taken = []
    clock = TestClock(in_pause)
    reading = connect_to_tube(beanstalkd.server, RECORDS, 5)
    totals = type(reading).totals

    def totals_then_the_other_takes(connection):
        found = totals(connection)
        if not taken:
            taken.extend(other.take(4))
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(reading), "totals", totals_then_the_other_takes)
        found = read_burials(beanstalkd.server, clock=clock)
    assert seen == [4, 4]
    assert (jobs_of(found), found.read_elsewhere) == (jobs, 0)
    for connection in (other, reading):
        connection.abandon()


HOLDING = f"""
import sys
from tubeherd.queue.bulk import connect_to_tube
connection = connect_to_tube(sys.argv[1], "{RECORDS}", 5)
print(len(connection.take(20_000)), flush=True)
sys.stdin.read()
"""


@pytest.fixture
def holder(beanstalkd):
    """A process that has taken all records out and does nothing with them."""
    command = [sys.executable, "-c", HOLDING, beanstalkd.server]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    yield process
    process.kill()
    process.communicate()


def test_reader_that_is_killed_with_all_records_reserved_loses_none(beanstalkd, bury, request):
    jobs = bury(1200)
    holder = request.getfixturevalue("holder")
    assert holder.stdout.readline() == b"1200\n"
    assert beanstalkd.count(RECORDS) == NOTHING | {"reserved": 1200}
    found = read_burials(beanstalkd.server, clock=TestClock())
    assert (found.records, found.read_elsewhere, found.without_record) == ((), 1200, 0)
    holder.kill()
    wait_for(lambda: beanstalkd.count(RECORDS)["ready"] == 1200, "the records are ready")
    assert jobs_of(read_burials(beanstalkd.server)) == jobs


def test_reader_that_is_stopped_gives_the_records_back_when_the_server_ends(beanstalkd, bury, request):
    jobs = bury(20)
    holder = request.getfixturevalue("holder")
    assert holder.stdout.readline() == b"20\n"
    holder.send_signal(signal.SIGSTOP)
    beanstalkd.kill()
    beanstalkd.start()
    assert jobs_of(read_burials(beanstalkd.server)) == jobs


# Two clusters, and what an operator does


def park(beanstalkd, count=None):
    """Do as an operator of another cluster: take out what is ready, and give it back with a long delay."""
    client = beanstalkd.client()
    client.watch(RECORDS)
    for _ in range(beanstalkd.count(RECORDS)["ready"] if count is None else count):
        client.release(client.reserve(timeout=0), priority=65536, delay=PARKED_SECONDS)
    client.close()


def test_two_clusters_on_one_server_see_each_other_s_records_whoever_parks_them(beanstalkd, bury):
    ours = bury(5)
    park(beanstalkd)
    theirs = bury(5, "report")
    park(beanstalkd, 3)
    assert beanstalkd.count(RECORDS) == NOTHING | {"ready": 2, "delayed": 8}
    for _ in range(2):
        found = read_burials(beanstalkd.server)
        assert jobs_of(found) == sorted(ours + theirs)
    assert beanstalkd.count(RECORDS) == NOTHING | {"ready": 10}


def test_buried_records_are_read_too(beanstalkd, bury):
    jobs = bury(4)
    client = beanstalkd.client()
    client.watch(RECORDS)
    client.bury(client.reserve(timeout=0))
    park(beanstalkd, 1)
    assert beanstalkd.count(RECORDS) == NOTHING | {"ready": 2, "delayed": 1, "buried": 1}
    assert jobs_of(read_burials(beanstalkd.server)) == jobs


# The server


def test_binlog_restart_keeps_the_records_though_it_raises_buries(beanstalkd, bury):
    jobs = bury(300)
    park(beanstalkd, 100)
    before = beanstalkd.stats_job(jobs[0])["buries"]
    beanstalkd.kill()
    beanstalkd.start()
    assert beanstalkd.stats_job(jobs[0])["buries"] > before, "the server counts a burial that nobody asked for"
    assert jobs_of(read_burials(beanstalkd.server)) == jobs


def test_server_that_drains_can_be_read(beanstalkd, bury):
    jobs = bury(5)
    os.kill(beanstalkd.stats()["pid"], signal.SIGUSR1)
    for _ in range(2):
        assert jobs_of(read_burials(beanstalkd.server)) == jobs


def test_deadline_soon_during_the_reading_ends_it_at_once_and_loses_nothing(beanstalkd, bury):
    """A record of another client has a TTR of a second, so beanstalkd answers DEADLINE_SOON while it is held."""
    jobs = bury(3)
    extra = beanstalkd.put(RECORDS, record(jobs[0]), priority=1, ttr=1)
    connection = connect_to_tube(beanstalkd.server, RECORDS, 5)
    before = beanstalkd.stats()["cmd-reserve-with-timeout"]
    assert connection.take(20_000)[0].id == extra
    assert beanstalkd.stats()["cmd-reserve-with-timeout"] - before == 500
    connection.abandon()
    found = read_burials(beanstalkd.server)
    assert (jobs_of(found), found.read_elsewhere) == (jobs, 0)
    assert count_records(beanstalkd) == 3


def test_lease_that_ends_during_the_reading_loses_nothing(beanstalkd, bury):
    jobs = bury(3)
    lasting = beanstalkd.put(RECORDS, record(jobs[2]), priority=65536, ttr=1)
    connection = connect_to_tube(beanstalkd.server, RECORDS, 5)
    taken = connection.take(20_000)
    wait_for(lambda: beanstalkd.stats_job(lasting)["time-left"] <= 0, "its lease has ended")
    connection.give_back([one.id for one in taken], 65536)
    assert beanstalkd.count(RECORDS) == NOTHING | {"ready": 4}
    connection.abandon()
    assert jobs_of(read_burials(beanstalkd.server)) == jobs


def test_unreachable_server_is_an_error(beanstalkd):
    with QueueManager(beanstalkd.server) as queue:
        beanstalkd.kill()
        with pytest.raises(QueueUnavailable, match="cannot reach beanstalkd"):
            queue.burials()
    beanstalkd.start()


# A reader that keeps what it read


@pytest.fixture
def reader(beanstalkd):
    clock = TestClock()
    with closing(BurialReader(beanstalkd.server, clock)) as reader:
        reader.clock = clock
        yield reader


def reserves(beanstalkd):
    return beanstalkd.stats()["cmd-reserve-with-timeout"]


def test_records_are_taken_out_again_only_if_there_are_new_ones(beanstalkd, bury, reader):
    jobs = bury(3)
    assert jobs_of(reader.read()) == jobs
    before = reserves(beanstalkd)
    for _ in range(3):
        reader.clock.time += 60
        assert jobs_of(reader.read()) == jobs
    assert reserves(beanstalkd) == before
    jobs += bury(1)
    reader.clock.time += 60
    assert jobs_of(reader.read()) == jobs


def test_job_that_was_kicked_is_not_shown_any_more_though_no_record_is_new(beanstalkd, bury, reader):
    jobs = bury(3)
    reader.read()
    beanstalkd.kick_job(jobs[0])
    reader.clock.time += 5
    assert jobs_of(reader.read()) == jobs[1:]


def test_beanstalkd_is_asked_every_5_seconds_and_every_30_while_burials_go_on(beanstalkd, bury, reader):
    jobs = bury(1)
    assert jobs_of(reader.read()) == jobs
    more = bury(1)
    reader.clock.time += 4.9
    assert jobs_of(reader.read()) == jobs
    reader.clock.time += 0.1
    assert jobs_of(reader.read()) == jobs + more
    most = bury(1)
    reader.clock.time += 29.9
    assert jobs_of(reader.read()) == jobs + more
    reader.clock.time += 0.1
    assert jobs_of(reader.read()) == jobs + more + most


def test_tube_that_was_emptied_meanwhile_has_new_records_all_the_same(beanstalkd, bury, reader):
    """The counters of a tube end with it; the reader watches the tube, so that it does not end."""
    jobs = bury(2)
    reader.read()
    for job in jobs:
        beanstalkd.delete(job)
    read_burials(beanstalkd.server)
    assert count_records(beanstalkd) == 0
    others = bury(2)
    reader.clock.time += 60
    assert jobs_of(reader.read()) == others


def test_reader_reads_anew_after_a_restart_of_the_server(beanstalkd, bury, reader):
    jobs = bury(2)
    reader.read()
    beanstalkd.kill()
    beanstalkd.start()
    reader.clock.time += 60
    with pytest.raises(QueueUnavailable):
        reader.read()
    assert jobs_of(reader.read()) == jobs


def test_reader_asks_again_if_others_hid_records_from_it(beanstalkd, bury, reader):
    jobs = bury(4)
    other = connect_to_tube(beanstalkd.server, RECORDS, 5)
    other.take(1)
    assert reader.read().read_elsewhere == 1
    other.abandon()
    wait_for(lambda: beanstalkd.count(RECORDS)["ready"] == 4, "the records are ready")
    reader.clock.time += 5
    assert jobs_of(reader.read()) == jobs


def test_record_of_a_job_that_is_only_then_buried_is_shown_though_no_record_is_new(beanstalkd, bury, reader):
    job = beanstalkd.put("mail")
    connection = beanstalkd.connection("mail")
    connection.ask_reserve(0)
    connection.take_reserved()
    beanstalkd.put(RECORDS, record(job), priority=65536)
    assert reader.read().records == ()
    BurialWriter(beanstalkd.server).bury(connection, job, 5, None)
    reader.clock.time += 60
    assert jobs_of(reader.read()) == [job]


# A reader that parks, as a cluster's operator does


@pytest.fixture
def parking(beanstalkd):
    clock = TestClock()
    with closing(ParkingReader(beanstalkd.server, clock)) as reader:
        reader.clock = clock
        yield reader


def test_reader_that_parks_and_is_to_hurry_asks_at_once_but_keeps_records_hidden_no_longer(bury, parking):
    jobs = bury(10)
    assert jobs_of(parking.read()) == jobs
    jobs += bury(1)
    parking.hurry()
    assert jobs_of(parking.read()) == jobs[:10], "ten records were taken out just now"
    parking.clock.time += 0.02
    assert jobs_of(parking.read()) == jobs
    jobs += bury(1)
    parking.clock.time += 0.02
    assert jobs_of(parking.read()) == jobs[:11], "a second has not gone by"
    parking.hurry()
    assert jobs_of(parking.read()) == jobs


def test_reader_that_parks_takes_out_only_what_is_new(beanstalkd, bury, parking):
    jobs = bury(3)
    first_record = jobs[-1] + 1
    assert jobs_of(parking.read()) == jobs
    assert beanstalkd.count(RECORDS) == NOTHING | {"delayed": 3}
    jobs += bury(2)
    parking.clock.time += 60
    assert jobs_of(parking.read()) == jobs
    assert beanstalkd.count(RECORDS) == NOTHING | {"delayed": 5}
    assert beanstalkd.stats_job(first_record)["reserves"] == 1
    beanstalkd.kick_job(jobs[0])
    parking.clock.time += 60
    assert jobs_of(parking.read()) == jobs[1:]
    assert count_records(beanstalkd) == 4, "the record that nobody needs is gone, though it was parked"


def test_reader_that_parks_shows_what_is_new_after_a_second_and_asks_only_for_its_jobs(beanstalkd, bury, parking):
    jobs = bury(20)
    assert jobs_of(parking.read()) == jobs
    for _ in range(3):
        jobs += bury(1)
        before = beanstalkd.stats()["cmd-stats-job"]
        parking.clock.time += 0.9
        assert jobs_of(parking.read()) == jobs[:-1]
        parking.clock.time += 0.1
        assert jobs_of(parking.read()) == jobs
        assert beanstalkd.stats()["cmd-stats-job"] == before + 1


@pytest.mark.parametrize("kind", ["reader", "parking"])
def test_jobs_are_asked_for_again_only_if_any_was_buried_or_is_buried_no_longer(beanstalkd, bury, request, kind):
    reader = request.getfixturevalue(kind)
    jobs = bury(5)

    def asked(minutes=5):
        before = beanstalkd.stats()["cmd-stats-job"]
        for _ in range(minutes):
            reader.clock.time += 60
            reader.read()
        return beanstalkd.stats()["cmd-stats-job"] - before

    asked()
    beanstalkd.delete(beanstalkd.put("mail"))
    assert asked() == 0, "other jobs come and go"
    beanstalkd.kick_job(jobs[0])
    again = bury(1)
    assert asked() > 0, "as many are buried as before"
    assert jobs_of(reader.read()) == jobs[1:] + again
    assert asked() == 0


def test_job_that_is_buried_again_is_shown_once_by_a_reader_that_parks(beanstalkd, bury, parking):
    (job,) = bury(1)
    parking.read()
    beanstalkd.put(RECORDS, record(job), priority=65536)
    parking.clock.time += 1
    assert jobs_of(parking.read()) == [job]
    parking.clock.time += 5
    assert jobs_of(parking.read()) == [job]
    assert count_records(beanstalkd) == 1, "the older record is gone"


def test_reader_that_parks_asks_again_if_others_hid_records_from_it(beanstalkd, bury, parking):
    jobs = bury(4)
    other = connect_to_tube(beanstalkd.server, RECORDS, 5)
    other.take(1)
    assert parking.read().read_elsewhere == 1
    parking.clock.time += 1
    assert parking.read().read_elsewhere == 1
    other.abandon()
    wait_for(lambda: beanstalkd.count(RECORDS)["ready"] == 1, "the record is ready")
    park(beanstalkd)
    parking.clock.time += 5
    assert jobs_of(parking.read()) == jobs


def test_records_that_another_reader_has_made_ready_are_parked_again(beanstalkd, bury, parking):
    jobs = bury(3)
    parking.read()
    read_burials(beanstalkd.server)
    assert beanstalkd.count(RECORDS) == NOTHING | {"ready": 3}
    jobs += bury(1)
    parking.clock.time += 60
    assert jobs_of(parking.read()) == jobs
    assert beanstalkd.count(RECORDS) == NOTHING | {"delayed": 4}


def test_records_that_another_cluster_has_parked_first_are_read_all_the_same(beanstalkd, bury, parking):
    jobs = bury(3)
    parking.read()
    jobs += bury(2)
    park(beanstalkd)
    jobs += bury(1)
    parking.clock.time += 60
    assert jobs_of(parking.read()) == jobs


def test_record_that_was_put_during_the_reading_is_read_the_next_time(beanstalkd, bury, parking, monkeypatch):
    jobs = bury(3)
    give_back = BulkConnection.give_back

    def meanwhile(connection, *arguments):
        give_back(connection, *arguments)
        jobs.extend(bury(1))

    monkeypatch.setattr(BulkConnection, "give_back", meanwhile)
    assert jobs_of(parking.read()) == jobs[:3]
    monkeypatch.undo()
    parking.clock.time += 60
    assert jobs_of(parking.read()) == jobs


@pytest.mark.parametrize("is_first", [True, False])
def test_record_that_was_put_and_parked_by_another_cluster_during_the_reading_is_read_the_next_time(
    beanstalkd, bury, parking, monkeypatch, is_first
):
    jobs = bury(3)
    if not is_first:
        parking.read()
        jobs += bury(1)
        parking.clock.time += 1
    give_back = BulkConnection.give_back

    def meanwhile(connection, *arguments):
        give_back(connection, *arguments)
        jobs.extend(bury(1))
        park(beanstalkd)

    monkeypatch.setattr(BulkConnection, "give_back", meanwhile)
    assert jobs_of(parking.read()) == jobs[:-1]
    monkeypatch.undo()
    parking.clock.time += 1
    assert jobs_of(parking.read()) == jobs


def test_many_records_are_taken_out_again_only_after_a_while(beanstalkd, bury, parking):
    jobs = bury(2000)
    assert jobs_of(parking.read()) == jobs
    parking.clock.time += 60
    read_burials(beanstalkd.server)
    assert jobs_of(parking.read()) == jobs
    assert beanstalkd.count(RECORDS) == NOTHING | {"delayed": 2000}
    more = bury(1)
    parking.clock.time += 1.9
    assert jobs_of(parking.read()) == jobs
    parking.clock.time += 0.2
    assert jobs_of(parking.read()) == jobs + more


@pytest.mark.slow
def test_all_records_are_read_again_and_again_only_for_a_tenth_of_the_time(beanstalkd, bury, parking):
    """As long as another cluster parks what is new."""
    jobs = bury(3000)
    assert jobs_of(parking.read()) == jobs
    for _ in range(2):
        more = bury(1)
        park(beanstalkd)
        before = reserves(beanstalkd)
        parking.clock.time += 2.9
        assert jobs_of(parking.read()) == jobs
        assert reserves(beanstalkd) == before
        parking.clock.time += 0.2
        jobs += more
        assert jobs_of(parking.read()) == jobs


def test_records_that_are_put_and_others_that_go_during_a_reading_cause_no_other(
    beanstalkd, bury, parking, monkeypatch
):
    jobs = bury(3)
    make_all_ready = BulkConnection.make_all_ready

    def meanwhile(connection):
        jobs.extend(bury(2))
        beanstalkd.kick_job(jobs.pop(0))
        make_all_ready(connection)

    monkeypatch.setattr(BulkConnection, "make_all_ready", meanwhile)
    assert jobs_of(parking.read()) == jobs
    before = reserves(beanstalkd)
    parking.clock.time += 1
    assert jobs_of(parking.read()) == jobs
    assert reserves(beanstalkd) == before


def test_reader_keeps_no_tracebacks(beanstalkd, parking):
    (job,) = beanstalkd.bury_many("mail", 1)
    why = BurialRecord(job, "mail", datetime.now(UTC), BurialKind.EXCEPTION, "E", "f:1", "E: why", 1, "host", "Trace")
    beanstalkd.put(RECORDS, encode(why), priority=65536)
    (found,) = parking.read().records
    assert (found.job, found.traceback) == (job, None)
    assert read_burials(beanstalkd.server).records[0].traceback == "Trace"
