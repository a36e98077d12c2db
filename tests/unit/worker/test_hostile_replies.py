"""Replies that no beanstalkd would give, cut and split anywhere: a value that makes sense, or one clear error."""

import re
import socket
import struct
import threading
import time
import tracemalloc
from contextlib import closing, suppress
from dataclasses import asdict, is_dataclass
from itertools import pairwise
from typing import NamedTuple

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.support.replies import AnsweredSocket, document, stats, stats_job, stats_tube
from tubeherd.policy import BurialKind, Bury, Delete, Release
from tubeherd.queue import tubes
from tubeherd.queue.answers import Burying, QueueUnavailable, RefusedError, Reserved
from tubeherd.queue.bulk import BulkConnection
from tubeherd.queue.connection import Connection, connect
from tubeherd.queue.looking import LookingConnection

U64 = range(2**64)


class Exchange(NamedTuple):
    """A command and what beanstalkd answers to it."""

    ask: object
    answer: bytes


JOB = stats_job()
TUBE = stats_tube()


def without_time(reserved: Reserved | None) -> Reserved | None:
    return reserved and reserved._replace(since=0)


def take_four(connection: Connection) -> tuple[Reserved | None, ...]:
    """Do the jobs 5 to 7 and take the next, which is foreseen to be 8."""
    connection.ask_reserve(0)
    taken = [connection.take_reserved()]
    for job in (5, 6, 7):
        connection.settle(job, Delete(), ask_reserve=True)
        taken.append(connection.take_reserved())
    return tuple(map(without_time, taken))


FOUR = b"DELETED\r\n".join(
    b"RESERVED %d 2\r\n{}\r\n%b" % (job, JOB.replace(b"id: 7", b"id: %d" % job)) for job in (5, 6, 7, 8)
)
STATES = b"NOT_FOUND\r\n" + JOB


WHOLE_TUBE = document(
    b"---\nname: a\ncurrent-jobs-urgent: 0\ncurrent-jobs-ready: 1\ncurrent-jobs-reserved: 2\ncurrent-jobs-delayed: 3\n"
    b"current-jobs-buried: 4\ntotal-jobs: 50\ncurrent-using: 0\ncurrent-watching: 6\ncurrent-waiting: 5\n"
    b"cmd-delete: 40\ncmd-pause-tube: 1\npause: 60\npause-time-left: 7\n"
)
SERVER = document(
    b"---\ncurrent-jobs-urgent: 0\ncurrent-jobs-ready: 1\ncurrent-jobs-reserved: 2\ncurrent-jobs-delayed: 3\n"
    b"current-jobs-buried: 4\ntotal-jobs: 50\ncurrent-tubes: 6\ncurrent-workers: 5\n"
)


def looking(action):
    """Return what only looks."""
    return lambda it: action(LookingConnection(it.socket))


def bulk(action):
    """Return what does something with all jobs of the tube a."""
    return lambda it: action(BulkConnection(it.socket, "a"))


def buried(connection, jobs):
    """Bury these jobs in one write, with their records in the tube a."""
    connection.begin_puts("a")
    connection.ask_burials(jobs, 120)
    return tuple(connection.take_buried(job.record is not None) for job in jobs)


def bury_one(connection):
    """Bury a job with its record in the tube a."""
    connection.begin_puts("a")
    return connection.bury(7, 5, b"{}", 120)


