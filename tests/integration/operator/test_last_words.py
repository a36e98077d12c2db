"""Why a worker ended, as a pool's condition gives it, from what a real worker has written."""

import pytest

from tests.support.executors import CODE, NOTING
from tests.support.worker import Worker
from tubeherd.exits import Exit
from tubeherd_operator.decisions.pods import last_words


@pytest.fixture
def ended(tmp_path, beanstalkd):
    """Run a worker to its end and return its exit code and what the pool's condition says of it."""
    workers = []

    def run(executors, *options):
        worker = Worker(tmp_path / f"worker-{len(workers)}", beanstalkd.server, executors, options)
        workers.append(worker)
        code = worker.exit_code()
        return code, last_words({"exitCode": code, "message": worker.output()})

    yield run
    for worker in workers:
        worker.end()


def test_tube_without_executor(ended):
    code, words = ended(NOTING, "--include", "mail,push")
    assert code == Exit.EXECUTORS
    assert words.startswith("tube 'push' has no executor here")


def test_executors_that_cannot_be_imported(ended):
    code, words = ended("import no_such_module")
    assert code == Exit.EXECUTORS
    assert "no_such_module" in words


def test_wrong_setting(ended, monkeypatch):
    monkeypatch.setenv("TUBEHERD_LOG_LEVEL", "loud")
    code, words = ended(NOTING)
    assert code == Exit.USAGE
    assert words.startswith("--log-level (TUBEHERD_LOG_LEVEL): ")


def test_what_a_job_raised_is_not_repeated(ended, beanstalkd):
    beanstalkd.put_code("raise ValueError('hunter2')")
    beanstalkd.put_code("raise Abort('hunter2')")
    code, words = ended(CODE + "from tubeherd import Abort", "--retry-delays", "none")
    assert beanstalkd.count("code")["buried"] == 1
    assert (code, words) == (Exit.FAILED, None)


def test_what_an_executor_printed_is_not_repeated(ended, beanstalkd):
    beanstalkd.put_code("print('hunter2', file=sys.stderr, flush=True); os.kill(os.getppid(), signal.SIGKILL)")
    code, words = ended(CODE)
    assert (code, words) == (-9, None)
