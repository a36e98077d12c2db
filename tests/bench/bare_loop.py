"""What a worker of ten lines does: reserve, optionally ask for the job's counters, delete. Run as a process of its own.

It says on standard output that it is connected, begins when a line comes on standard input, prints when it began and
ended, and stays until standard input is closed.
"""

import sys
import time

import greenstalk

from tests.bench.broker import TUBE


def drain(client: greenstalk.Client[bytes]) -> None:
    """Reserve and delete until the tube is empty."""
    try:
        while True:
            client.delete(client.reserve(timeout=0))
    except greenstalk.TimedOutError:
        return


def drain_with_stats(client: greenstalk.Client[bytes]) -> None:
    """Do the same, and ask for each job's counters, as a worker must that retries."""
    try:
        while True:
            job = client.reserve(timeout=0)
            client.stats_job(job)
            client.delete(job)
    except greenstalk.TimedOutError:
        return


def main(port: str, loop: str) -> None:
    """Drain the tube once and print both times."""
    client = greenstalk.Client(("127.0.0.1", int(port)), encoding=None, watch=TUBE)
    run = {"bare": drain, "stats": drain_with_stats}[loop]
    print("connected", flush=True)
    sys.stdin.readline()
    began = time.monotonic()
    run(client)
    print(began, time.monotonic(), flush=True)
    sys.stdin.readline()


if __name__ == "__main__":
    main(*sys.argv[1:])