MARKS = document(b"---\n" + b"".join(b"%b: %d\n" % (name.encode(), number) for number, name in enumerate(tubes.MARKS)))
OPENED = b"WATCHING 2\r\nWATCHING 1\r\nUSING a\r\n"
"""The answers to what opens a connection for one tube."""
TOTALS = stats_tube().replace(b"buried: 4\n", b"buried: 4\ntotal-jobs: 9\n")
TOTALS = document(TOTALS.partition(b"\r\n")[2][:-2])
EXCHANGES = {
    "take_reserved": Exchange(lambda it: without_time(it.take_reserved()), b'RESERVED 7 9\r\n{"a": 1}\n\r\n' + JOB),
    "take_four": Exchange(take_four, FOUR),
    "stats_job": Exchange(lambda it: it.stats_job(7), JOB),
    "delete": Exchange(lambda it: it.settle(7, Delete()), b"DELETED\r\n"),
    "release": Exchange(lambda it: it.settle(7, Release(600, 5)), b"RELEASED\r\n"),
    "bury": Exchange(lambda it: it.settle(7, Bury(5, "why", BurialKind.EXCEPTION)), b"BURIED\r\n"),
    "bury_with_record": Exchange(lambda it: buried(it, [Burying(7, 5, b"{}")]), b"USING a\r\nINSERTED 9\r\nBURIED\r\n"),
    "bury_one": Exchange(bury_one, b"USING a\r\nINSERTED 9\r\nBURIED\r\n"),
    "bury_all": Exchange(
        lambda it: buried(it, [Burying(7, 5, b"{}"), Burying(8, 5, None)]),
        b"USING a\r\nDRAINING\r\nBURIED\r\nNOT_FOUND\r\n",
    ),
    "look": Exchange(lambda it: it.take_look(), TUBE + b"FOUND 7 2\r\n{}\r\n" + stats()),
    "server_id": Exchange(lambda it: it.server_id(), stats()),
    "totals": Exchange(bulk(lambda it: it.totals()), OPENED + TOTALS),
    "buried_jobs": Exchange(bulk(lambda it: it.buried_jobs()), OPENED + MARKS),
    "server_stats": Exchange(lambda it: it.server_stats().marks, MARKS),
    "take": Exchange(bulk(lambda it: tuple(it.take(2))), OPENED + b"RESERVED 7 2\r\n{}\r\nTIMED_OUT\r\n"),
    "states": Exchange(bulk(lambda it: tuple(it.states([7, 8]))), OPENED + STATES),
    "delete_all": Exchange(bulk(lambda it: it.delete([7, 8])), OPENED + b"DELETED\r\nNOT_FOUND\r\n"),
    "look_at_tubes": Exchange(looking(lambda it: tuple(it.tubes(["a", "b"]))), WHOLE_TUBE + b"NOT_FOUND\r\n"),
    "look_at_jobs": Exchange(looking(lambda it: tuple(it.jobs([7, 8]))), JOB + b"NOT_FOUND\r\n"),
    "look_at_bodies": Exchange(looking(lambda it: tuple(it.peek([7, 8]))), b"FOUND 7 2\r\n{}\r\nNOT_FOUND\r\n"),
    "look_at_next": Exchange(looking(lambda it: it.peek_next("a", "ready")), b"USING a\r\nFOUND 7 2\r\n{}\r\n"),
    "look_at_ready": Exchange(
        looking(lambda it: it.next_ready(["a", "b"])),
        b"USING a\r\nFOUND 7 2\r\n{}\r\nUSING b\r\nNOT_FOUND\r\nUSING default\r\n" + JOB,
    ),
    "look_at_names": Exchange(looking(lambda it: tuple(it.tube_names())), document(b"---\n- a\n- b\n")),
    "look_at_server": Exchange(looking(lambda it: it.server()), SERVER),
    "take_touched": Exchange(lambda it: it.take_touched(), b"TOUCHED\r\n"),
    "stats_tubes": Exchange(lambda it: it.stats_tubes(["a", "b", "c"]), TUBE + b"NOT_FOUND\r\n" + TUBE),
    "put": Exchange(
        lambda it: it.put("a", b"x", priority=0, delay=0, ttr=1), b"USING a\r\nINSERTED 9999999999999999999\r\n"
    ),
    "max_job_size": Exchange(lambda it: it.max_job_size(), document(b"---\nmax-job-size: 65535\ndraining: false\n")),
    "take_put": Exchange(lambda it: it.take_put(), b"INSERTED 9\r\n"),
    "kick_buried": Exchange(lambda it: it.kick_buried("a", 5), TUBE + b"USING a\r\nKICKED 4\r\n"),
    "watch_only": Exchange(lambda it: it.watch_only(["a", "b"]), b"WATCHING 2\r\nWATCHING 3\r\nWATCHING 2\r\n"),
    "watched": Exchange(lambda it: tuple(it.watched()), document(b"---\n- a\n- b\n- c\n")),
}
commands = pytest.mark.parametrize("command", EXCHANGES)

