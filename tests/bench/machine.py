"""What machine the figures come from, and how much of it others used meanwhile."""

import os
import platform
import subprocess
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NamedTuple, Self

import psutil

from tests.support.installed import is_compiled
from tests.support.project import ROOT

_MEASURED: Final = ("operator", "worker", "charts", "crds", "tests/bench")
"""What a change of may change the figures."""


class Usage(NamedTuple):
    """Processor time used since boot, in seconds."""

    at: float
    by_all: float
    by_bench: float

    @classmethod
    def now(cls) -> Self:
        """Read the counters; a process of the bench counts from when it has ended."""
        times = psutil.cpu_times()
        busy = sum(times) - times.idle - times.iowait - times.guest - times.guest_nice
        return cls(time.monotonic(), busy, sum(os.times()[:4]))

    def others_since(self, earlier: Self) -> float:
        """Return what share of all processors went to others than the bench, or to other virtual machines."""
        others = (self.by_all - earlier.by_all) - (self.by_bench - earlier.by_bench)
        return max(0.0, others / (self.at - earlier.at) / (os.cpu_count() or 1))


def code() -> str:
    """Return which code there is: its commit and the date of that, and whether files have changed since."""
    git = ("git", "-C", str(ROOT))
    commit = subprocess.run([*git, "show", "-s", "--format=%h of %cs"], check=True, capture_output=True, text=True)
    changed = subprocess.run([*git, "status", "--porcelain", *_MEASURED], check=True, capture_output=True)
    return f"commit {commit.stdout.strip()}{', with changes' if changed.stdout else ''}"


def describe(measured: str, others: float | None = None) -> str:
    """Return a line for the page; `measured` is the `code` before the run, `others` what others used, if known."""
    virtual = "virtual " if " hypervisor" in Path("/proc/cpuinfo").read_text() else ""
    broker = subprocess.run(["beanstalkd", "-v"], capture_output=True, text=True, check=True).stdout.strip()
    kernel = platform.release().partition("-")[0]
    machine = (
        f"Measured on {datetime.now(UTC).date()}: {os.cpu_count()} {virtual}CPUs, Linux {kernel}, "
        f"Python {platform.python_version()}, {broker}, the worker {'compiled' if is_compiled() else 'not compiled'}; "
        f"{measured}."
    )
    return machine if others is None else f"{machine} Others used {others:.0%} of the CPUs meanwhile."
