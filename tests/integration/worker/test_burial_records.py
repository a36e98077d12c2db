"""The record of a burial: what it says, and that no trouble with it changes what becomes of its job."""

import os
import signal
import socket
from collections import Counter
from contextlib import closing, suppress
from datetime import UTC, datetime
from urllib.request import urlopen

import pytest

from tests.support.beanstalkd import NOTHING, Beanstalkd
from tests.support.burials import RECORDS, burial_records, count_records, encode
from tests.support.processing import FRESH
from tests.support.waiting import PATIENCE, wait_for
from tubeherd import Bury, Delete, Policy, Processed, QueueManager, RetrySchedule, executor
from tubeherd.burials.reader import read_burials
from tubeherd.burials.record import BurialRecord
from tubeherd.burials.writer import BurialWriter
from tubeherd.policy import BurialKind
from tubeherd.processing import recording
from tubeherd.processing.reporting import Reporter
from tubeherd.processing.settling import Settler
from tubeherd.queue.answers import Burying, QueueUnavailable, Settled
from tubeherd.queue.connection import Connection, connect
from tubeherd.queue.wire import open_socket

FAILING = """
import asyncio, os, signal, time
from pydantic import BaseModel
from traces import note, wait_for
from tubeherd import Reject, executor

class Mail(BaseModel):
    to: str

@executor("exception")
def fail(payload): raise LookupError("no such customer")

@executor("coroutine")
async def fail_later(payload):
    await asyncio.sleep(0)
    raise LookupError("no such customer")

@executor("invalid")
def invalid(mail: Mail): ...

@executor("deadline", timeout="1s")
def late(payload):
    note("began")
    while True: time.sleep(0.05)

@executor("stubborn", timeout="1s")
def stubborn(payload):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(60)

@executor("memory")
def grow(payload, kept=[]):
    kept.append(bytearray(b"x") * (150 << 20))
    wait_for("never")

@executor("killed")
def die(payload): os.kill(os.getpid(), signal.SIGKILL)

@executor("exit")
def leave(payload): os._exit(9)

@executor("poison")
def poison(payload): ...

@executor("rejected")
def reject(payload): raise Reject("no such customer")
"""
KINDS = {
    "exception": ("exception", "LookupError", 12),
    "coroutine": ("exception", "LookupError", 17),
    "invalid": ("invalid", "InvalidPayload", None),
    "deadline": ("deadline", "DeadlinePassed", 25),
    "stubborn": ("deadline", None, None),
    "memory": ("memory", None, None),
    "killed": ("killed", None, None),
    "exit": ("killed", None, None),
    "poison": ("poison", None, None),
    "rejected": ("rejected", "Reject", 49),
}
"""The tube of a job to the kind of its burial, the type of the exception, and the line of its place."""
NONE = ("--retry-delays", "none")


@pytest.mark.parametrize("options", [(), ("--async-concurrency", "4")], ids=["sequential", "concurrent"])
def test_record_matches_the_burial(beanstalkd, run_worker, options):
    lost = beanstalkd.put("poison")
    beanstalkd.lose(lost)
    limits = ("--max-memory", "128Mi", "--max-lost-deliveries", "1")
    worker = run_worker(beanstalkd.server, FAILING, *NONE, *limits, *options)
    for tube in KINDS:
        job = lost if tube == "poison" else beanstalkd.put(tube)
        line = worker.wait_for_line("buried", job=job)
        assert beanstalkd.stats_job(job)["state"] == "buried"
        (record,) = [record for record in burial_records(beanstalkd) if record["job"] == job]
        check_record(record, line, tube, concurrent=bool(options))
        with QueueManager(beanstalkd.server) as queue:
            (found,) = [found for found in queue.burials().records if found.job == job]
        assert (found.kind, found.error, found.message) == (record["kind"], record["error"], record["message"])


def check_record(record, line, tube, *, concurrent):
    kind, error, place = KINDS[tube]
    if concurrent and tube == "deadline":
        error = record["error"]  # what held the event loop was broken off, or its task was cancelled
    assert (record["kind"], record["error"]) == (kind, error)
    assert record["place"] == line.get("at")
    assert (record["place"] is not None) == (place is not None)
    assert record["tube"] == tube
    assert (record["message"], record["attempts"]) == (line["reason"], line["attempt"])
    assert record["traceback"] == line.get("traceback")
    assert (record["traceback"] is None) == (kind in ("invalid", "poison", "killed", "memory") or error is None)
    assert record["worker"] == os.uname().nodename
    assert record["time"] <= datetime.fromisoformat(line["timestamp"]).timestamp() + 1e-6


