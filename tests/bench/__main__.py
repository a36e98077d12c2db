"""Measure Tubeherd: `python -m tests.bench` measures all and writes the page; see --help for parts."""

import argparse
from typing import Final

from tests.bench import attempt, burials, hot_loop, late_lanes, latency, lifecycle, memory, report, throughput
from tests.bench.machine import Usage, code, describe
from tests.support.project import ROOT

_PAGE: Final = ROOT / "docs" / "performance.md"
_FIGURES: Final = (
    latency.put_to_start,
    lifecycle.start_and_stop,
    lifecycle.recycle_gap,
    memory.by_slots,
    memory.over_time,
    late_lanes.cost,
    burials.with_and_without_records,
)


def main() -> None:
    """Run what the arguments name."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench", description="Measure Tubeherd; alone, all of it for the page."
    )
    commands = parser.add_subparsers(dest="command")
    part = commands.add_parser("throughput", help="print the throughput only")
    part.add_argument("--pinned", action="store_true", help="only on one core, which is the repeatable part")
    part.add_argument("--rounds", type=int, default=throughput.ROUNDS)
    commands.add_parser("burials", help="print what the records of burials cost")
    commands.add_parser("figures", help="print all but the throughput")
    part = commands.add_parser("profile", help="print where the time of a job goes")
    part.add_argument("--log-level", default="info")
    commands.add_parser("attempt", help="print what a successful attempt costs without beanstalkd")
    arguments = parser.parse_args()
    match arguments.command:
        case "throughput":
            placements = (throughput.PINNED,) if arguments.pinned else throughput.PLACEMENTS
            print(throughput.measure(placements, arguments.rounds))
        case "burials":
            print(report.figures(burials.with_and_without_records()))
        case "figures":
            print(_figures())
        case "profile":
            print(hot_loop.profile("--log-level", arguments.log_level))
        case "attempt":
            print(attempt.successful())
        case _:
            _write_page()


def _write_page() -> None:
    before, measured_code = Usage.now(), code()
    tables = f"{throughput.measure(throughput.PLACEMENTS)}\n{_figures()}"
    after = Usage.now()
    measured = f"{describe(measured_code, after.others_since(before))}\n\n{tables}"
    print(f"{measured}\nmeasured in {after.at - before.at:.0f} s")
    report.write(_PAGE, measured, "make bench")
    print(f"written to docs/{_PAGE.name}")


def _figures() -> str:
    lines = []
    for measure in _FIGURES:
        print(f"{measure.__module__}, {measure.__name__}", flush=True)
        for line in measure():
            print("  " + " | ".join(line), flush=True)
            lines.append(line)
    return report.figures(lines)


if __name__ == "__main__":
    main()