REFUSALS = [
    "OUT_OF_MEMORY", "INTERNAL_ERROR", "DRAINING", "BAD_FORMAT", "UNKNOWN_COMMAND", "JOB_TOO_BIG", "EXPECTED_CRLF",
]  # fmt: skip
OTHERS = [
    b"", b"\r\n", b"\n", b"\r\n\r\n", b"OK 2\r\n{}\r\n", b"WATCHING 1\r\n", b"USING a\r\n", b"INSERTED 1\r\n",
    b"RESERVED 1 0\r\n\r\n", b"FOUND 1 0\r\n\r\n", b"KICKED\r\n", b"PAUSED\r\n", b"DELETED\r\n", b"TOUCHED\r\n",
    b"RELEASED\r\n", b"BURIED\r\n", b"BURIED 7\r\n", b"BURIED x\r\n", b"NOT_FOUND\r\n", b"NOT_IGNORED\r\n",
    b"TIMED_OUT\r\n", b"DEADLINE_SOON\r\n", *(f"{refusal}\r\n".encode() for refusal in REFUSALS),
    b"HTTP/1.1 400 Bad Request\r\nServer: nginx\r\nConnection: close\r\n\r\n<html>\r\n",
    b"220 mail.example.org ESMTP Postfix\r\n", b"-ERR unknown command\r\n", b"SSH-2.0-OpenSSH_9.2\r\n",
    b"\x15\x03\x01\x00\x02\x02\x0a", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"\x00" * 40, b"x" * 5000,
]  # fmt: skip
NUMBERS = [
    b"-1", b"+7", b"1_0", b"0x7", b"1e3", b"7.0", b"007", b"\xd9\xa7", b"x", b"", b"4294967296", b"9223372036854775808",
    b"18446744073709551615", b"18446744073709551616", b"9" * 30, b"9" * 900, b"-9" + b"9" * 30,
    b"1073741822", b"1073741823", b"1073741824",
]  # fmt: skip
BAD_NUMBERS = [b"-1", b"+7", b"1_0", b"x", b"18446744073709551616", b"9" * 30]


def ask(command: str, *pieces: bytes) -> object:
    """Return what the command makes of these answers, or raise."""
    with closing(Connection(AnsweredSocket(pieces))) as connection:
        return EXCHANGES[command].ask(connection)


def numbers_in(value):
    match value:
        case dict():
            return [number for item in value.values() for number in numbers_in(item)]
        case tuple():
            return [number for item in value for number in numbers_in(item)]
        case int():
            return [value]
    return numbers_in(asdict(value)) if is_dataclass(value) else []


def give_a_value_or_a_clear_error(command: str, *pieces: bytes) -> None:
    """Check what must hold of any answer at all."""
    message, value = None, None
    try:
        value = ask(command, *pieces)
    except (QueueUnavailable, RefusedError) as error:
        message = str(error)
    assert message is None or re.fullmatch(r"[\w' ().,-]{5,150}", message, re.ASCII)
    assert all(number in U64 for number in numbers_in(value)), value


@st.composite
def asked(draw) -> tuple[str, bytes]:
    """A command and an answer: the right one with a token changed, cut, or with bytes put in; other answers; bytes."""
    command = draw(st.sampled_from(list(EXCHANGES)))
    answer = EXCHANGES[command].answer
    start = draw(st.integers(0, len(answer)))
    end = draw(st.integers(start, len(answer)))
    kind = draw(st.sampled_from(["number", "bytes", "cut", "others", "anything"]))
    if kind == "number":
        found = draw(st.sampled_from(list(re.finditer(rb"\b[0-9]+\b", answer)) or [re.search(b"$", answer)]))
        return command, answer[: found.start()] + draw(st.sampled_from(NUMBERS)) + answer[found.end() :]
    if kind == "bytes":
        return command, answer[:start] + draw(st.binary(max_size=10)) + answer[end:]
    if kind == "cut":
        return command, answer[:end]
    if kind == "others":
        return command, b"".join(draw(st.lists(st.sampled_from([*OTHERS, answer]), max_size=5)))
    return command, draw(st.binary(max_size=40))


