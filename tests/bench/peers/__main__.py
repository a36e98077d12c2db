"""Measure task queues on Redis beside Tubeherd, and write the page; see --help for parts."""

import argparse
from statistics import median, quantiles
from typing import Final

from tests.bench import report
from tests.bench.machine import Usage, code, describe
from tests.bench.peers import latency, promises, redis_server, speed
from tests.bench.peers.running import PEERS
from tests.support.project import ROOT
from tubeherd.processes import become_subreaper

_PAGE: Final = ROOT / "docs" / "performance.md"
_HEAD: Final = [
    "worker",
    "runs as",
    "jobs/s",
    "min",
    "max",
    "Tubeherd is x times as fast",
    "CPU us/job",
    "memory (PSS), MiB",
    "put to start, ms",
    "p90",
]


def main() -> None:
    """Run what the arguments name."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench.peers", description="Measure Tubeherd beside others; alone, all of it for the page."
    )
    parser.add_argument("--rounds", type=int, default=speed.ROUNDS, help="how often each is measured")
    commands = parser.add_subparsers(dest="command")
    commands.add_parser("promises", help="print what becomes of a job if its worker is killed")
    arguments = parser.parse_args()
    become_subreaper()  # so that processes whose parents were killed are waited for, and count as the bench's
    if arguments.command == "promises":
        print(promises.promises())
    else:
        _write_page(arguments.rounds)


def _write_page(rounds: int) -> None:
    before, measured_code = Usage.now(), code()
    speeds, waits = speed.race(rounds), latency.put_to_begin()
    print(f"put to start: measured {latency.SAMPLES} times", flush=True)
    lines = []
    for peer in PEERS:
        start = [f"{milliseconds:.3g}" for milliseconds in (median(waits[peer]), quantiles(waits[peer], n=10)[8])]
        lines.append([peer.versioned(), peer.runs_as, *speed.cells(speeds[peer], speeds[PEERS[0]]), *start])
    tables = f"{report.table(_HEAD, lines)}\n{promises.promises()}"
    after = Usage.now()
    described = describe(measured_code, after.others_since(before))
    measured = f"{described} Redis {redis_server.version()}. {rounds} rounds.\n\n{tables}"
    print(f"{measured}\nmeasured in {after.at - before.at:.0f} s")
    report.write(_PAGE, measured, "make bench-peers")
    print(f"written to docs/{_PAGE.name}")


if __name__ == "__main__":
    main()
