"""One QueueManager used by several threads, and by processes that are forked from the one that made it."""

import asyncio
import copy
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from tests.support.beanstalkd import NOTHING
from tests.support.waiting import PATIENCE, wait_for
from tubeherd import Bury, Delete, QueueManager, QueueUnavailable, RefusedError, events, executor

pytestmark = [
    pytest.mark.usefixtures("no_executors"),
    # Python warns of a fork in a process with threads, which is what is tested here.
    pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning"),
]
TUBES = [f"tube{number}" for number in range(8)]
FORK = multiprocessing.get_context("fork")


@pytest.fixture
def queue(beanstalkd):
    """A manager that takes jobs from the tube `mail`."""
    with QueueManager(beanstalkd.server, tubes=["mail"]) as manager:
        yield manager


@pytest.fixture
def pool():
    """As many threads as the tests use at a time."""
    with ThreadPoolExecutor(max_workers=16) as threads:
        yield threads


def fork(*functions: Callable[[], object]) -> list[int | None]:
    """Call each function in a forked process of its own; return their exit codes: 0 if it neither raised nor hung."""
    processes = [FORK.Process(target=function) for function in functions]
    for process in processes:
        process.start()
    for process in processes:
        process.join(PATIENCE)
        process.kill()
        process.join()
    return [process.exitcode for process in processes]


def bodies(beanstalkd, tube):
    client = beanstalkd.client()
    client.watch(tube)
    client.ignore("default")
    count = beanstalkd.count(tube)["ready"]
    return {(job.id, job.body) for job in (client.reserve(timeout=0) for _ in range(count))}


def put_many(queue, tube, count=200):
    return {(queue.put(tube, payload), payload) for payload in (b"%b-%d" % (tube.encode(), n) for n in range(count))}


# Threads


def test_each_thread_puts_into_its_own_tube(beanstalkd, queue, pool):
    put = list(pool.map(lambda tube: put_many(queue, tube), TUBES))
    assert put == [bodies(beanstalkd, tube) for tube in TUBES]


def test_threads_put_reserve_and_process_at_the_same_time(beanstalkd, queue, pool):
    done = []
    executor("mail")(lambda payload: done.append(payload))

    def consume():
        while len(done) < 800:
            if job := queue.get(timeout=0.2):
                assert queue.process(job).verdict == Delete()

    def produce(numbers):
        for number in numbers:
            queue.put("mail", number)

    consumers = [pool.submit(consume) for _ in range(6)]
    producers = [
        pool.submit(lambda first: [queue.put("mail", first + n) for n in range(200)], first * 200) for first in range(4)
    ]
    for future in [*producers, *consumers]:
        future.result(PATIENCE)
    assert sorted(done) == list(range(800))
    assert beanstalkd.count("mail") == NOTHING


def test_threads_that_bury_jobs_at_the_same_time_get_their_own_answers(beanstalkd, queue, pool):
    together = threading.Barrier(6)

    @executor("mail", retry_delays=[])
    def mail(payload):
        together.wait(PATIENCE)
        raise ValueError("as asked")

    def consume():
        for _ in range(40):  # more than a hundred burials in all, so that old records are looked for
            assert isinstance(queue.process(queue.get(timeout=PATIENCE)).verdict, Bury)

    beanstalkd.put_numbers("mail", 6 * 40)
    for consumer in [pool.submit(consume) for _ in range(6)]:
        consumer.result(PATIENCE)
    assert beanstalkd.count("mail") == NOTHING | {"buried": 240}
    assert len(queue.burials("mail").records) == 240


def test_refused_puts_and_others_at_the_same_time_get_their_own_answers(queue, pool):
    def put_big():
        with pytest.raises(RefusedError, match="JOB_TOO_BIG"):
            queue.put("mail", b"x" * 70_000)

    futures = [pool.submit(put_big if number % 2 else lambda: queue.put("mail", {})) for number in range(200)]
    ids = [future.result(PATIENCE) for future in futures]
    assert len(set(filter(None, ids))) == 100


def test_thread_that_waits_for_a_job_holds_up_no_other(beanstalkd, queue, pool):
    executor("mail")(lambda payload: payload)
    queue.put("mail", "first")
    first = queue.get()
    waiting = pool.submit(queue.get, PATIENCE)
    wait_for(lambda: beanstalkd.waiting("mail"), "a reserve waits")
    assert queue.put("other", {}) > 0
    assert queue.process(first).result == "first"
    assert not waiting.done()
    job = queue.put("mail", "second")
    assert waiting.result(PATIENCE).stats.id == job


def test_job_reserved_by_one_thread_is_processed_by_another_while_the_first_waits_for_more(beanstalkd, queue, pool):
    running, go_on = threading.Event(), threading.Event()

    @executor("mail")
    def mail(payload):
        running.set()
        assert go_on.wait(PATIENCE)

    queue.put("mail", {})
    processed = pool.submit(queue.process, queue.get())
    assert running.wait(PATIENCE)
    waiting = pool.submit(queue.get, PATIENCE)
    wait_for(lambda: beanstalkd.waiting("mail"), "a reserve waits")
    go_on.set()
    assert processed.result(PATIENCE).verdict == Delete()
    assert not waiting.done()
    queue.put("mail", {})
    assert waiting.result(PATIENCE)


