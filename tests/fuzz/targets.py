"""What is fuzzed: everything that reads what strangers wrote. A target returns for any input, or has found a bug."""

import math
from collections.abc import Callable
from contextlib import closing
from typing import Any, NamedTuple

from pydantic import BaseModel, ValidationError

from tests.support.processing import executor_taking, leased, processor_of
from tests.support.replies import AnsweredSocket, stats_job, stats_tube
from tubeherd.formats.durations import parse_duration
from tubeherd.formats.sizes import parse_size
from tubeherd.formats.tubes import check_tube
from tubeherd.policy import MAX_DELAY, BurialKind, Bury, Delete, Release
from tubeherd.queue.answers import LeaseGone, QueueUnavailable, RefusedError
from tubeherd.queue.connection import Connection
from tubeherd.queue.server import parse_server
from tubeherd.settings import WorkerSettings
from tubeherd_operator.decisions.request_value import Wanted, parse_value

SECRET = "hunter2"  # noqa: S105 - what no reason may hold
MESSAGE_MAX = 700  # 80 characters are quoted, of which a lone surrogate takes six


class Target(NamedTuple):
    """A function that must return for any input, with inputs to begin with and the length of the longest."""

    run: Callable[[bytes], None]
    seeds: list[bytes]
    longest: int = 200


# Answers of beanstalkd. The first byte chooses the command, the second how many bytes come at a time.


def take_foreseen(connection: Connection) -> Any:
    """Take a job whose counters were asked for with it."""
    for number in (4, 5, 6):
        connection.foresight.note(None, number)
    connection.settle(6, Delete(), ask_reserve=True)
    return connection.take_reserved()


COMMANDS: list[Callable[[Connection], Any]] = [
    lambda it: it.take_reserved(),
    take_foreseen,
    lambda it: it.stats_job(7),
    lambda it: it.settle(7, Delete()),
    lambda it: it.settle(7, Release(600, 5)),
    lambda it: it.settle(7, Bury(5, "why", BurialKind.EXCEPTION)),
    lambda it: it.take_touched(),
    lambda it: it.stats_tubes(["a", "b"]),
    lambda it: it.put("a", b"x", priority=0, delay=0, ttr=1),
    lambda it: it.kick_buried("a", 5),
    lambda it: it.watch_only(["a"]),
    lambda it: it.watched(),
]
ANSWERS = [
    b"RESERVED 7 2\r\n{}\r\n", b"TIMED_OUT\r\n", b"DEADLINE_SOON\r\n", stats_job(),
    stats_tube(), stats_tube() + b"USING a\r\nKICKED 4\r\n",
    b"DELETED\r\n", b"RELEASED\r\n", b"BURIED\r\n", b"BURIED 7\r\n", b"TOUCHED\r\n", b"NOT_FOUND\r\n",
    b"USING a\r\nINSERTED 7\r\n", b"WATCHING 2\r\nWATCHING 1\r\n",
    b"OK 9\r\n---\n- bc\n\r\nWATCHING 1\r\n", b"OUT_OF_MEMORY\r\n", b"INTERNAL_ERROR\r\n",
    b"RESERVED 7 1073741824\r\nab", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"220 mail ESMTP\r\n", b"\x16\x03\x01\x02\x00",
]  # fmt: skip


ALL = range(len(COMMANDS))


def numbers_in(value: Any) -> list[int]:
    """Return every number in what a command returned."""
    if isinstance(value, int):
        return [value]
    if isinstance(value, dict):
        return numbers_in(tuple(value.values()))
    if isinstance(value, tuple):
        return [number for item in value for number in numbers_in(item)]
    return numbers_in(tuple(getattr(value, name) for name in getattr(value, "__slots__", ())))


def answers(data: bytes) -> None:
    command, size, answer = (data[:1] or b"\0")[0], (data[1:2] or b"\0")[0], data[2:]
    value, said = None, "a value"
    pieces = (answer[start : start + 1 + size] for start in range(0, len(answer), 1 + size))
    with closing(Connection(AnsweredSocket(pieces))) as connection:
        try:
            value = COMMANDS[command % len(COMMANDS)](connection)
        except (QueueUnavailable, RefusedError, LeaseGone) as error:
            said = str(error)
    assert 5 <= len(said) <= MESSAGE_MAX, "the answer is dumped, or nothing is said"
    assert all(0 <= number < 2**64 for number in numbers_in(value)), value


# Payloads. The first byte chooses the annotation.


