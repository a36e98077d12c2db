"""Limits that hold whatever the job does: the deadline, the lease, the memory of a slot."""

import signal
import urllib.request

import pytest

from tests.support.beanstalkd import NOTHING
from tests.support.executors import CODE
from tubeherd.processing.deadlines import too_long_reason

KILLED = f"{too_long_reason(1)} and did not end on SIGTERM"


def test_deadline_raises_in_the_executor(beanstalkd, run_worker):
    job = beanstalkd.put_code("try: time.sleep(100)\nexcept Exception: note('caught')\nfinally: note('cleaned up')")
    worker = run_worker(beanstalkd.server, CODE, "--job-timeout", "1s", "--retry-delays", "1m")
    (slot,) = worker.wait_for(worker.slots, "a slot")
    line = worker.wait_for_line("failed, retry later", job=job, delay=61)
    assert line["reason"] == too_long_reason(1)
    assert worker.notes() == ["cleaned up"]
    worker.wait_for(lambda: worker.slots() not in ([], [slot]), "the slot is recycled: its job was broken off")
    assert worker.lines("slot recycled between jobs", pid=slot)
    assert beanstalkd.stats_job(job)["reserves"] == 1
    assert worker.stop() == 0


def test_ttr_is_the_deadline_where_no_timeout_is_set(beanstalkd, run_worker):
    job = beanstalkd.put_code("time.sleep(100)", ttr=3)
    worker = run_worker(beanstalkd.server, CODE, "--retry-delays", "none")
    assert worker.wait_for_line("buried", job=job)["reason"] == too_long_reason(3)
    stats = beanstalkd.stats_job(job)
    assert (stats["timeouts"], stats["reserves"], stats["buries"]) == (0, 1, 1)


def test_job_that_will_not_end_is_killed_five_seconds_after_its_deadline(beanstalkd, run_worker):
    """Python that swallows the exception, C code that never looks, a blocked signal, a stopped process, a child.

    Their leases are shorter than that, and are kept until the verdict.
    """
    codes = [
        "while True:\n try: time.sleep(100)\n except BaseException: note('swallowed')",
        "lock = ctypes.PyDLL(None).pthread_mutex_lock; mutex = bytes(64); lock(mutex); lock(mutex)",
        "os.nice(19); sum(range(10**15))",
        "os.nice(19); max(iter(int, 1))",
        "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM]); time.sleep(100)",
        "os.kill(os.getpid(), signal.SIGSTOP)",
        "started = []\n"
        "while True:\n try:\n  started or started.append(subprocess.Popen(['sleep', '1000']))\n"
        "  os.setpgid(0, os.getpgid(os.getppid())); time.sleep(100)\n except BaseException: pass",
        "signal.signal(signal.SIGTERM, signal.SIG_IGN); subprocess.run(['sleep', '1000'])",
    ]
    jobs = [beanstalkd.put_code(code, ttr=5) for code in codes]
    worker = run_worker(
        beanstalkd.server, CODE, "--job-timeout", "1s", "--retry-delays", "none", "--concurrency", str(len(jobs))
    )
    worker.wait_for_lines("buried", len(jobs))
    assert beanstalkd.count("code") == NOTHING | {"buried": len(jobs)}
    assert {line["job"]: line["reason"] for line in worker.lines("buried")} == dict.fromkeys(jobs, KILLED)
    assert all(line["seconds"] >= 6 for line in worker.lines("buried"))
    for job in jobs:
        stats = beanstalkd.stats_job(job)
        assert (stats["reserves"], stats["timeouts"], stats["buries"]) == (1, 0, 1)
    worker.wait_for(lambda: len(worker.slots()) == len(jobs), "all slots are back")
    assert "swallowed" in worker.notes()
    assert worker.stop() == 0
    worker.wait_for(lambda: not worker.living(), "no child is left")


def test_c_code_that_looks_for_signals_is_broken_off_at_its_deadline(beanstalkd, run_worker):
    """A regular expression that goes back for ever, and the arithmetic of large numbers: both heed the signal."""
    jobs = [beanstalkd.put_code("re.match('(a+)+$', 'a' * 60 + 'b')"), beanstalkd.put_code("pow(3, 10**9)")]
    worker = run_worker(
        beanstalkd.server, CODE, "--job-timeout", "1s", "--retry-delays", "none", "--concurrency", str(len(jobs))
    )
    worker.wait_for_lines("buried", len(jobs))
    reasons = {line["job"]: line["reason"] for line in worker.lines("buried")}
    assert reasons == dict.fromkeys(jobs, too_long_reason(1))
    worker.wait_for_lines("slot recycled between jobs", len(jobs))
    assert worker.stop() == 0