def test_coroutine_executors_in_several_threads(queue, pool):
    barrier = threading.Barrier(4)

    @executor("mail")
    async def mail(payload):
        await asyncio.to_thread(barrier.wait, PATIENCE)
        return payload

    for number in range(4):
        queue.put("mail", number)
    jobs = [queue.get() for _ in range(4)]
    processed = [pool.submit(queue.process, job) for job in jobs]
    assert [future.result(PATIENCE).result for future in processed] == [0, 1, 2, 3]


def test_used_from_a_loop_by_to_thread(beanstalkd, queue):
    executor("mail")(lambda payload: payload)

    async def consume():
        results = []
        while job := await asyncio.to_thread(queue.get, 0.5):
            results.append((await asyncio.to_thread(queue.process, job)).result)
        return results

    async def main():
        await asyncio.gather(*[asyncio.to_thread(queue.put, "mail", number) for number in range(100)])
        found = await asyncio.gather(*[consume() for _ in range(4)])
        return sorted(number for results in found for number in results)

    assert asyncio.run(main()) == list(range(100))
    assert beanstalkd.count("mail") == NOTHING


def test_coroutine_executor_is_refused_where_a_loop_runs_and_its_job_stays_reserved(beanstalkd, queue):
    @executor("mail")
    async def mail(payload):
        return payload

    queue.put("mail", "a")
    job = queue.get()

    async def main():
        with pytest.raises(RuntimeError, match=r"asyncio\.to_thread"):
            queue.process(job)
        return (await asyncio.to_thread(queue.process, job)).result

    assert asyncio.run(main()) == "a"
    assert beanstalkd.count("mail") == NOTHING


def test_flush_counts_each_job_of_all_threads_once_and_runs_alone(beanstalkd, pool):
    executor("mail")(lambda payload: None)
    counts, running = [], []

    def flush(reason, count):
        running.append(count)
        assert len(running) == 1
        counts.append(count)
        running.remove(count)

    with events.flush.connected_to(flush), QueueManager(beanstalkd.server) as queue:
        put_jobs = [queue.put("mail", {}) for _ in range(200)]
        jobs = [queue.get() for _ in put_jobs]
        for processed in pool.map(queue.process, jobs):
            assert processed.verdict == Delete()
    assert sum(counts) == 200


def test_second_verdict_on_a_job_is_refused(beanstalkd, queue):
    runs = []
    executor("mail")(runs.append)
    queue.put("mail", 1)
    job = queue.get()
    queue.process(job)
    with pytest.raises(ValueError, match=f"job {job.stats.id} is not reserved by this QueueManager"):
        queue.process(job)
    assert runs == [1]


def test_closed_by_another_thread(beanstalkd, queue, pool):
    waiting = pool.submit(queue.get, PATIENCE)
    wait_for(lambda: beanstalkd.waiting("mail"), "a reserve waits")
    queue.close()
    with pytest.raises(QueueUnavailable, match="this QueueManager was closed"):
        waiting.result(PATIENCE)
    with pytest.raises(QueueUnavailable, match="this QueueManager was closed"):
        queue.put("mail", {})


# Commands that are broken off


def test_ctrl_c_while_get_waits_leaves_no_answer_for_the_next_command(beanstalkd, queue, pool):
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        interrupt = pool.submit(
            lambda: (wait_for(lambda: beanstalkd.waiting("mail"), "it waits"), os.kill(os.getpid(), signal.SIGINT))
        )
        with pytest.raises(KeyboardInterrupt):
            queue.get(timeout=PATIENCE)
        interrupt.result(PATIENCE)
    finally:
        signal.signal(signal.SIGINT, before)
    job = queue.put("mail", {})
    assert queue.get(timeout=PATIENCE).stats.id == job


def test_restarted_server_costs_one_error_and_is_connected_to_again(beanstalkd, queue, pool):
    list(pool.map(lambda tube: queue.put(tube, {}), [*TUBES, "mail"]))
    beanstalkd.kill()
    beanstalkd.start()
    with pytest.raises(QueueUnavailable):
        queue.get()
    assert queue.get().body == b"{}"


# Forks


def test_processes_forked_after_the_manager_was_made_put_into_their_own_tubes(beanstalkd, queue):
    assert fork(*[partial(put_many, queue, tube) for tube in TUBES]) == [0] * len(TUBES)
    for tube in TUBES:
        assert {body for _, body in bodies(beanstalkd, tube)} == {b"%b-%d" % (tube.encode(), n) for n in range(200)}


def test_child_that_closes_the_manager_leaves_the_parents_lease_alone(beanstalkd, queue):
    executor("mail")(lambda payload: payload)
    job = queue.put("mail", "a")
    leased = queue.get()

    def leave():
        with queue:
            queue.put("other", {})

    assert fork(leave) == [0]
    assert beanstalkd.stats_job(job)["state"] == "reserved"
    assert queue.process(leased).result == "a"
    assert beanstalkd.count("mail") == NOTHING