def test_released_and_deleted_jobs_get_no_record(beanstalkd, run_worker):
    beanstalkd.put("exception")
    beanstalkd.put("poison")
    worker = run_worker(beanstalkd.server, FAILING, "--retry-delays", "1h")
    worker.wait_for_line("deleted")
    worker.wait_for_line("failed, retry later")
    assert count_records(beanstalkd) == 0


@pytest.mark.parametrize("tube", ["exception", "killed"])
def test_off_writes_none(beanstalkd, run_worker, tube):
    beanstalkd.put(tube)
    worker = run_worker(beanstalkd.server, FAILING, *NONE, prefix=("env", "TUBEHERD_BURIAL_RECORDS=off"))
    worker.wait_for_line("buried")
    assert beanstalkd.count(tube)["buried"] == 1
    assert beanstalkd.count(RECORDS) == NOTHING


@pytest.mark.usefixtures("no_executors")
def test_by_hand_records_are_written_unless_they_are_not_wanted(beanstalkd):
    @executor("mail")
    def mail(payload):
        raise LookupError(payload)

    for wanted, count in ((False, 0), (True, 1)):
        policy = Policy(RetrySchedule(()))
        with QueueManager(beanstalkd.server, policy=policy, burial_records=wanted) as queue:
            queue.put("mail", "ann")
            assert isinstance(queue.process(queue.get()).verdict, Bury)
            assert count_records(beanstalkd) == count


BATCHES = """
from tubeherd import events, executor
@executor("mail")
def mail(payload): ...
@events.flush.connect
def write(reason, count): raise OSError("no space left")
"""


def test_each_job_of_a_batch_that_is_buried_gets_a_record(beanstalkd, run_worker):
    jobs = [beanstalkd.put("mail") for _ in range(250)]
    worker = run_worker(beanstalkd.server, BATCHES, *NONE, "--ack-after-flush", "--batch-size", "250")
    worker.exit_code()
    assert beanstalkd.count("mail") == NOTHING | {"buried": 250}
    records = burial_records(beanstalkd)
    assert sorted(record["job"] for record in records) == jobs
    assert {record["message"] for record in records} == {"a listener of worker.flush raised OSError: no space left"}


# What becomes of a record whose job was not buried


@pytest.fixture
def buried(beanstalkd):
    """Reserve jobs of `mail` on a connection and return it with a way to bury them."""
    connection = beanstalkd.connection("mail")
    writer = BurialWriter(beanstalkd.server)

    def bury(*jobs):
        return list(writer.bury_all(connection, [Burying(job, 5, record(job)) for job in jobs]))

    def reserve(count=1):
        jobs = [beanstalkd.put("mail") for _ in range(count)]
        for _ in jobs:
            connection.ask_reserve(0)
            connection.take_reserved()
        return jobs

    bury.connection, bury.reserve, bury.writer = connection, reserve, writer
    return bury


def record(job):
    return b'{"job":%d}' % job


def whole_record(job):
    return encode(BurialRecord(job, "mail", datetime.now(UTC), BurialKind.EXCEPTION, "E", "f:1", "E: why", 1, "host"))


def test_record_goes_if_the_lease_was_gone(beanstalkd, buried):
    jobs = buried.reserve(3)
    buried.connection.settle(jobs[1], Delete())
    assert buried(*jobs) == [Settled.DONE, Settled.LEASE_GONE, Settled.DONE]
    assert [each["job"] for each in burial_records(beanstalkd)] == [jobs[0], jobs[2]]
    assert beanstalkd.count("mail") == NOTHING | {"buried": 2}


def test_record_goes_into_no_other_tube_and_the_job_is_buried_if_the_tube_of_records_is_refused(
    beanstalkd, interceptor, logged
):
    """As by a beanstalkd that has no memory for one more tube."""
    with QueueManager(interceptor.server, "mail") as queue:
        for _ in range(2):
            job = queue.put("mail", {})
            interceptor.answers["use"] = [b"OUT_OF_MEMORY"]
            assert queue.bury(queue.get("30 seconds"), "no such address") is Settled.DONE
            assert beanstalkd.stats_job(job)["state"] == "buried"
        assert queue.get() is None
        queue.bury(beanstalkd.put("mail") and queue.get("30 seconds"), "no such address")
    assert [line["event"] for line in logged() if line["level"] == "warning"] == [
        "beanstalkd refused the tube of burial records: OUT_OF_MEMORY; jobs are buried all the same"
    ]
    assert (beanstalkd.count("mail"), count_records(beanstalkd)) == (NOTHING | {"buried": 3}, 1)


