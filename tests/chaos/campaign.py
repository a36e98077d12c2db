"""The fault campaign: workers do jobs while they, beanstalkd and their connections are killed, stopped and cut.

At the end every job is accounted for. Run it with `make chaos`.
"""

import argparse
import asyncio
import json
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager, closing, suppress
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import greenstalk

from tests.chaos import faults, jobs, ledger
from tests.chaos.faults import Fault
from tests.chaos.ledger import Hit
from tests.chaos.processes import Broker, Worker, kill_all, living
from tests.chaos.proxy import Proxy, deck
from tests.support.growing_files import read_lines
from tubeherd.burials.reader import read_burials
from tubeherd.queue.answers import QueueUnavailable
from tubeherd.queue.connection import Connection, connect

# A worker process for each, which connects through a proxy of its own.
WORKERS: Final[Sequence[Sequence[str]]] = (
    [],
    ["--max-jobs", "200", "--batch-size", "5"],
    ["--max-time", "20s", "--batch-size", "1"],
    ["--ack-after-flush", "--batch-size", "10"],
    ["--include", "coroutine", "--concurrency", "2", "--async-concurrency", "8"],
)
COMMON: Final = (
    "--concurrency", "3", "--retry-delays", "1s,2s", "--job-timeout", "2s", "--grace-period", "3s",
    "--max-memory", "450Mi", "--log-format", "json",
)  # fmt: skip
TTR: Final = 6
DRAIN_SECONDS: Final = 240
_ROLLOUT_SECONDS: Final = 25
_STOP_SECONDS: Final = 30
_FELT_SECONDS: Final = 1  # a run may begin while its process is being killed
_MEAN_GAP: Final = 0.8


def say(text: str) -> None:
    """Print a line at once, also into a pipe."""
    print(text, flush=True)


class LimitReached(Exception):
    """Something did not happen within its time."""


async def wait_for(condition: Callable[[], object], what: str, seconds: float) -> None:
    """Poll until the condition holds; raises LimitReached."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise LimitReached(f"not within {seconds:g} s: {what}")
        await asyncio.sleep(0.05)


class Place:
    """A worker's place: the worker that runs there now, those before it, and their proxy."""

    def __init__(self, number: int, options: Sequence[str]) -> None:
        self.number = number
        self.options = options
        self.workers: list[Worker] = []
        self.port = 0

    @property
    def worker(self) -> Worker:
        """The newest worker."""
        return self.workers[-1]

    def pids(self) -> frozenset[int]:
        """Return the supervisors that still run there."""
        return frozenset(worker.pid for worker in self.workers if not worker.has_ended())


