"""What the records of burials cost: how fast jobs are buried with them and without, when there are 10,000 already."""

import socket
from statistics import median
from typing import Final

from tests.bench.broker import FAILING, Broker, beanstalkd
from tests.bench.contestants import bench_elsewhere
from tests.bench.report import figure
from tests.bench.throughput import PINNED
from tests.bench.worker import tubeherd_run
from tubeherd.burials.record import RECORDS_MOST, RECORDS_TUBE

_ROUNDS: Final = 5
_JOBS: Final = 20_000
_BATCH: Final = 500


def with_and_without_records() -> list[list[str]]:
    """Measure in turn how long 20,000 burials take with records and without, beanstalkd and the worker on one core."""
    times: dict[str, list[float]] = {"on": [], "off": []}
    with bench_elsewhere(PINNED.cores):
        for _ in range(_ROUNDS):
            for records, seconds in times.items():
                seconds.append(_burial(records) * 1e6)
    ratios = [(1 - off / on) * 100 for on, off in zip(times["on"], times["off"], strict=True)]
    return [
        figure("burial without a record", times["off"], "us"),
        figure("burial with its record, 10,000 records kept", times["on"], "us"),
        figure("throughput of burying that records cost", ratios, "%", most=15, judged=median),
    ]


def _burial(records: str) -> float:
    """Return how many seconds one burial takes, from the call for the first job to the call for the last one."""
    options = ("--retry-delays", "none", "--burial-records", records)
    with beanstalkd(PINNED.cores) as broker:
        _fill_records(broker)
        with tubeherd_run(broker, *options, cores=PINNED.cores) as worker:
            worker.wait_until_idle()
            with broker.paused():
                broker.fill(_JOBS, FAILING)
            first, last = worker.wait_for_notes(2, pause=0.05)
    return (last.time - first.time) / _JOBS


def _fill_records(broker: Broker) -> None:
    """Put as many records as are kept, so that old ones have to go from the first burial on."""
    put = b"put 65536 0 120 600\r\n%b\r\n" % (b"x" * 600)
    with socket.create_connection(("127.0.0.1", broker.port)) as sock, sock.makefile("rb") as answers:
        sock.sendall(b"use %b\r\n" % RECORDS_TUBE.encode())
        answers.readline()
        for _ in range(RECORDS_MOST // _BATCH):
            sock.sendall(put * _BATCH)
            for _ in range(_BATCH):
                answers.readline()