def split(data: bytes, places: list[int]) -> list[bytes]:
    marks = [0, *sorted({place % (len(data) + 1) for place in places}), len(data)]
    return [data[start:end] for start, end in pairwise(marks)]


@settings(max_examples=500)
@given(asked(), st.lists(st.integers(0, 5000), max_size=4))
@example(("release", b"BURIED x\r\n"), [])
@example(("stats_job", b"NOT_FOUND \xff\r\n"), [])
@example(("kick_buried", EXCHANGES["kick_buried"].answer.replace(b"buried: 4", b"buried: -4")), [])
def test_any_answer_split_anywhere_is_a_value_or_a_clear_error(asked, places):
    command, answer = asked
    give_a_value_or_a_clear_error(command, *split(answer, places))


def test_any_other_answer_is_a_value_or_a_clear_error():
    for command in EXCHANGES:
        for other in OTHERS:
            give_a_value_or_a_clear_error(command, other)


@commands
def test_right_answer_a_byte_at_a_time_is_taken_as_a_whole_one(command):
    answer = EXCHANGES[command].answer
    assert ask(command, *(bytes([byte]) for byte in answer)) == ask(command, answer)


@commands
def test_connection_that_closes_at_any_byte_is_unavailable(command):
    answer = EXCHANGES[command].answer
    for end in range(len(answer)):
        with pytest.raises(QueueUnavailable, match="closed the connection"):
            ask(command, answer[:end])


@commands
def test_refusal_says_in_beanstalkds_word_what_it_was(command):
    # These answers are read all the same.
    others = {"look": b"NOT_FOUND\r\n" + stats(), "watch_only": b"WATCHING 2\r\n"}.get(command, b"")
    for refusal in REFUSALS:
        for more in (b"", b" s3cret \xff"):
            with pytest.raises(RefusedError, match=f"^{refusal}$"):
                ask(command, refusal.encode() + more + b"\r\n" + others)


def test_job_that_is_not_there_has_no_counters():
    assert ask("stats_job", b"NOT_FOUND\r\n") is None


@pytest.mark.parametrize("command", ["delete", "take_touched"])
def test_burial_is_no_answer_to_a_command_that_never_buries(command):
    with pytest.raises(QueueUnavailable):
        ask(command, b"BURIED\r\n")


@pytest.mark.parametrize(
    ("command", "answer"),
    [
        ("take_reserved", b"RESERVED %b 2\r\n{}\r\n" + JOB.replace(b"id: 7", b"id: %b")),
        ("put", b"USING a\r\nINSERTED %b\r\n"),
        ("kick_buried", TUBE + b"USING a\r\nKICKED %b\r\n"),
        ("watch_only", b"WATCHING %b\r\n" * 3),
    ],
)
def test_number_that_beanstalkd_cannot_write_is_strange(command, answer):
    numbers = numbers_in(ask(command, answer.replace(b"%b", b"9" * 19)))
    assert not numbers or numbers[0] == 10**19 - 1
    for number in BAD_NUMBERS:
        with pytest.raises(QueueUnavailable):
            ask(command, answer.replace(b"%b", number))


@pytest.mark.parametrize("name", ["id", "pri", "age", "delay", "ttr", "reserves", "releases", "buries", "kicks"])
def test_counter_that_beanstalkd_cannot_write_is_strange(name):
    stats = JOB.partition(b"\r\n")[2].removesuffix(b"\r\n")
    for number in BAD_NUMBERS if name != "age" else BAD_NUMBERS[1:]:  # an age may be below 0
        with pytest.raises(QueueUnavailable):
            ask(
                "stats_job",
                document(re.sub(rb"(?m)^%b: .*$" % name.encode(), b"%b: %b" % (name.encode(), number), stats)),
            )