def test_parents_connections_end_with_the_parent_and_not_with_its_child(beanstalkd, queue):
    job = queue.put("mail", "a")
    assert queue.get()
    go_on = FORK.Event()
    child = FORK.Process(target=go_on.wait, args=(PATIENCE,))
    child.start()
    queue.close()
    wait_for(lambda: beanstalkd.stats_job(job)["state"] == "ready", "the lease ends")
    assert child.is_alive()
    go_on.set()
    child.join()


def test_fork_while_another_thread_waits_for_a_job(beanstalkd, queue, pool):
    waiting = pool.submit(queue.get, PATIENCE)
    wait_for(lambda: beanstalkd.waiting("mail"), "a reserve waits")
    assert fork(lambda: queue.put("other", {})) == [0]
    assert beanstalkd.count("other") == NOTHING | {"ready": 1}
    job = queue.put("mail", {})
    assert waiting.result(PATIENCE).stats.id == job


def test_forks_at_any_moment_while_threads_put(beanstalkd, queue, pool):
    stop = threading.Event()

    def put_on(tube):
        ids = []
        while not stop.is_set():
            ids.append(queue.put(tube, {}))
        return ids

    putting = [pool.submit(put_on, tube) for tube in TUBES[:3]]
    codes = [code for _ in range(10) for code in fork(*[lambda: put_many(queue, "child", 5)] * 2)]
    stop.set()
    assert codes == [0] * 20
    for tube, future in zip(TUBES, putting, strict=False):
        ids = future.result(PATIENCE)
        assert beanstalkd.count(tube)["ready"] == len(set(ids)) == len(ids)
    assert beanstalkd.count("child")["ready"] == 100


def test_child_is_refused_the_parents_job(beanstalkd, queue):
    runs = []
    executor("mail")(runs.append)
    queue.put("mail", 1)
    leased = queue.get()

    def process():
        with pytest.raises(ValueError, match="is not reserved by this QueueManager in this process"):
            queue.process(leased)
        assert runs == []

    assert fork(process) == [0]
    assert queue.process(leased).verdict == Delete()


def test_child_has_jobs_of_its_own(beanstalkd, queue):
    executor("mail")(lambda payload: payload)
    queue.put("mail", 1)
    queue.put("mail", 2)
    parents = queue.get()

    def process():
        assert queue.process(queue.get()).result == 2
        assert queue.get() is None

    assert fork(process) == [0]
    assert queue.process(parents).result == 1
    assert beanstalkd.count("mail") == NOTHING


def test_child_that_comes_back_from_the_executor_gives_no_verdict(beanstalkd, queue, tmp_path):
    @executor("mail")
    def mail(payload):
        return os.fork()

    queue.put("mail", {})
    parent, leased = os.getpid(), queue.get()
    try:
        child = queue.process(leased).result
    except BaseException as error:
        if os.getpid() == parent:
            raise
        (tmp_path / "child").write_text(f"{type(error).__name__}: {error}")
        os._exit(7)
    if os.getpid() != parent:
        os._exit(8)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    assert "only its parent finishes the job" in (tmp_path / "child").read_text()
    assert beanstalkd.count("mail") == NOTHING


def test_parents_jobs_are_flushed_by_the_parent_only(beanstalkd, queue, tmp_path):
    executor("mail")(lambda payload: None)

    def flush(reason, count):
        (tmp_path / f"flush-{os.getpid()}").write_text(str(count))

    with events.flush.connected_to(flush):
        queue.put("mail", {})
        queue.process(queue.get())
        assert fork(queue.close) == [0]
        assert list(tmp_path.glob("flush-*")) == []
        queue.close()
    flushes = {file.name: file.read_text() for file in tmp_path.glob("flush-*")}
    assert flushes == {f"flush-{os.getpid()}": "1"}


SCRIPT = """
import asyncio, os, sys
from tubeherd import QueueManager, executor

@executor("mail")
async def mail(payload):
    return await asyncio.to_thread(lambda: payload)

queue = QueueManager(sys.argv[1], tubes=["mail"])
def result():
    queue.put("mail", "a")
    return queue.process(queue.get()).result
result()
if os.fork() == 0:
    {child}
    sys.exit()
os.wait()
print(result())
"""


@pytest.mark.parametrize("child", ["pass", "result()", "queue.close()", "del queue"])
def test_child_that_ends_leaves_the_parents_event_loop_in_order(beanstalkd, child):
    command = [sys.executable, "-c", SCRIPT.replace("{child}", child), beanstalkd.server]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "a\n"


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_manager_is_not_given_to_a_process_that_is_not_forked(queue, method):
    process = multiprocessing.get_context(method).Process(target=put_many, args=(queue, "mail"))
    with pytest.raises(TypeError, match="a QueueManager cannot be copied or given to another process"):
        process.start()


@pytest.mark.parametrize("copied", [pickle.dumps, copy.copy, copy.deepcopy])
def test_manager_is_not_copied(queue, copied):
    with pytest.raises(TypeError, match="a QueueManager cannot be copied or given to another process"):
        copied(queue)