@pytest.mark.slow
def test_deadline_holds_while_beanstalkd_does_not_answer_for_the_lease(beanstalkd, run_worker):
    """The touch of half the lease is out when the deadline passes, and still is when the slot is killed."""
    job = beanstalkd.put_code("if job.lost_deliveries == 0: note('begun'); os.nice(19); max(iter(int, 1))", ttr=2)
    worker = run_worker(beanstalkd.server, CODE, "--job-timeout", "2s")
    worker.wait_for_notes("begun")
    (slot,) = worker.slots()
    with beanstalkd.stopped():
        worker.wait_for(lambda: slot not in worker.slots(), "the slot is killed")
        assert not worker.lines("cannot keep the lease"), "it was not killed before the touch was given up"
    worker.wait_for_line("deleted", job=job)
    assert beanstalkd.stats()["cmd-touch"] >= 1
    assert beanstalkd.count("code") == NOTHING
    assert worker.stop() == 0


@pytest.mark.slow
def test_dead_slots_hold_up_no_probe_while_beanstalkd_is_silent(beanstalkd, run_worker, address):
    for number in range(2):
        beanstalkd.put_code(f"note({number}); os.nice(19); max(iter(int, 1))")
    worker = run_worker(beanstalkd.server, CODE, "--job-timeout", "1s", "--concurrency", "2", "--health", address)
    worker.wait_for_notes("0", "1")
    slots = worker.slots()

    def are_replaced():
        # As long as the pool's liveness probe waits.
        urllib.request.urlopen(f"http://{address}/healthz", timeout=5).close()
        return not set(slots) & set(worker.slots())

    with beanstalkd.stopped():
        worker.wait_for(are_replaced, "both slots are replaced")


def test_job_longer_than_its_ttr_runs_once_where_the_timeout_allows_it(beanstalkd, run_worker):
    jobs = [beanstalkd.put_code(f"note({number}); time.sleep(4.5)", ttr=3 + number % 2) for number in range(4)]
    workers = [
        run_worker(beanstalkd.server, CODE, "--job-timeout", "20s", "--concurrency", "3", "--retry-delays", "none")
        for _ in range(2)
    ]

    def deleted():
        return sorted(line["job"] for worker in workers for line in worker.lines("deleted"))

    workers[0].wait_for(lambda: deleted() == jobs, "all are done")
    assert sorted(workers[0].notes() + workers[1].notes()) == ["0", "1", "2", "3"]
    assert beanstalkd.count("code") == NOTHING
    assert not [line for worker in workers for line in worker.lines() if line["level"] != "info"]


SWALLOWED = {
    "except": "try: time.sleep(100)\nexcept BaseException: note('swallowed')",
    "in a loop": "for n in range(4):\n try: time.sleep(1.2)\n except: pass\nnote('swallowed')",
    "return in finally": "def run():\n try: time.sleep(100)\n finally: return\nrun(); note('swallowed')",
    "suppress": "import contextlib\nwith contextlib.suppress(BaseException): time.sleep(100)\nnote('swallowed')",
    "__exit__": "class Swallows:\n def __enter__(self): pass\n def __exit__(self, *_): return True\n"
    "with Swallows(): time.sleep(100)\nnote('swallowed')",
    "__del__": "class Slow:\n def __del__(self): time.sleep(100)\nSlow(); note('swallowed')",
    "callback of a weak reference": "import weakref\nclass Thing: pass\nthing = Thing()\n"
    "ref = weakref.ref(thing, lambda _: time.sleep(100)); del thing; note('swallowed')",
    "gather": "global asyncio\nasync def both():\n async def late(): time.sleep(100)\n"
    " await asyncio.gather(late(), return_exceptions=True)\nasyncio.run(both()); note('swallowed')",
    "another exception": "try: time.sleep(100)\nexcept BaseException: note('swallowed'); raise ValueError from None",
    "a reschedule": "from tubeherd import Reschedule\n"
    "try: time.sleep(100)\nexcept BaseException: note('swallowed'); raise Reschedule(60)",
    "an abort": "from tubeherd import Abort\n"
    "try: time.sleep(100)\nexcept BaseException: note('swallowed'); raise Abort('x')",
    "a handler of its own": "signal.signal(signal.SIGTERM, signal.default_int_handler)\n"
    "try: time.sleep(100)\nexcept KeyboardInterrupt: note('swallowed')",
    "an ignored signal": "signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(4.5); note('swallowed')",
}


@pytest.mark.slow
def test_job_that_was_broken_off_has_failed_whatever_it_does_next(beanstalkd, run_worker):
    jobs = {beanstalkd.put_code(code.replace("'swallowed'", repr(name))): name for name, code in SWALLOWED.items()}
    options = ("--job-timeout", "2s", "--retry-delays", "none", "--concurrency", str(len(jobs)))
    # An import in a job could take as long as the job may run.
    worker = run_worker(beanstalkd.server, "import asyncio, contextlib, weakref\n" + CODE, *options)
    worker.wait_for_lines("buried", len(jobs))
    reasons = {jobs[line["job"]]: line["reason"] for line in worker.lines("buried")}
    assert reasons == dict.fromkeys(SWALLOWED, too_long_reason(2))
    assert sorted(worker.notes()) == sorted(SWALLOWED)
    following = [beanstalkd.put_code("note('next')") for _ in jobs]
    for job in following:
        worker.wait_for_line("deleted", job=job)
    assert worker.stop() == 0


