"""Puts jobs for one contestant, in the environment of that contestant, as lines on standard input ask for.

The first line of output is the contestant's command line. Then each line of input is answered by one of output:
`put COUNT NUMBER` by the time before the put, `left` by how many jobs are waiting or not done yet.
"""

import json
import sys
import time
from importlib import import_module
from typing import Protocol, cast


class Contestant(Protocol):
    """The module of a contestant."""

    def put(self, count: int, number: int) -> None:
        """Put so many jobs of this number."""

    def command(self) -> list[str]:
        """Return the command line of a worker that executes one job at a time, or as the mode says."""

    def left(self) -> int:
        """Return how many jobs its broker still has, waiting or taken by a worker."""


def main(module: str) -> None:
    """Answer each line."""
    contestant = cast("Contestant", import_module(f"tests.bench.peers.{module}"))
    print(json.dumps(contestant.command()), flush=True)
    for line in sys.stdin:
        match line.split():
            case ["put", count, number]:
                began = time.monotonic()
                contestant.put(int(count), int(number))
                print(began, flush=True)
            case ["left"]:
                print(contestant.left(), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
