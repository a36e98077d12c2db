"""A contestant under measurement: its broker, its producer, its worker, and the page that its jobs write."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, NamedTuple

import psutil

from tests.bench.broker import ALL_CORES, Broker, beanstalkd
from tests.bench.contestants import worked
from tests.bench.peers.page import Page
from tests.bench.peers.redis_server import Redis, redis
from tests.support.project import ROOT
from tests.support.waiting import wait_for

_ENVIRONMENTS: Final = ROOT / ".venv-peers"


class Peer(NamedTuple):
    """A contestant, in one of its modes."""

    name: str
    runs_as: str
    module: str
    mode: str = ""
    spins: bool = False
    """Whether its worker takes a core while it is idle."""

    @property
    def is_tubeherd(self) -> bool:
        """Whether it has beanstalkd and Tubeherd's own environment."""
        return self.module == "tubeherd_peer"

    @property
    def python(self) -> Path:
        """The interpreter that has it installed."""
        if self.is_tubeherd:
            return Path(sys.executable)
        return _ENVIRONMENTS / ("arq" if self.module == "arq_peer" else "others") / "bin" / "python"

    def versioned(self) -> str:
        """Return its name with the version that is installed."""
        ask = f"from importlib.metadata import version; print(version('{self.name}'))"
        said = subprocess.run([self.python, "-c", ask], capture_output=True, text=True, check=True)
        return f"{self.name} {said.stdout.strip()}"


PEERS: Final = (
    Peer("Tubeherd", "1 slot", "tubeherd_peer"),
    Peer("Huey", "1 thread", "huey_peer"),
    Peer("dramatiq", "8 threads, as it comes", "dramatiq_peer", "8"),
    Peer("dramatiq", "1 thread", "dramatiq_peer", "1"),
    Peer("dramatiq", "1 thread, takes 64 jobs ahead", "dramatiq_peer", "1 64"),
    Peer("Celery", "1 process, `acks_late`, takes 64 jobs ahead", "celery_peer", "late"),
    Peer("Celery", "1 process, as it comes", "celery_peer"),
    Peer("RQ", "`SimpleWorker`", "rq_peer", "SimpleWorker"),
    Peer("RQ", "`Worker`, as it comes: a process for each job", "rq_peer", "Worker"),
    Peer("arq", "10 coroutines, as it comes", "arq_peer", "10"),
    Peer("arq", "10 coroutines, finds 5,000 jobs at a look", "arq_peer", "10 5000"),
    Peer("arq", "1 coroutine, looks without a pause", "arq_peer", "1 1", spins=True),
)