def test_job_is_buried_though_the_connection_breaks_when_records_are_counted(beanstalkd, interceptor):
    interceptor.others["stats-tube"] = lambda _: b"quit\r\n"
    with QueueManager(interceptor.server, "mail") as queue:
        job = queue.put("mail", {})
        assert queue.bury(queue.get("30 seconds"), "no such address") is Settled.DONE
        assert beanstalkd.stats_job(job)["state"] == "buried"
        with pytest.raises(QueueUnavailable):
            queue.get()
    assert count_records(beanstalkd) == 1


@pytest.mark.parametrize("options", [(), ("--ack-after-flush", "--batch-size", "2")], ids=["alone", "a job deferred"])
def test_worker_lives_though_the_connection_of_a_dead_slot_breaks_when_records_are_counted(
    beanstalkd, interceptor, run_worker, options
):
    interceptor.others["stats-tube"] = lambda _: b"quit\r\n"
    _, killed = beanstalkd.put("poison"), beanstalkd.put("killed")
    listener = "\nfrom tubeherd import events\n@events.flush.connect\ndef flush(reason, count): ...\n"
    worker = run_worker(interceptor.server, FAILING + listener, *NONE, *options)
    worker.wait_for_line("buried", job=killed)
    worker.wait_for_line("deleted", job=beanstalkd.put("poison"))
    assert worker.stop() == 0
    assert (beanstalkd.count("killed"), beanstalkd.count("poison")) == (NOTHING | {"buried": 1}, NOTHING)
    assert count_records(beanstalkd) == 1


def test_connection_goes_on_after_a_lease_was_gone(beanstalkd, buried):
    (gone,) = buried.reserve()
    buried.connection.settle(gone, Delete())
    assert buried(gone) == [Settled.LEASE_GONE]
    (job,) = buried.reserve()
    assert buried(job) == [Settled.DONE]
    assert [each["job"] for each in burial_records(beanstalkd)] == [job]


def test_record_goes_if_the_lease_was_gone_and_the_next_reserve_was_sent_already(beanstalkd, buried):
    buried(*buried.reserve())  # the first burial looks how many records there are, which none does with a reserve
    gone, job = *buried.reserve(), beanstalkd.put("mail")
    buried.connection.settle(gone, Delete())
    assert buried.writer.bury(buried.connection, gone, 5, record(gone), ask_reserve=True) is Settled.LEASE_GONE
    assert buried.connection.take_reserved().stats.id == job
    assert count_records(beanstalkd) == 2
    buried.writer.make_room()
    assert count_records(beanstalkd) == 1
    observer = beanstalkd.client()
    before = observer.stats()["total-connections"]
    buried.writer.make_room()  # as after each further job that fails
    assert observer.stats()["total-connections"] == before


def test_record_of_a_lease_that_was_gone_and_cannot_be_removed_costs_no_other_its_record(beanstalkd, buried):
    writer = BurialWriter("127.0.0.1:1")  # where nobody listens: only the connection that buries is there
    job, gone, other = buried.reserve(3)
    assert writer.bury(buried.connection, job, 5, record(job)) is Settled.DONE
    buried.connection.settle(gone, Delete())
    assert writer.bury(buried.connection, gone, 5, record(gone), ask_reserve=True) is Settled.LEASE_GONE
    assert buried.connection.take_reserved() is None
    writer.make_room()
    assert writer.bury(buried.connection, other, 5, record(other)) is Settled.DONE
    assert [each["job"] for each in burial_records(beanstalkd)] == [job, gone, other]


WRITES = """
import socket
from tubeherd import events, executor
from traces import note

send = socket.socket.sendall
def noted(self, data):
    words = [line.split(b" ")[0].decode() for line in data.split(b"\\r\\n")]
    note("+".join(word for word in words if word in ("put", "bury", "reserve-with-timeout")))
    send(self, data)
socket.socket.sendall = noted

@executor("mail")
def mail(payload): raise LookupError
"""


@pytest.mark.parametrize(
    ("more", "together"),
    [
        ("", "put+bury+reserve-with-timeout"),
        ("\n@events.job_buried.connect\ndef on_buried(job, **fields): ...", "put+bury"),
        ("\n@events.job_failed.connect\ndef on_failed(job, **fields): ...", "put+bury"),
    ],
    ids=["no listener", "buried", "failed"],
)
def test_next_job_is_asked_for_together_with_a_burial_unless_listeners_come_first(
    beanstalkd, run_worker, more, together
):
    jobs = [beanstalkd.put("mail") for _ in range(4)]
    worker = run_worker(beanstalkd.server, WRITES + more, *NONE)
    worker.wait_for_lines("buried", len(jobs))
    writes = [note for note in worker.notes() if "bury" in note]
    assert writes == ["put+bury", *[together] * (len(jobs) - 1)]  # the first looks how many records there are