@pytest.mark.parametrize("pieces", [1, 40])
def test_job_is_of_no_age_if_the_clock_of_beanstalkd_was_put_back(pieces):
    answer = stats_job(age=-3599)
    size = -(-len(answer) // pieces)
    stats = ask("stats_job", *(answer[at : at + size] for at in range(0, len(answer), size)))
    assert (stats.age, stats.delay) == (0, 2)
    with closing(LookingConnection(AnsweredSocket([answer]))) as looking:
        (counters,) = looking.jobs([7])
    assert (counters.age, counters.delay) == (0, 2)


def test_statistics_of_another_job_are_strange():
    """An answer to another command: a verdict by it would hit the wrong job."""
    with pytest.raises(QueueUnavailable):
        ask("stats_job", JOB.replace(b"id: 7", b"id: 8"))


@pytest.mark.parametrize("command", ["take_reserved", "stats_job", "stats_tubes"])
def test_size_that_is_only_claimed_takes_no_memory(command):
    status = b"RESERVED 7" if command == "take_reserved" else b"OK"
    tracemalloc.start()
    try:
        with pytest.raises(QueueUnavailable):
            ask(command, b"%b %d\r\n" % (status, 1 << 30), b"ab")
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("command", ["stats_job", "stats_tubes"])
def test_document_that_is_too_large_is_not_read(command):
    peer = AnsweredSocket([b"OK 1000000000\r\n", *[b"x" * 65536] * 1000])
    with closing(Connection(peer)) as connection, pytest.raises(QueueUnavailable, match="is not beanstalkd's"):
        EXCHANGES[command].ask(connection)
    assert peer.taken < 20_000


def test_jobs_that_are_no_burial_records_for_their_size_take_no_memory():
    large = [b"RESERVED 7 32769\r\n", b"x" * 32769 + b"\r\n"] * 100
    peer = AnsweredSocket([OPENED, *large, b"RESERVED 8 32768\r\n" + b"x" * 32768 + b"\r\nTIMED_OUT\r\n"])
    tracemalloc.start()
    try:
        with closing(Connection(peer)) as connection:
            taken = BulkConnection(connection.socket, "a").take(102)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()
    assert [job.body for job in taken] == [None] * 100 + [b"x" * 32768]


@commands
@pytest.mark.parametrize("piece", [b"x" * 100, b"\r" * 100, b"OK ", b"RESERVED 7 "])
def test_line_without_an_end_is_given_up_early(command, piece):
    peer = AnsweredSocket([piece] * 2000)
    with closing(Connection(peer)) as connection, pytest.raises(QueueUnavailable, match="is not beanstalkd's"):
        EXCHANGES[command].ask(connection)
    assert peer.taken < 20_000


@pytest.mark.parametrize("answer", [b"x" * 1000, b"RESERVED 7 1000\r\n" + b"x" * 1002], ids=["line", "body"])
def test_answer_that_dribbles_is_given_up(monkeypatch, answer):
    """A byte each second: were there a limit for each read only, this could go on for weeks."""
    peer = AnsweredSocket(bytes([byte]) for byte in answer)
    monkeypatch.setattr(time, "monotonic", lambda: float(peer.taken))
    with closing(Connection(peer)) as connection, pytest.raises(QueueUnavailable, match="gave no answer within 10 s"):
        connection.take_reserved()
    assert peer.taken < 50


@given(st.lists(st.sampled_from(OTHERS) | st.binary(max_size=5), max_size=6))
@example([b"BURIED x\r\n"])
def test_nothing_is_read_after_the_connection_closed(pieces):
    peer = AnsweredSocket(pieces)
    with closing(Connection(peer)) as connection, suppress(QueueUnavailable):
        while True:
            with suppress(RefusedError):
                connection.stats_job(7)
    assert peer.reads_after_the_end <= 1


@pytest.mark.timeout(10)
def test_two_answers_that_come_apart_are_taken():
    """The kernel must not put a reader to sleep for ever that has taken the first answer already."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        connection = connect(f"127.0.0.1:{listener.getsockname()[1]}")
        peer, _ = listener.accept()
    connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", 0, 0))  # no end of a sleep
    second = threading.Timer(0.1, peer.sendall, [b"TIMED_OUT\r\n"])
    with closing(connection), closing(peer):
        peer.sendall(b"DELETED\r\n")
        second.start()
        try:
            connection.settle(7, Delete(), ask_reserve=True)
            assert connection.take_reserved() is None
        finally:
            second.join()