class Campaign:
    """One campaign, from the first put to the account."""

    def __init__(self, folder: Path, seed: int, count: int, seconds: float) -> None:
        self.folder = folder
        self.seconds = seconds
        self.jobs = jobs.draw(random.Random(f"jobs {seed}"), count, seconds)
        self.faults = faults.schedule(random.Random(f"faults {seed}"), seconds, len(WORKERS), _MEAN_GAP)
        self.ids: dict[int, int] = {}
        self.hits: list[Hit] = []
        self.struck: Counter[str] = Counter()
        self.exits: Counter[str] = Counter()
        self.broken: list[str] = []
        self.places = [Place(number, options) for number, options in enumerate(WORKERS)]
        self.proxies: list[Proxy] = []
        self._records = folder / "records"
        self._records.touch()
        self._dice = random.Random(f"proxies {seed}")
        self._effects = deck(self._dice)
        self._began = 0.0
        self._counted = [0, 0]
        self._tasks: set[asyncio.Task[None]] = set()
        self._keeping = True

    async def run(self) -> ledger.Account:
        """Run the campaign; raises LimitReached where it does not come to its end."""
        self.broker = Broker(self.folder)
        try:
            await self._put()
            await self._open_proxies()
            self._began = time.time()
            for place in self.places:
                self._start(place)
            async with self._in_background(self._keep_workers(), self._tell_progress()):
                await self._let_faults_happen()
                say("the faults stop; the tubes drain")
                await wait_for(self._drained, "the tubes are empty but for buried jobs", DRAIN_SECONDS)
                self._keeping = False
            await self._stop_workers()
            return self._account()
        except (LimitReached, ConnectionError):
            for line in self._summary():
                say(line)
            raise
        finally:
            await self._end()

    # Jobs

    def _client(self) -> Connection:
        return connect(f"127.0.0.1:{self.broker.port}")

    def _answers(self) -> bool:
        with suppress(QueueUnavailable):
            self._client().close()
            return True
        return False

    async def _put(self) -> None:
        await wait_for(self._answers, "beanstalkd answers", 10)
        with closing(self._client()) as client:
            for job in self.jobs:
                self.ids[job.number] = client.put(job.tube, job.body, priority=1, delay=0, ttr=TTR)
                if job.number % 100 == 0:
                    await asyncio.sleep(0)  # Ctrl-C is heard
        say(f"{len(self.jobs)} jobs put into {len(jobs.TUBES)} tubes")

    def _drained(self) -> bool:
        return not any(states[0] for states in self._counts().values())

    def _counts(self) -> dict[str, tuple[int, str]]:
        """Return for each tube how many jobs are still to be done, and all its counts in words."""
        with closing(self._client()) as client:
            stats = client.stats_tubes(jobs.TUBES)
        return {
            tube: (
                counts.ready + counts.reserved + counts.delayed,
                f"{counts.ready} ready, {counts.reserved} reserved, {counts.delayed} delayed, {counts.buried} buried",
            )
            for tube, counts in stats.items()
        }

    def _states(self) -> dict[int, str]:
        states = {}
        with greenstalk.Client(("127.0.0.1", self.broker.port), encoding=None) as client:
            for number, job in self.ids.items():
                with suppress(greenstalk.NotFoundError):
                    states[number] = str(client.stats_job(job)["state"])
        return states

    # Workers

    async def _open_proxies(self) -> None:
        for place in self.places:
            proxy = Proxy(self.broker.port, self._dice, self._effects, self._noter(place))
            place.port = await proxy.open()
            self.proxies.append(proxy)

    def _noter(self, place: Place) -> Callable[[str, float], None]:
        def note(effect: str, seconds: float) -> None:
            self.struck[f"bytes: {effect}"] += 1
            self._hit(faults.ROUGH, place.pids(), seconds)

        return note

    def _start(self, place: Place) -> None:
        log = self.folder / f"worker-{place.number}-{len(place.workers)}.log"
        env = {"CHAOS_RECORDS": str(self._records), "CHAOS_BEGAN": str(self._began)}
        options = [*COMMON, *place.options]
        place.workers.append(Worker(log, f"127.0.0.1:{place.port}", options, env))

    async def _keep_workers(self) -> None:
        """Start a worker again that has ended, as an orchestrator would."""
        while self._keeping:
            for place in self.places:
                if place.worker.has_ended():
                    await self._note_exit(place.worker)
                    self._start(place)
            await asyncio.sleep(0.05)

    async def _note_exit(self, worker: Worker) -> None:
        code = worker.process.returncode
        meaning = {1: "a job aborted it", -9: "killed"}.get(code)
        if worker.told_to_stop:
            meaning = {0: "told to stop", -15: "told to stop before it heard signals"}.get(code, meaning)
        self.exits[f"exit code {code}: {meaning or 'unexpected'}"] += 1
        if meaning is None:
            self.broken.append(f"a worker ended with exit code {code}, see {worker.log.name}")
        if code < 0:
            return
        with suppress(LimitReached):
            await wait_for(lambda: not living([worker.pid]), "its processes are gone", 2)
            return
        self.broken.append(f"a worker that ended by itself left processes behind, see {worker.log.name}")

    async def _replace(self, place: Place) -> None:
        """Start another worker and have the old one stop, as a Deployment does."""
        old = place.worker
        self._start(place)
        old.stop()
        with suppress(LimitReached):
            await wait_for(old.has_ended, "the worker ends", _ROLLOUT_SECONDS)
            await self._note_exit(old)
            return
        self.exits["did not stop in time, killed"] += 1
        kill_all([old.pid])

    async def _stop_workers(self) -> None:
        for place in self.places:
            place.worker.stop()
        for place in self.places:
            await wait_for(place.worker.has_ended, f"worker {place.number} ends", _STOP_SECONDS)
            await self._note_exit(place.worker)

    # Faults

    async def _let_faults_happen(self) -> None:
        start = time.monotonic()
        for fault in self.faults:
            await asyncio.sleep(max(0.0, start + fault.at - time.monotonic()))
            self._spawn(self._strike(fault))
        await asyncio.sleep(max(0.0, start + self.seconds - time.monotonic()))
        while self._tasks:
            done, self._tasks = await asyncio.wait(self._tasks)
            for task in done:
                task.result()
        for proxy in self.proxies:
            proxy.calm()

    def _spawn(self, action: Coroutine[Any, Any, None]) -> None:
        self._tasks.add(asyncio.create_task(action))

    def _hit(self, kind: str, pids: frozenset[int], seconds: float = 0.0) -> None:
        now = time.time()
        self.hits.append(Hit(now, now + seconds + _FELT_SECONDS, kind, pids))

    async def _strike(self, fault: Fault) -> None:
        self.struck[fault.kind] += 1
        place, proxy = self.places[fault.worker], self.proxies[fault.worker]
        match fault.kind:
            case faults.KILL_SLOT | faults.STOP_SLOT:
                await self._strike_slot(fault, place.worker)
            case faults.KILL_SUPERVISOR | faults.STOP_SUPERVISOR:
                await self._strike_supervisor(fault, place.worker)
            case faults.KILL_BROKER | faults.STOP_BROKER:
                await self._strike_broker(fault)
            case faults.CUT:
                self._hit(faults.CUT, place.pids())
                proxy.cut()
            case faults.ROUGH:
                proxy.disturb(fault.seconds)
            case faults.ROLLOUT:
                self._hit(faults.ROLLOUT, frozenset([place.worker.pid]), _ROLLOUT_SECONDS)
                await self._replace(place)

    async def _strike_slot(self, fault: Fault, worker: Worker) -> None:
        slots = worker.slots()
        if not slots:
            return
        slot = slots[int(fault.slot * len(slots))]
        self._hit(fault.kind, frozenset([slot]), fault.seconds)
        if fault.kind == faults.KILL_SLOT:
            worker.send(slot, signal.SIGKILL)
        else:
            worker.send(slot, signal.SIGSTOP)
            await asyncio.sleep(fault.seconds)
            worker.send(slot, signal.SIGCONT)

    async def _strike_supervisor(self, fault: Fault, worker: Worker) -> None:
        self._hit(fault.kind, frozenset([worker.pid]), fault.seconds)
        if fault.kind == faults.KILL_SUPERVISOR:
            worker.process.kill()
            await asyncio.sleep(fault.seconds)
            kill_all([worker.pid])
        else:
            worker.process.send_signal(signal.SIGSTOP)
            await asyncio.sleep(fault.seconds)
            worker.process.send_signal(signal.SIGCONT)

    async def _strike_broker(self, fault: Fault) -> None:
        process = self.broker.process
        self._hit(fault.kind, frozenset(), fault.seconds)
        if fault.kind == faults.STOP_BROKER:
            process.send_signal(signal.SIGSTOP)
            await asyncio.sleep(fault.seconds)
            process.send_signal(signal.SIGCONT)
        elif process.poll() is None:  # else it is down already
            self.broker.kill()
            await asyncio.sleep(fault.seconds)
            self.broker.start()

    # Progress and end

    @asynccontextmanager
    async def _in_background(self, *work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(each) for each in work]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
        for result in results:
            if isinstance(result, Exception):
                raise result

    async def _tell_progress(self) -> None:
        with self._records.open() as records:
            while True:
                for record in records:
                    self._counted[record.startswith("end")] += 1
                begun, ended = self._counted
                up = sum(not place.worker.has_ended() for place in self.places)
                seconds = time.time() - self._began
                say(
                    f"{seconds:5.0f} s  runs begun {begun}, ended {ended}  faults {self.struck.total()}"
                    f"  workers up {up} of {len(self.places)}"
                )
                await asyncio.sleep(5)

    def _account(self) -> ledger.Account:
        records = read_lines(self._records)
        runs, alive = ledger.read_runs(records), ledger.read_alive(records)
        lines = [line for place in self.places for worker in place.workers for line in _lines(worker)]
        burials = read_burials(f"127.0.0.1:{self.broker.port}").records
        account = ledger.account(self.jobs, self.ids, self._states(), runs, lines, self.hits, alive, burials)
        account.broken.extend(self.broken)
        return account

    def _summary(self) -> list[str]:
        """Return the state of the campaign where it did not come to its end."""
        lines = [
            f"worker {place.number}: started {len(place.workers)} times, {len(place.pids())} still run"
            for place in self.places
        ]
        with suppress(ConnectionError):
            lines += [f"tube {tube}: {words}" for tube, (_, words) in self._counts().items()]
            waiting = [f"{number} ({state})" for number, state in self._states().items() if state != "buried"]
            lines.append(f"jobs that are neither gone nor buried: {' '.join(waiting[:50]) or 'none'}")
        return lines

    async def _end(self) -> None:
        for task in self._tasks:
            task.cancel()
        kill_all({worker.pid for place in self.places for worker in place.workers})
        for proxy in self.proxies:
            await proxy.close()
        self.broker.kill()