class Order(BaseModel):
    """A model with something of everything."""

    number: int
    lines: list[tuple[str, float]] = []
    notes: dict[str, int] = {}


class Node(BaseModel, extra="forbid"):
    """A model in itself."""

    a: "Node | None" = None


ANNOTATIONS = (Order, Node, Any, bytes, dict[int, float], list[Order] | int, str)
PROCESSORS = [processor_of(executor_taking(annotation)) for annotation in ANNOTATIONS]


def payloads(data: bytes) -> None:
    verdict = PROCESSORS[(data or b"\0")[0] % len(PROCESSORS)].process(leased(data[1:])).verdict
    assert isinstance(verdict, (Delete, Bury)), verdict
    if isinstance(verdict, Bury):
        assert 10 < len(verdict.reason) <= 500
        assert SECRET not in verdict.reason


BODIES = [
    b"{}", b'{"number": 1, "lines": [["a", 1.5]]}', b'{"number": "hunter2"}', b"[NaN, 1e999]", b'"\\ud800"',
    b'{"hunter2": 1}', b'{"a": {"a": null}}', b"[" * 300, b"9" * 4400, b'{"1": 2, "1": "hunter2"}',
]  # fmt: skip


# Texts that people write.


def refused(parse: Callable[[str], Any], data: bytes) -> bool:
    """Parse any text, lone surrogates included; returns whether it was refused, in few words."""
    said = None
    try:
        parse(text(data))
    except ValidationError as error:
        said = WorkerSettings.explain(error)
    except ValueError as error:
        said = str(error)
    assert said is None or 5 <= len(said) <= MESSAGE_MAX * (1 + data.count(b",")), said
    return said is not None


def text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def durations(data: bytes) -> None:
    if not refused(parse_duration, data):
        assert 0 <= parse_duration(text(data)) < math.inf


def sizes(data: bytes) -> None:
    if not refused(parse_size, data):
        assert 0 <= parse_size(text(data)) < 10**31


def tubes(data: bytes) -> None:
    if not refused(check_tube, data):
        assert 0 < len(data) <= 200
        assert not data.startswith((b"-", b"tubeherd."))
        assert not set(data) & set(b" \r\n\0,:'\"")


def servers(data: bytes) -> None:
    if not refused(parse_server, data):
        host, port = parse_server(text(data))
        assert host.isascii()
        assert 0 < port < 65536


def parse_delays(written: str) -> tuple[int, ...]:
    return WorkerSettings.model_validate({"retry_delays": written}).policy().schedule.delays


def retries(data: bytes) -> None:
    if not refused(parse_delays, data):
        delays = parse_delays(text(data))
        assert list(delays) == sorted(set(delays))
        assert all(0 < delay < MAX_DELAY for delay in delays)


def wanted_of_a_pool(written: str) -> Wanted:
    return parse_value("discard", written, ["mail", "news", "A-Z+/;.$_()"])


def requests(data: bytes) -> None:
    if not refused(wanted_of_a_pool, data):
        wanted = wanted_of_a_pool(text(data))
        assert wanted.tubes
        assert wanted.most is None or 0 < wanted.most < 10**18


TIMES = [
    b"90",
    b"90s",
    b"10 minutes",
    b"1h30m",
    b"1.5h",
    b"250ms",
    b"2 weeks",
    b"999999999w",
    b"\xd9\xa3s",
    b"5m\n",
    b"-5",
]
TARGETS = {
    "answers": Target(answers, [bytes([n, size]) + text for text in ANSWERS for n in ALL for size in (0, 255)], 2000),
    "payloads": Target(payloads, [bytes([n]) + body for body in BODIES for n in range(len(PROCESSORS))], 70_000),
    "durations": Target(durations, TIMES),
    "sizes": Target(sizes, [b"0", b"256Mi", b"1.5Gi", b"500M", b"2k", b"9" * 30 + b"Ti", b"1Mi\n", b"-1"]),
    "tubes": Target(tubes, [b"a", b"A-Z+/;.$_()", b"x" * 200, b"x" * 201, b"-a", b"a\n", b"\xc3\xbc"], 300),
    "servers": Target(servers, [b"a", b"a.b.svc:1", b"[::1]", b"[fe80::1]:65535", b"::1", b"a:65536", b"http://a"]),
    "retries": Target(retries, [b"none", b"10s,10m", b"1s,,1s, 1s", *TIMES]),
    "requests": Target(requests, [b"all", b"25", b"mail:all", b"news:3", b"A-Z+/;.$_():1", b"\xd9\xa1", b"0"]),
}  # fmt: skip
