"""Workers as processes of their own."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.support.worker import RunWorker, Worker


@pytest.fixture
def run_worker(tmp_path: Path) -> Iterator[RunWorker]:
    """Start workers: `run_worker(server, executors_source, *options)`; all are ended after the test.

    `prefix` is a command that runs the worker's.
    """
    workers: list[Worker] = []

    def start(server: str, executors: str, *options: str, prefix: Sequence[str] = ()) -> Worker:
        worker = Worker(tmp_path / f"worker-{len(workers)}", server, executors, options, prefix)
        workers.append(worker)
        return worker

    yield start
    for worker in workers:
        worker.end()