# Killed in the middle of the write


class SocketOfTheKilled(socket.socket):
    """A socket whose process ends by SIGKILL when so many bytes of the write that buries a job were sent."""

    kill_after = 0

    def sendall(self, data, flags=0):
        burying = data.startswith(b"put ")
        super().sendall(data[: self.kill_after] if burying else data, flags)
        if burying:
            os.kill(os.getpid(), signal.SIGKILL)


class CountingSocket(socket.socket):
    """A socket that remembers how long the write that buries a job was."""

    length = 0

    def sendall(self, data, flags=0):
        super().sendall(data, flags)
        self.length = len(data) if data.startswith(b"put ") else 0


def reserved_on(beanstalkd, kind):
    """Reserve a new job on a socket of this kind, and return its connection and the job."""
    job = beanstalkd.put("mail")
    with closing(open_socket(beanstalkd.server, 5)) as opened:
        sock = kind(fileno=os.dup(opened.fileno()))
    connection = Connection(sock)
    connection.watch_only(["mail"])
    connection.ask_reserve(5)
    assert connection.take_reserved().stats.id == job
    connection.begin_puts(RECORDS)
    return connection, sock, job


@pytest.mark.slow
@pytest.mark.timeout(360)  # it does much, which takes minutes on a busy machine
@pytest.mark.parametrize("ask_reserve", [False, True], ids=["with a look", "with a reserve"])
def test_slot_killed_at_any_byte_of_the_write_leaves_no_burial_without_its_record(beanstalkd, ask_reserve):
    """A copy of its connection lives on in the supervisor, which then closes it, as the page says COMMAND."""

    def bury(connection, job):
        writer = BurialWriter(beanstalkd.server)
        if ask_reserve:  # as if the process had buried a job before: the first burial looks, and sends no reserve
            writer._since_look = 0
        return writer.bury(connection, job, 5, whole_record(job), ask_reserve=ask_reserve)

    connection, sock, job = reserved_on(beanstalkd, CountingSocket)
    assert bury(connection, job) is Settled.DONE
    connection.abandon()
    whole = sock.length
    outcomes = Counter()
    for kill_after in range(whole + 1):
        connection, sock, job = reserved_on(beanstalkd, SocketOfTheKilled)
        sock.kill_after = kill_after
        pid = os.fork()
        if pid == 0:
            bury(connection, job)
            os._exit(1)
        assert os.WTERMSIG(os.waitpid(pid, 0)[1]) == signal.SIGKILL
        if kill_after == whole:  # beanstalkd may lose what it had not read when the connection ended
            wait_for(lambda job=job: beanstalkd.stats_job(job)["state"] == "buried", "it has read the whole write")
        connection.abandon()
        wait_for(lambda job=job: beanstalkd.stats_job(job)["state"] != "reserved", "the connection has ended")
        has_record = any(each["job"] == job for each in burial_records(beanstalkd))
        outcomes[beanstalkd.stats_job(job)["state"], has_record] += 1
        read_burials(beanstalkd.server)  # drops the record if its job was not buried
        assert any(each["job"] == job for each in burial_records(beanstalkd)) is (
            beanstalkd.stats_job(job)["state"] == "buried"
        )
        beanstalkd.delete(job)
    # After the put comes the bury, after that the look at how many records there are, or the reserve.
    assert set(outcomes) == {("ready", False), ("ready", True), ("buried", True)}


@pytest.mark.slow
@pytest.mark.timeout(360)  # it does much, which takes minutes on a busy machine
def test_connection_cut_at_any_byte_of_a_burial_loses_no_job_and_no_reason(beanstalkd, proxy):
    connection, sock, job = reserved_on(beanstalkd, CountingSocket)
    BurialWriter(beanstalkd.server).bury(connection, job, 5, whole_record(job))
    connection.abandon()
    states = set()
    for passed in range(sock.length + 1):
        job = beanstalkd.put("mail")
        before = len(f"watch mail\r\nignore default\r\nreserve-with-timeout 5\r\nstats-job {job}\r\nuse {RECORDS}\r\n")
        proxy.cut[proxy.connections + 1] = ("out", before + passed)
        with closing(connect(proxy.server)) as connection, suppress(QueueUnavailable):
            connection.watch_only(["mail"])
            connection.ask_reserve(5)
            connection.take_reserved()
            connection.begin_puts(RECORDS)
            BurialWriter(beanstalkd.server).bury(connection, job, 5, whole_record(job))
        wait_for(lambda job=job: beanstalkd.stats_job(job)["state"] != "reserved", "the connection has ended")
        states.add(state := beanstalkd.stats_job(job)["state"])
        shown = {record.job for record in read_burials(beanstalkd.server).records}
        assert (job in shown) is (state == "buried")
        beanstalkd.delete(job)
    assert states == {"ready", "buried"}