def test_line_of_a_swallowed_break_off_shows_where_it_came(beanstalkd, run_worker):
    executor = """
    import time
    from tubeherd import executor
    @executor("code")
    def code(payload: bytes):
        try:
            time.sleep(100)
        except BaseException:
            pass
    """
    beanstalkd.put_code("")
    worker = run_worker(beanstalkd.server, executor, "--job-timeout", "1s", "--retry-delays", "none")
    assert worker.wait_for_line("buried")["at"] == "executors_under_test.py:7"


def test_job_that_was_broken_off_has_failed_even_if_its_worker_stops_before_it_ends(beanstalkd, run_worker):
    job = beanstalkd.put_code("try: time.sleep(100)\nexcept BaseException: note('swallowed'); time.sleep(100)")
    options = ("--job-timeout", "1s", "--retry-delays", "none", "--grace-period", "0s")
    worker = run_worker(beanstalkd.server, CODE, *options)
    worker.wait_for_notes("swallowed")
    assert worker.stop() == 0
    assert worker.lines("buried", job=job, reason=too_long_reason(1))


def test_child_of_a_job_ends_on_sigterm_as_any_process(beanstalkd, run_worker):
    """The slot's own handler of SIGTERM is not for the processes that a job forks."""
    beanstalkd.put_code("pass")
    worker = run_worker(
        beanstalkd.server,
        """
        import multiprocessing, time
        from traces import note
        from tubeherd import executor
        def child(begun):
            begun.set()
            time.sleep(100)
        @executor("code")
        def code(payload: bytes):
            fork = multiprocessing.get_context("fork")
            begun = fork.Event()
            process = fork.Process(target=child, args=(begun,))
            process.start()
            begun.wait()
            process.terminate()
            process.join()
            note(process.exitcode)
        """,
    )
    worker.wait_for_line("deleted")
    assert worker.notes() == [str(-signal.SIGTERM)]


GROWING = """
from traces import note, wait_for
from tubeherd import Job, executor
kept = []
@executor("code")
def code(mebibytes: int, job: Job):
    note(f"{mebibytes}, attempt {job.attempt}, lost {job.lost_deliveries}")
    kept.append(bytearray(b"x") * (mebibytes << 20))
    if mebibytes > 100: wait_for("never")
"""


def test_slot_above_its_share_of_memory_is_killed_and_the_worker_goes_on(beanstalkd, run_worker):
    job = beanstalkd.put_code("150")
    worker = run_worker(beanstalkd.server, GROWING, "--max-memory", "128Mi", "--retry-delays", "1s")
    line = worker.wait_for_line("failed, retry later", job=job, delay=1)
    assert line["reason"].startswith("memory limit passed: the slot and the processes of its jobs used 1")
    assert line["reason"].endswith("MiB, more than the slot's share of 106 MiB")
    worker.wait_for_line("buried", job=job)
    assert worker.notes() == ["150, attempt 1, lost 0", "150, attempt 2, lost 0"]
    assert beanstalkd.stats_job(job)["reserves"] == 2
    beanstalkd.put_code("1")
    worker.wait_for_line("deleted")
    assert worker.stop() == 0


CHILDREN = """
import subprocess, sys, threading
from tubeherd import executor
TAKE = "import sys; taken = bytearray(b'x') * ({} << 20); sys.stdin.read()"  # ends with the slot
def start(mebibytes, *before, **options):
    command = [*before, sys.executable, "-c", TAKE.format(mebibytes)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, **options)
@executor("code")
def code(payload):
"""
STARTED = {
    "child": "start(150).wait()",
    "child of a thread": "threading.Thread(target=lambda: start(150).wait()).start(); threading.Event().wait()",
    "child in a session of its own": "start(150, start_new_session=True).wait()",
    "grandchild": """start(150, "sh", "-c", '"$@"; true', "sh").wait()""",
    "two children, each small enough": "children = [start(70), start(70)]; children[0].wait()",
}


@pytest.mark.parametrize("started", STARTED)
def test_processes_that_a_job_has_started_count_with_its_slot(beanstalkd, run_worker, started):
    source = f"{CHILDREN}    {STARTED[started]}\n"
    worker = run_worker(beanstalkd.server, source, "--max-memory", "128Mi", "--retry-delays", "none")
    line = worker.wait_for_line("buried", job=beanstalkd.put_code("1"))
    assert line["reason"].startswith("memory limit passed: the slot and the processes of its jobs used 1")


def test_slot_above_the_soft_limit_is_recycled_between_jobs(beanstalkd, run_worker):
    """Jobs of no time at all grow a slot, which the supervisor sees while the slot waits, too."""
    beanstalkd.put_code("75")
    worker = run_worker(beanstalkd.server, GROWING, "--max-memory", "128Mi")
    worker.wait_for_line("deleted")

    def is_recycled():
        if beanstalkd.count("code") == NOTHING:
            beanstalkd.put_code("1")
        return worker.lines("slot recycled between jobs")

    worker.wait_for(is_recycled, "the slot is recycled")
    worker.wait_for(lambda: beanstalkd.count("code") == NOTHING, "all are done")
    assert all("lost 0" in note for note in worker.notes())
    assert not worker.lines("failed")
    assert worker.stop() == 0
