"""Whatever becomes of descriptors 0, 1 and 2: none is ever a connection or file of ours, and no other job suffers."""

import os
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support.beanstalkd import NOTHING
from tests.support.processes import children

EXECUTORS = """
import asyncio, os, subprocess, sys, threading, time
from traces import note, wait_for
from tubeherd import executor

@executor("harm")
async def harm(payload: bytes): exec(payload)

@executor("mail")
def mail(payload):
    print("mail", payload)
    print("mail", payload, file=sys.stderr)

@executor("open")
async def open_files(payload):
    with open(f"{os.environ['FOLDER']}/{payload}", "w") as file:
        mail(payload)
        subprocess.run(["echo", "child", str(payload)], check=True)
        file.write("open")
"""
HARM = {
    "stdin": "os.close(0)",
    "stdout": "os.close(1)",
    "stderr": "os.close(2)",
    "all": "os.closerange(0, 3)",
    "objects": "sys.stdin.close(), sys.stdout.close(), sys.stderr.close(), os.close(1), os.close(2)",
    "detached": "os.fdopen(0).close(); os.fdopen(1).close(); os.fdopen(2).close()",
}
CLOSING_AT_ANY_MOMENT = """
def close():
    while True:
        for fd in range(3):
            try: os.close(fd)
            except OSError: pass
threading.Thread(target=close, daemon=True).start()
"""
LANES = pytest.mark.parametrize("lanes", ["1", "4"])
NONE = ("--retry-delays", "none")


def redirected(how, *words):
    """Return a command that runs another with its streams redirected so, in the shell's words; `words` are $1, $2, …"""
    return ["sh", "-c", f'exec {how}; shift {len(words)}; exec "$@"', "sh", *map(str, words)]


def descriptors(pid):
    """Return what each descriptor of a process refers to, by its number."""
    files = {}
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # it was closed meanwhile
            files[int(link.name)] = os.readlink(link)
    return files


# Descriptors that are closed


@LANES
@pytest.mark.parametrize("harm", HARM)
def test_job_that_closes_standard_streams_harms_no_other(beanstalkd, run_worker, tmp_path, harm, lanes):
    out = tmp_path / "out"
    worker = run_worker(
        beanstalkd.server, EXECUTORS, *NONE, "--async-concurrency", lanes, prefix=redirected('>"$1"', out)
    )
    harmful = beanstalkd.put("harm", HARM[harm])
    worker.wait_for_line("deleted", job=harmful)
    jobs = beanstalkd.put_numbers("open", 5)
    worker.wait_for_lines("deleted", 6)
    beanstalkd.put("harm", HARM[harm])
    worker.wait_for_lines("deleted", 7)
    beanstalkd.kill()
    beanstalkd.start()
    jobs += beanstalkd.put_numbers("open", 10, first=5)
    worker.wait_for_lines("deleted", 17)
    assert beanstalkd.count("open") == NOTHING
    assert {line["job"] for line in worker.lines("deleted")} >= set(jobs)
    assert {(worker.folder / str(number)).read_text() for number in range(15)} == {"open"}
    assert sorted(out.read_text().splitlines()) == sorted(
        f"{who} {number}" for who in ("mail", "child") for number in range(15)
    )
    assert [line for line in worker.output().splitlines() if line.startswith("mail")] == [
        line for line in out.read_text().splitlines() if line.startswith("mail")
    ]
    assert worker.stop() == 0


SLOW_SOCKETS = """
import socket, time
resolve, detach = socket.getaddrinfo, socket.socket.detach
def resolve_slowly(*address, **options):  # the job has closed the stream when the socket is opened
    time.sleep(0.1)
    return resolve(*address, **options)
def detach_slowly(sock):  # until it is detached, a socket has the lowest number that was free
    time.sleep(0.2)
    return detach(sock)
socket.getaddrinfo, socket.socket.detach = resolve_slowly, detach_slowly
"""