# Refusals


def metrics(address):
    with urlopen(f"http://{address}/metrics", timeout=PATIENCE) as answer:
        return answer.read().decode()


def drain(beanstalkd):
    os.kill(beanstalkd.stats()["pid"], signal.SIGUSR1)


@pytest.mark.parametrize("tube", ["exception", "killed"])
def test_server_that_drains_refuses_the_record_and_the_job_is_buried_all_the_same(
    beanstalkd, run_worker, address, tube
):
    jobs = [beanstalkd.put(tube) for _ in range(3)]
    drain(beanstalkd)
    worker = run_worker(beanstalkd.server, FAILING, *NONE, "--health", address)
    worker.wait_for_lines("buried", 3)
    assert {line["job"] for line in worker.lines("buried")} == set(jobs)
    assert beanstalkd.count(tube) == NOTHING | {"buried": 3}
    assert count_records(beanstalkd) == 0
    lost = "tubeherd_burial_records_lost_total 3.0"
    worker.wait_for(lambda: lost in metrics(address), "the lost records are counted")
    warnings = worker.lines("beanstalkd refused the record of a burial: DRAINING", level="warning")
    assert len(warnings) == (1 if tube == "exception" else len(warnings))


@pytest.mark.parametrize("tube", ["exception", "killed"])
def test_record_that_is_too_big_for_the_server_is_lost_and_the_job_is_buried(tmp_path, run_worker, tube):
    server = Beanstalkd(tmp_path / "small", "-z", "100")
    try:
        job = server.put(tube)
        worker = run_worker(server.server, FAILING, *NONE)
        worker.wait_for_line("buried", job=job)
        worker.wait_for_line("beanstalkd refused the record of a burial: JOB_TOO_BIG", level="warning")
        assert server.count(tube) == NOTHING | {"buried": 1}
        assert count_records(server) == 0
    finally:
        server.close()


UNSPEAKABLE = """
from tubeherd import executor
from traces import note
class Meta(type):
    @property
    def __name__(cls): raise RuntimeError("no name")
class Unspeakable(Exception, metaclass=Meta):
    def __str__(self): raise RuntimeError("no words")
@executor("mail")
def mail(payload): raise Unspeakable
"""


def test_exception_that_can_hardly_be_described_is_recorded(beanstalkd, run_worker):
    job = beanstalkd.put("mail")
    worker = run_worker(beanstalkd.server, UNSPEAKABLE, *NONE)
    line = worker.wait_for_line("buried", job=job)
    assert beanstalkd.count("mail")["buried"] == 1
    (record,) = burial_records(beanstalkd)
    assert record["message"] == line["reason"]


def test_record_that_cannot_be_made_is_lost_and_the_job_is_buried(beanstalkd, monkeypatch, logged):
    def encode(fields):
        raise RuntimeError("no")

    monkeypatch.setattr(recording, "encode", encode)
    job = beanstalkd.put("mail")
    connection = beanstalkd.connection("mail")
    connection.ask_reserve(0)
    stats = connection.take_reserved().stats
    done = Processed(Policy().job(stats), Bury(5, "why", BurialKind.EXCEPTION))
    assert Settler(Reporter(), BurialWriter(beanstalkd.server)).settle(connection, done) is Settled.DONE
    assert beanstalkd.stats_job(job)["state"] == "buried"
    assert count_records(beanstalkd) == 0
    assert [line["event"] for line in logged()] == ["no record could be made of the burial: RuntimeError"]


def test_of_many_burials_the_first_are_settled_before_the_records_of_the_last_are_made(beanstalkd, monkeypatch):
    """The supervisor closes a connection on which nothing is settled for a second while the worker stops."""
    made = []
    monkeypatch.setattr(recording, "encode", lambda fields: made.append(fields) or b"{}")
    batch = [Processed(Policy().job(FRESH), Bury(5, "why", BurialKind.EXCEPTION)) for _ in range(1000)]
    settler = Settler(Reporter(), BurialWriter(beanstalkd.server))
    settled = settler.settle_and_report_all(beanstalkd.connection("mail"), batch)
    next(settled)
    assert 0 < len(made) < 1000
    assert len([*settled]) == 999
    assert len(made) == 1000