class Producer:
    """The process that puts a contestant's jobs."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.command: list[str] = json.loads(self._line())

    def put(self, count: int, number: int) -> float:
        """Put so many jobs of this number, and return the time before that."""
        return float(self._ask(f"put {count} {number}"))

    def left(self) -> int:
        """Return how many jobs the broker still has."""
        return int(self._ask("left"))

    def _ask(self, line: str) -> str:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()
        return self._line()

    def _line(self) -> str:
        assert self._process.stdout is not None
        if line := self._process.stdout.readline():
            return line
        raise RuntimeError("the producer ended; its last words stand above")


class Worker:
    """A contestant's worker, with all processes that descend from its first."""

    def __init__(self, command: list[str], env: Mapping[str, str], log: Path, cores: Collection[int]) -> None:
        self._command, self._env, self._log, self._cores = command, env, log, cores
        self._first = self._start()

    def restart(self) -> None:
        """Kill what is left of it, and start it again."""
        self.kill()
        self._first = self._start()

    def _start(self) -> psutil.Popen:
        with self._log.open("ab") as log:
            # In a session of its own: Ctrl-C reaches only the bench, which then ends it.
            return psutil.Popen(
                self._command,
                cwd=ROOT,
                env=self._env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=lambda: os.sched_setaffinity(0, self._cores),
            )

    def has_ended(self) -> bool:
        """Whether its first process has ended."""
        return self._first.poll() is not None

    def pids(self) -> list[int]:
        """Return the ids of all its processes, the first one first."""
        return [process.pid for process in self._all()]

    @contextmanager
    def suspended(self) -> Iterator[None]:
        """Let none of its processes run meanwhile."""
        processes = self._suspend()
        yield
        for process in reversed(processes):
            with suppress(psutil.NoSuchProcess):
                process.resume()

    def kill(self) -> None:
        """Kill all its processes at once, as if their machine failed."""
        processes = self._suspend()
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        for process in (self._first, *processes):  # the others are children of the bench when the first is gone
            process.wait()

    def wait_for(self, condition: Callable[[], bool], what: str, seconds: float = 120) -> None:
        """Wait until the condition holds; raises RuntimeError with the worker's last words if it ends first."""
        wait_for(lambda: self.has_ended() or condition(), lambda: f"{what}: {self._words()}", seconds, pause=0.01)
        if self.has_ended():
            raise RuntimeError(f"the worker ended: {self._words()}")

    def _words(self) -> str:
        return self._log.read_text()[-2000:]

    def _suspend(self) -> list[psutil.Process]:
        with suppress(psutil.NoSuchProcess):
            self._first.suspend()  # so that it starts no other meanwhile
        processes = self._all()
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.suspend()
        return processes

    def _all(self) -> list[psutil.Process]:
        if self.has_ended():
            return [process for process in psutil.process_iter() if _session(process) == self._first.pid]
        return [self._first, *self._first.children(recursive=True)]


def _session(process: psutil.Process) -> int:
    with suppress(ProcessLookupError):
        return os.getsid(process.pid)
    return 0


class Running(NamedTuple):
    """A contestant with a worker that waits for jobs."""

    peer: Peer
    page: Page
    broker: int
    """The process id of its broker."""
    producer: Producer
    worker: Worker

    def do(self, number: int) -> None:
        """Put a job and wait until it begins."""
        count = self.page.count
        self.producer.put(1, number)
        self.wait_until_begun(count + 1)

    def wait_until_begun(self, jobs: int) -> None:
        """Wait until so many jobs have begun; raises RuntimeError with the worker's last words if it ends first."""
        self.worker.wait_for(lambda: self.page.count >= jobs, f"{jobs} jobs of {self.peer.name} have begun")

    def worked(self) -> float:
        """Return the seconds of processor time that broker and worker have used."""
        while True:
            with suppress(psutil.NoSuchProcess):  # RQ has a process for each job, which counts as its parent's then
                return worked(self.broker, *self.worker.pids())


@contextmanager
def running(peer: Peer, cores: Collection[int] = ALL_CORES, *, hasty: bool = False) -> Iterator[Running]:
    """Run a contestant with its broker on these cores; all of it is ended afterwards."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        broker = stack.enter_context(_broker(peer, cores))
        page = Page.create(folder / "page")
        env = os.environ | {
            "BENCH_PORT": str(broker.port),
            "BENCH_PAGE": str(folder / "page"),
            "BENCH_MODE": peer.mode,
            "BENCH_HASTY": str(int(hasty)),
            "PYTHONPATH": str(ROOT),
            "PYTHONDONTWRITEBYTECODE": "",
        }
        producer = stack.enter_context(_producer(peer, env))
        worker = Worker(producer.command, env, folder / "log", cores)
        stack.callback(worker.kill)
        yield Running(peer, page, broker.pid, producer, worker)


def _broker(peer: Peer, cores: Collection[int]) -> AbstractContextManager[Broker | Redis]:
    return beanstalkd(cores) if peer.is_tubeherd else redis(cores)


@contextmanager
def _producer(peer: Peer, env: Mapping[str, str]) -> Iterator[Producer]:
    command = [str(peer.python), "-m", "tests.bench.peers.producer", peer.module]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=ROOT, env=env, stdin=pipe, stdout=pipe, text=True) as process:
        try:
            yield Producer(process)
        finally:
            process.kill()
