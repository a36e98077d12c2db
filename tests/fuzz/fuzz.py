"""Fuzzes everything that reads what strangers wrote: each target for a while, or some, or one input again.

python -m tests.fuzz.fuzz [--seconds N] [TARGET ...]    run these targets (default: all), one after the other
python -m tests.fuzz.fuzz TARGET --again INPUT          run one input, in base64 as a failure has printed it
"""

import argparse
import base64
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.fuzz.targets import TARGETS
from tests.support.project import ROOT


def fuzz(name: str, seconds: int) -> bool:
    """Fuzz a target in a process of its own and print a line on it; returns whether no input failed."""
    with tempfile.TemporaryDirectory() as folder:
        corpus = Path(folder) / "corpus"
        corpus.mkdir()
        for number, seed in enumerate(TARGETS[name].seeds):
            (corpus / str(number)).write_bytes(seed)
        command = [sys.executable, "-m", "tests.fuzz.one", name, folder, str(seconds)]
        ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, errors="replace")
        failed = [path.read_bytes() for path in Path(folder).glob("failed-*")]
    executed, rate = (stat(ended.stderr, name) for name in ("number_of_executed_units", "average_exec_per_sec"))
    good = ended.returncode == 0 and executed > 0
    print(f"{name:10}{executed:>10,} executions {rate:>7,}/s  {'no failure' if good else 'FAILED'}", flush=True)
    if not good:
        print(
            ended.stdout[-3000:], *re.findall(r"^(?:SUMMARY|ERROR|Traceback|\w+Error).*$", ended.stderr, re.MULTILINE)
        )
    for data in failed:
        again = base64.b64encode(data).decode()
        print(
            f"failed: {data[:200]!r}\nagain:  {sys.executable} -m tests.fuzz.fuzz {name} --again '{again}'", flush=True
        )
    return good


def stat(output: str, name: str) -> int:
    """Return a figure of libFuzzer's last words, or 0 where it had none."""
    found = re.search(rf"stat::{name}:\s+(\d+)", output)
    return int(found[1]) if found else 0


def main() -> int:
    """Do what the command line asks for; returns 1 where an input failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(TARGETS))
    parser.add_argument("--seconds", type=int, default=20, help="for each target (default: 20)")
    parser.add_argument("--again", metavar="INPUT", help="run this one input, in base64")
    options = parser.parse_args()
    names = options.targets or list(TARGETS)
    if unknown := set(names) - set(TARGETS):
        parser.error(f"no such target: {', '.join(sorted(unknown))}; there are {', '.join(TARGETS)}")
    if options.again is not None:
        TARGETS[names[0]].run(base64.b64decode(options.again))
        print("no failure")
        return 0
    print(f"fuzzing each for {options.seconds} s: {', '.join(names)}", flush=True)
    return 0 if all([fuzz(name, options.seconds) for name in names]) else 1  # noqa: C419 - runs every one


if __name__ == "__main__":
    sys.exit(main())
