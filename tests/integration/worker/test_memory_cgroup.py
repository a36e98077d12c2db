"""A memory limit that the kernel keeps: one allocation passes it faster than the supervisor looks."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.beanstalkd import NOTHING
from tests.support.waiting import wait_for

HIERARCHY = Path("/sys/fs/cgroup/memory")
LIMIT = 128 << 20
KILLED = "the slot died: signal 9 (SIGKILL), killed by the kernel for the memory limit of its container"

TAKING = """
import os, signal
from traces import note, wait_for
from tubeherd import Job, executor
@executor("take")
def take(mebibytes: int, job: Job):
    note(f"attempt {job.attempt}, lost {job.lost_deliveries}")
    return len(bytearray(b"x") * (mebibytes << 20))
@executor("wait")
def wait(payload):
    note("waiting")
    wait_for("go")
@executor("kill")
def kill(payload, job: Job):
    note(f"attempt {job.attempt}, lost {job.lost_deliveries}")
    for pid in (os.getppid(), os.getpid()):
        os.kill(pid, signal.SIGKILL)
"""


class MemoryCgroup:
    """A memory cgroup (version 1) under the test's own, which takes root to make."""

    def __init__(self) -> None:
        own = [line.split(":", 2) for line in Path("/proc/self/cgroup").read_text().splitlines()]
        (path,) = [path for _, controllers, path in own if controllers == "memory"]
        self._folder = HIERARCHY / path.lstrip("/") / f"tubeherd-test-{os.getpid()}"
        self._folder.mkdir()
        (self._folder / "memory.limit_in_bytes").write_text(str(LIMIT))

    @property
    def enter(self) -> list[str]:
        """The start of a command that runs the rest of it in this cgroup."""
        return ["sh", "-c", 'echo $$ > "$0" && exec "$@"', str(self._folder / "cgroup.procs")]

    def kills(self) -> int:
        """Return how many of its processes the kernel has killed for their memory."""
        lines = (self._folder / "memory.oom_control").read_text().splitlines()
        (count,) = [int(line.split()[1]) for line in lines if line.startswith("oom_kill ")]
        return count

    def remove(self) -> None:
        """Remove the cgroup once its last process has ended."""
        processes = self._folder / "cgroup.procs"
        wait_for(lambda: not processes.read_text(), f"no process is left in {self._folder}")
        self._folder.rmdir()


@pytest.fixture
def cgroup() -> Iterator[MemoryCgroup]:
    """A memory cgroup; a test asks for it before its workers, so that it outlives them."""
    made = MemoryCgroup()
    yield made
    made.remove()


def oom_score_adj(pid):
    return int(Path(f"/proc/{pid}/oom_score_adj").read_text())


@pytest.mark.parametrize("own_limit", [(), ("--max-memory", "128Mi")], ids=["kernel", "kernel or supervisor"])
def test_one_allocation_past_the_limit_spends_an_attempt_and_hurts_nobody_else(
    cgroup, beanstalkd, run_worker, own_limit
):
    """1 GiB at once within 128 MiB; where the worker has the same limit, its supervisor may see it first."""
    options = ("--concurrency", "2", "--retry-delays", "1s", *own_limit)
    worker = run_worker(beanstalkd.server, TAKING, *options, prefix=cgroup.enter)
    waiting = beanstalkd.put("wait", "0")
    worker.wait_for_notes("waiting")
    job = beanstalkd.put("take", "1024")
    reasons = [worker.wait_for_line(event, job=job)["reason"] for event in ("failed, retry later", "buried")]
    by_supervisor = [reason for reason in reasons if reason.startswith("memory limit passed: ")]
    assert reasons.count(KILLED) + len(by_supervisor) == 2
    assert reasons.count(KILLED) <= cgroup.kills() <= 2  # the kernel also kills slots that the supervisor is about to
    assert own_limit or not by_supervisor
    assert worker.notes() == ["waiting", "attempt 1, lost 0", "attempt 2, lost 0"]
    stats = beanstalkd.stats_job(job)
    assert (stats["reserves"], stats["releases"], stats["buries"], stats["timeouts"]) == (2, 1, 1, 0)
    worker.allow("go")
    worker.wait_for_line("deleted", job=waiting)
    small = beanstalkd.put("take", "1")
    worker.wait_for_line("deleted", job=small)
    assert worker.stop() == 0


def test_kernel_prefers_slots_to_their_supervisor(beanstalkd, run_worker):
    worker = run_worker(beanstalkd.server, TAKING, "--concurrency", "2")
    worker.wait_for_lines("connected", 2)
    assert [oom_score_adj(slot) for slot in worker.slots()] == [1000, 1000]
    assert oom_score_adj(worker.process.pid) == oom_score_adj(os.getpid()) < 1000


@pytest.mark.slow
def test_job_that_takes_its_whole_container_along_is_buried_in_the_end(beanstalkd, run_worker):
    """Where the kernel kills all processes of a container, nobody is left to give a verdict."""
    job = beanstalkd.put("kill", "0")
    notes = []
    for _ in range(2):
        worker = run_worker(beanstalkd.server, TAKING, "--max-lost-deliveries", "2")
        assert worker.exit_code() == -signal.SIGKILL
        notes += worker.notes()
    assert notes == ["attempt 1, lost 0", "attempt 1, lost 1"]
    worker = run_worker(beanstalkd.server, TAKING, "--max-lost-deliveries", "2")
    line = worker.wait_for_line("buried", job=job)
    assert line["reason"] == "lost 2 times: its worker or its connection died, or its TTR of 60 s passed"
    assert worker.notes() == []
    assert beanstalkd.count("kill") == NOTHING | {"buried": 1}
    assert worker.stop() == 0