@pytest.mark.parametrize("harm", HARM)
def test_stream_is_mended_although_a_thread_opens_a_connection_when_it_is_closed(
    beanstalkd, run_worker, tmp_path, harm
):
    out = tmp_path / "out"
    prefix = redirected('>"$1"', out)
    beanstalkd.put("harm", f"{HARM[harm]}; time.sleep(0.2)")  # the second lane connects meanwhile
    worker = run_worker(beanstalkd.server, SLOW_SOCKETS + EXECUTORS, *NONE, "--async-concurrency", "4", prefix=prefix)
    worker.wait_for_line("deleted")
    beanstalkd.put_numbers("open", 5)
    worker.wait_for_lines("deleted", 6)
    assert {(worker.folder / str(number)).read_text() for number in range(5)} == {"open"}
    assert sorted(out.read_text().splitlines()) == sorted(f"{who} {n}" for who in ("mail", "child") for n in range(5))
    assert not worker.lines("cannot reach")
    assert worker.stop() == 0


@LANES
def test_thread_that_closes_standard_streams_all_the_time_costs_no_job(beanstalkd, run_worker, lanes):
    worker = run_worker(beanstalkd.server, EXECUTORS, *NONE, "--async-concurrency", lanes)
    beanstalkd.put("harm", CLOSING_AT_ANY_MOMENT)
    worker.wait_for_line("deleted")
    for restart in range(1, 4):
        jobs = beanstalkd.put_numbers("mail", 30)
        worker.wait_for_lines("deleted", 1 + 30 * restart)
        assert {line["job"] for line in worker.lines("deleted")} >= set(jobs)
        assert beanstalkd.count("mail") == NOTHING
        beanstalkd.kill()
        beanstalkd.start()
        worker.wait_for(lambda: beanstalkd.waiting("mail"), "the worker has connected again")
    assert not worker.lines("buried")
    assert worker.stop() == 0


@pytest.mark.parametrize("closed", ["0", "1", "2", "01", "02", "12", "012"])
def test_worker_started_with_closed_standard_streams_does_its_jobs(beanstalkd, run_worker, closed, address):
    jobs = beanstalkd.put_numbers("open", 3) + beanstalkd.put_numbers("mail", 3)
    how = " ".join(f"{fd}>&-" for fd in closed)
    worker = run_worker(beanstalkd.server, EXECUTORS, *NONE, "--health", address, prefix=redirected(how))
    for tube in ("open", "mail"):
        worker.wait_for(lambda tube=tube: beanstalkd.count(tube) == NOTHING, "the jobs are done")
    assert {descriptors(pid)[int(fd)] for fd in closed for pid in (worker.process.pid, *worker.slots())} == {os.devnull}
    if "2" not in closed:
        assert {line["job"] for line in worker.wait_for_lines("deleted", 6)} == set(jobs)
    assert worker.stop() == 0


@pytest.mark.parametrize(("words", "count"), [("mail 1 >&-", 1), ("mail 1 2>&-", 1), ("mail <&- >&- 2>&-", 0)])
def test_command_with_closed_standard_streams_puts_its_jobs(beanstalkd, words, count):
    command = f'exec "$1" -m tubeherd schedule --server "$2" {words}'
    assert subprocess.run(["sh", "-c", command, "sh", sys.executable, beanstalkd.server]).returncode == 0
    assert beanstalkd.count("mail") == NOTHING | {"ready": count}


