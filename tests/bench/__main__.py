"""Measure Tubeherd: `python tests/bench` measures all; see --help for parts."""

import argparse

import throughput


def main() -> None:
    """Run what the arguments name."""
    parser = argparse.ArgumentParser(prog="tests/bench", description="Measure Tubeherd's speed.")
    commands = parser.add_subparsers(dest="command")
    part = commands.add_parser("throughput", help="measure only the throughput and print the table")
    part.add_argument("--pinned", action="store_true", help="only on one core, which is the repeatable part")
    part.add_argument("--rounds", type=int, default=throughput.ROUNDS)
    arguments = parser.parse_args()
    placements = [throughput.PINNED] if arguments.pinned else [throughput.PINNED, *throughput.UNPINNED]
    print(throughput.measure(placements, arguments.rounds))


if __name__ == "__main__":
    main()
