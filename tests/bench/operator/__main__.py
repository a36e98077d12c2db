"""Measure the operator on the home-built node.

`python -m tests.bench.operator` measures all and writes the page; see --help for parts.
"""

import argparse
import os
import time
from collections.abc import Iterator
from typing import Final

from tests.bench import report
from tests.bench.machine import code, describe
from tests.bench.operator import responsiveness, scale, storms, takeover
from tests.bench.operator.fleet import Fleet, Size
from tests.bench.operator.installation import Installation, fresh, installation
from tests.support.project import ROOT
from tubeherd.logs import log

_PAGE: Final = ROOT / "docs" / "performance.md"


def main() -> None:
    """Run what the arguments name."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench.operator", description="Measure the operator; alone, all of it for the page."
    )
    commands = parser.add_subparsers(dest="command")
    commands.add_parser("responsiveness", help="print how soon the operator acts, with few pools")
    for name, words in (
        ("scale", "print what so many pools cost"),
        ("takeover", "print what comes of the loss of the leader of so many pools"),
        ("storms", "print what a kick takes while so many pools change"),
    ):
        part = commands.add_parser(name, help=words)
        part.add_argument("--pools", type=int, default=1000)
        part.add_argument("--own-tubes", action="store_true", help="4 tubes for each pool, not 40 for all")
        part.add_argument("--samples", type=int, default=100, help="how many burials and kicks are timed")
    arguments = parser.parse_args()
    log.write_to(os.open(os.devnull, os.O_WRONLY))  # the bench buries jobs by the library, which logs each burial
    with installation() as installed:
        if arguments.command is None:
            _write_page(installed)
            return
        with fresh(installed):
            if arguments.command == "responsiveness":
                print(report.figures(responsiveness.measure(installed)))
                return
            size = Size(arguments.pools, arguments.own_tubes, arguments.samples)
            if arguments.command == "scale":
                print(scale.tables([scale.measure(installed, size)]))
            else:
                measures = {"takeover": takeover.measure, "storms": storms.measure}
                print(report.figures(measures[arguments.command](installed, _at_rest(installed, size))))


def _at_rest(installed: Installation, size: Size) -> Fleet:
    fleet, _, _ = scale.create(installed, size)
    scale.calm(size)
    return fleet


def _write_page(installed: Installation) -> None:
    began, measured_code = time.monotonic(), code()
    lines: list[list[str]] = []
    found = []
    for size in scale.SIZES:
        with fresh(installed):
            found.append(scale.measure(installed, size))
            for line in _figures(installed, found[-1]):
                print("  " + " | ".join(line), flush=True)
                lines.append(line)
            # Each time, so that what was measured is there if the rest breaks off.
            end = "" if len(found) == len(scale.SIZES) else " The run has not come to its end."
            measured = f"{describe(measured_code)}{end}\n\n{scale.tables(found)}\n{report.figures(lines)}"
            report.write(_PAGE, measured, "make bench-operator")
    print(f"{measured}\nwritten to docs/{_PAGE.name}; measured in {time.monotonic() - began:.0f} s")


def _figures(installed: Installation, found: scale.Scale) -> Iterator[list[str]]:
    """Measure what is measured beside the scale with this number of pools, and yield the lines of the table."""
    if found.size == scale.FEW:
        yield from responsiveness.measure(installed)
    if found.size.pools == scale.JUDGED:
        yield from scale.judged(found)
    if found.size == scale.STORMY:
        fleet = Fleet(installed, found.size)
        yield from takeover.measure(installed, fleet)
        yield from storms.measure(installed, fleet)


if __name__ == "__main__":
    main()