def _lines(worker: Worker) -> list[ledger.Line]:
    lines = []
    for text in read_lines(worker.log):
        with suppress(json.JSONDecodeError):  # what executors write, and lines that a kill cut off
            fields = json.loads(text)
            line = ledger.line_of(fields, datetime.fromisoformat(fields["timestamp"]).timestamp(), worker.pid)
            if line:
                lines.append(line)
    return lines


async def run(folder: Path, options: argparse.Namespace) -> bool:
    """Run a campaign and print its account; returns whether every promise was kept."""
    campaign = Campaign(folder, options.seed, options.jobs, options.seconds)
    task = asyncio.current_task()
    assert task
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    try:
        account = await campaign.run()
    except (LimitReached, ConnectionError) as error:
        say(f"the campaign failed: {error}")
        return False
    say("faults")
    for kind, count in sorted(campaign.struck.items()):
        say(f"  {kind:<58}{count:>8}")
    say("ends of workers")
    for kind, count in sorted(campaign.exits.items()):
        say(f"  {kind:<58}{count:>8}")
    for line in ledger.report(account):
        say(line)
    return not account.lost and not account.broken


def main() -> int:
    """Run a campaign as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--jobs", type=int, default=50_000)
    parser.add_argument("--seconds", type=float, default=480, help="how long faults happen")
    options = parser.parse_args()
    say(f"seed {options.seed}: {options.jobs} jobs, faults for {options.seconds:g} s")
    folder = Path(tempfile.mkdtemp(prefix="tubeherd-chaos-"))
    kept = False
    try:
        kept = asyncio.run(run(folder, options))
    except (KeyboardInterrupt, asyncio.CancelledError):
        say("interrupted")
    finally:
        if kept:
            shutil.rmtree(folder)
        else:
            print(f"logs and records are in {folder}", file=sys.stderr)
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