@LANES
def test_no_descriptor_of_ours_has_a_number_below_ten(beanstalkd, run_worker, address, lanes):
    worker = run_worker(
        beanstalkd.server,
        """
        import asyncio
        from prometheus_client import Counter, Gauge
        from traces import FOLDER, note
        from tubeherd import executor
        mails = Counter("mails", "Mails", ["to"])
        last = Gauge("last", "Last")
        @executor("mail")
        async def mail(payload):
            mails.labels(payload).inc()
            last.set(payload)
            note("begun")
            while not (FOLDER / "go").exists():
                await asyncio.sleep(0.01)
        """,
        "--health", address, "--async-concurrency", lanes, "--concurrency", "2",
    )  # fmt: skip
    host, port = address.split(":")
    jobs = beanstalkd.put_numbers("mail", 2 * int(lanes))
    worker.wait_for(lambda: len(worker.notes()) == len(jobs), "every lane does a job")
    with socket.create_connection((host, int(port))):
        supervisor, sockets = worker.process.pid, 6 + 2 * int(lanes)  # of signals, slots, health and lanes
        worker.wait_for(
            lambda: sum("socket" in file for file in descriptors(supervisor).values()) == sockets,
            "the supervisor has all its sockets, also the one from here",
        )

        def below_ten():
            return [[fd for fd in sorted(descriptors(pid)) if fd < 10] for pid in (supervisor, *children(supervisor))]

        # A file that is only read, and closed at once, may have any number.
        worker.wait_for(lambda: below_ten() == [[0, 1, 2]] * 3, "no other descriptor is left open below 10")
    worker.allow("go")
    worker.wait_for_lines("deleted", len(jobs))
    assert worker.stop() == 0


# Prints


def test_what_a_job_prints_appears_at_once_and_is_not_lost_if_its_slot_is_killed(beanstalkd, run_worker, tmp_path):
    out = tmp_path / "out"
    worker = run_worker(
        beanstalkd.server,
        """
        import sys
        from traces import note, wait_for
        from tubeherd import executor
        @executor("mail")
        def mail(payload):
            print("printed", payload)
            print("and a half", end="")
            sys.stdout.buffer.write(b" and bytes")
            print("error", end="", file=sys.stderr)
            note("begun")
            wait_for("go")
        """,
        *NONE,
        prefix=["env", "--unset", "PYTHONUNBUFFERED", *redirected('>"$1"', out)],
    )
    beanstalkd.put_numbers("mail", 1)
    worker.wait_for_notes("begun")
    assert out.read_text() == "printed 0\nand a half and bytes"
    assert worker.output().endswith("error")
    os.kill(worker.slots()[0], signal.SIGKILL)
    worker.wait_for(lambda: beanstalkd.count("mail") == NOTHING | {"buried": 1}, "the job is buried")
    assert out.read_text() == "printed 0\nand a half and bytes"
    assert worker.stop() == 0


@LANES
@pytest.mark.parametrize("stream", ["1", "2"])
def test_no_job_fails_because_the_reader_of_a_stream_is_gone(beanstalkd, run_worker, tmp_path, lanes, stream):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    worker = run_worker(
        beanstalkd.server, EXECUTORS, *NONE, "--async-concurrency", lanes, prefix=redirected(f'{stream}>"$1"', fifo)
    )
    beanstalkd.put_numbers("mail", 1)
    worker.wait_for(lambda: beanstalkd.count("mail") == NOTHING and os.read(reader, 4096), "the reader reads")
    os.close(reader)
    beanstalkd.put_numbers("mail", 10)
    beanstalkd.put_numbers("open", 10)
    for tube in ("mail", "open"):
        worker.wait_for(lambda tube=tube: beanstalkd.count(tube) == NOTHING, "the jobs are done")
    assert not worker.lines("failed")
    assert worker.stop() == 0


def test_stream_that_another_program_made_non_blocking_loses_nothing(beanstalkd, run_worker, tmp_path):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    worker = run_worker(beanstalkd.server, EXECUTORS, *NONE, prefix=redirected('>"$1"', fifo))
    beanstalkd.put("harm", "os.set_blocking(1, False); note('begun'); print('x' * 200_000)")
    worker.wait_for_notes("begun")
    os.set_blocking(reader, True)
    received = b""
    while len(received) <= 200_000:
        received += os.read(reader, 1 << 16)
    worker.wait_for_line("deleted")
    os.close(reader)
    assert received == b"x" * 200_000 + b"\n"
    assert worker.stop() == 0
