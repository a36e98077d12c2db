"""What a kick takes while the operator has much else to do."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from random import Random
from statistics import median
from typing import Final

from tests.bench.operator.audit import Audit, settle
from tests.bench.operator.fleet import POOLS, Fleet, Size
from tests.bench.operator.installation import ENDS_WITH_US, Installation
from tests.bench.operator.progress import say, step
from tests.bench.operator.samples import bury, kick
from tests.bench.report import figure
from tests.support.project import ROOT
from tests.support.waiting import wait_for

_JOBS: Final = 100_000
_SECONDS: Final = 60
_TICK: Final = 0.1
_LIMIT: Final = 180.0
_CALM_SECONDS: Final = 15.0
_BREAKS: Final = 10
_NOT_WATCHED: Final = ("leases", "events")
_BREAK_SECONDS: Final = 3.0


def measure(installed: Installation, fleet: Fleet) -> list[list[str]]:
    """Measure kicks in calm and in each storm."""
    return [
        *_calm(installed, fleet.size),
        *_edits(installed, fleet),
        *_broken_watches(installed, fleet.size),
        *_burials(installed, fleet.size),
    ]


def _calm(installed: Installation, size: Size) -> list[list[str]]:
    with step(f"{size.words}: kicks in calm"), _kicks_meanwhile(installed) as kicks:
        time.sleep(_CALM_SECONDS)
    return [figure(f"{size.words}: kick in calm", kicks, "s")]


def _edits(installed: Installation, fleet: Fleet) -> list[list[str]]:
    size, audit = fleet.size, Audit()
    with step(f"{size.words}: all edited at once"), _kicks_meanwhile(installed) as kicks:
        began = time.time()
        fleet.edit()
        edited = time.time()
        last = wait_for(lambda: _last_change(audit, size), "each Deployment was changed", _LIMIT, pause=1)
    with step(f"{size.words}: waiting until the operator is at rest"):
        settle(_LIMIT)
    return [
        figure(
            f"{size.words}: kick while all are edited in {edited - began:.0f} s, and until their Deployments are",
            kicks,
            "s",
        ),
        figure(f"{size.words}: last edit to the last changed Deployment", [max(0.0, last - edited)], "s"),
    ]


def _last_change(audit: Audit, size: Size) -> float | None:
    changed = {
        request.name: request.at
        for request in audit.requests()
        if request.kind == "deployments" and request.verb == "patch" and request.code == 200
    }
    return max(changed.values()) if len(changed) >= size.pools else None


def _broken_watches(installed: Installation, size: Size) -> list[list[str]]:
    audit = Audit()
    with step(f"{size.words}: connections of the leader broken"), _kicks_meanwhile(installed) as kicks:
        for _ in range(_BREAKS):
            _break_connections(installed)
            time.sleep(_BREAK_SECONDS)
    reads = sum(request.verb in ("get", "list") and request.kind not in _NOT_WATCHED for request in audit.requests())
    return [
        figure(f"{size.words}: kick while all connections break every {_BREAK_SECONDS:g} s", kicks, "s"),
        figure(f"{size.words}: reads for each break", [reads / _BREAKS], "requests"),
    ]


def _break_connections(installed: Installation) -> None:
    """Close the leader's connections to the API server, those of watches too."""
    leader, _ = installed.processes()
    command = ["nsenter", "--net", "--target", str(leader.pid)]
    command += ["ss", "-H", "-K", "state", "established", "dport = :443"]
    if not subprocess.run(command, check=True, capture_output=True).stdout.strip():
        raise RuntimeError("no connection of the leader was closed: has the kernel CONFIG_INET_DIAG_DESTROY?")


def _burials(installed: Installation, size: Size) -> list[list[str]]:
    audit, before = Audit(), _buried(installed, size)
    with (
        step(f"{size.words}: {_JOBS:,} burials in {_SECONDS} s"),
        _rejecting_worker(installed),
        _kicks_meanwhile(installed) as kicks,
    ):
        began = time.time()
        _put_jobs(installed, size)
        wait_for(lambda: _buried(installed, size) >= before + _JOBS, "all jobs are buried", _LIMIT, pause=1)
        buried = time.time()
        wait_for(lambda: _all_shown(installed, size), "each status shows all burials", _LIMIT, pause=1)
        shown = time.time()
    writes = sum(request.is_write for request in audit.requests())
    say(f"{writes:,} writes in {shown - began:.0f} s")
    during = f"{_JOBS:,} burials in {buried - began:.0f} s, and until they are shown"
    return [
        figure(f"{size.words}: kick during {during}", kicks, "s"),
        figure(f"{size.words}: last burial to the last status", [shown - buried], "s"),
        figure(f"{size.words}: writes of the operator meanwhile", [writes], "requests"),
    ]


@contextmanager
def _rejecting_worker(installed: Installation) -> Iterator[None]:
    """Run a worker that buries each job at once, with a record."""
    command = [*ENDS_WITH_US, sys.executable, "-m", "tubeherd", "run", "tests.bench.operator.rejecting"]
    command += ["--server", installed.queue.server]
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, env=env, cwd=ROOT, stderr=subprocess.DEVNULL) as worker:
        try:
            yield
        finally:
            worker.terminate()


def _put_jobs(installed: Installation, size: Size) -> None:
    """Put the jobs at an even rate, those of each tenth of a second into another tube."""
    ticks, tubes = round(_SECONDS / _TICK), size.all_tubes
    with closing(installed.queue.client()) as client:
        began = time.monotonic()
        for tick in range(ticks):
            time.sleep(max(0.0, began + tick * _TICK - time.monotonic()))
            client.use(tubes[tick % len(tubes)])
            for _ in range(_JOBS * tick // ticks, _JOBS * (tick + 1) // ticks):
                client.put(b"{}")


def _buried(installed: Installation, size: Size) -> int:
    return sum(installed.queue.count(tube)[3] for tube in size.all_tubes)


def _all_shown(installed: Installation, size: Size) -> bool:
    buried = {tube: installed.queue.count(tube)[3] for tube in size.all_tubes}
    shown = {item["metadata"]["name"]: item["status"]["buried"] for item in installed.api("GET", POOLS)["items"]}
    return all(shown[name] == sum(buried[tube] for tube in size.tubes(name)) for name in size.names)


@contextmanager
def _kicks_meanwhile(installed: Installation) -> Iterator[list[float]]:
    """Kick a job of a pool with a tube of its own, again and again; have a list of how long each kick took."""
    kicks: list[float] = []
    failures: list[Exception] = []
    ended, chance = threading.Event(), Random(1)  # noqa: S311 - no secret depends on it

    def run() -> None:
        try:
            while not ended.wait(chance.uniform(0, 0.5)):
                bury(installed, "first")
                kicks.append(kick(installed, "first", "first"))
        except Exception as error:
            failures.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield kicks
    finally:
        ended.set()
        thread.join()
    if failures:
        raise failures[0]
    say(f"{len(kicks)} kicks, median {median(kicks):.3f} s, longest {max(kicks):.3f} s")
