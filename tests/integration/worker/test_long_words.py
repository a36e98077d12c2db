"""Long words of user code, and many tubes, make no long lines; and a worker is connected to a beanstalkd only."""

import pytest

from tests.support.beanstalkd import NOTHING
from tests.support.executors import CODE
from tests.support.hostile import answering, closing

MANY = """
from tubeherd import executor
for number in range(1000): executor(f"mail-{number:0>190}")(lambda payload: None)
"""


@pytest.mark.parametrize(
    "code",
    [
        "from tubeherd import Reschedule; raise Reschedule(60, message='x' * 3_000_000)",
        "from tubeherd import Reject; raise Reject('x' * 3_000_000)",
        "raise ValueError('x' * 3_000_000)",
        "raise type('x' * 3_000_000, (Exception,), {})",
        "import logging; logging.error('x' * 3_000_000)",
        "from tubeherd import Abort; raise Abort('x' * 3_000_000)",
    ],
    ids=["reschedule", "reject", "error", "type", "logging", "abort"],
)
def test_long_word_of_a_job_makes_no_long_line(beanstalkd, run_worker, code):
    worker = run_worker(beanstalkd.server, CODE)
    job = beanstalkd.put_code(code)
    worker.wait_for(lambda: worker.lines(job=job), "a line about the job")
    assert max(map(len, worker.output().splitlines())) < 12_000


def test_connected_lines_say_how_many_tubes_and_some_of_them(beanstalkd, run_worker):
    worker = run_worker(beanstalkd.server, MANY, "--async-concurrency", "4")
    worker.wait_for(lambda: beanstalkd.waiting(f"mail-{0:0>190}"), "the worker waits for jobs")
    line = worker.wait_for_line("connected")
    assert (line["tube_count"], len(line["tubes"])) == (1000, 10)
    assert max(map(len, worker.output().splitlines())) < 3000
    assert worker.stop() == 0


@pytest.mark.parametrize(
    "script",
    [answering(b"HTTP/1.1 400 Bad Request\r\n\r\n"), answering(any=b"?\r\n"), closing("watch"), closing()],
    ids=["http", "nonsense", "closes", "closes-at-once"],
)
def test_worker_says_connected_only_after_the_server_has_shown_to_be_a_beanstalkd(
    beanstalkd, run_worker, serve, script
):
    server = serve(script)
    worker = run_worker(server.server, CODE)
    worker.wait_for(lambda: len(server.times) >= 3, "three connections")
    assert not worker.lines("connected")
    assert beanstalkd.count("code") == NOTHING
    assert worker.stop() == 0
