"""Workers as processes of their own, and the servers and proxies that they meet."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from tests.support.beanstalkd import Beanstalkd
from tests.support.hostile import Script, Server
from tests.support.network import free_address
from tests.support.proxies import Interceptor, Proxy
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


@pytest.fixture
def put_mail(beanstalkd: Beanstalkd) -> Callable[..., int]:
    """Put a job into the tube `mail` and return its id: `put_mail(payload, priority=5)`; the payload becomes JSON."""
    return lambda payload, priority=5: beanstalkd.put_json("mail", payload, priority=priority)


@pytest.fixture
def address() -> str:
    """An address on which nobody listens, for a worker's health."""
    return free_address()


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    """Start servers of scripts: `serve(*scripts, port=0)`; all are closed after the test."""
    servers: list[Server] = []

    def start(*scripts: Script, port: int = 0) -> Server:
        servers.append(Server(*scripts, port=port))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


@pytest.fixture
def interceptor(beanstalkd: Beanstalkd) -> Iterator[Interceptor]:
    """An interceptor before the test's beanstalkd."""
    interceptor = Interceptor(beanstalkd.port)
    yield interceptor
    interceptor.close()


@pytest.fixture
def proxy(beanstalkd: Beanstalkd) -> Iterator[Proxy]:
    """A proxy before the test's beanstalkd."""
    proxy = Proxy(beanstalkd.port)
    yield proxy
    proxy.close()
