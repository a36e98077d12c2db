"""What becomes of a job whose worker is killed with kill -9 while the job is executed.

Each contestant is tried twice, all at the same time: once all processes of the worker are killed, as if their machine
failed, and once only the process that executes the job, as the kernel does if memory runs out. A worker whose first
process has ended is started anew, as in a container. Timeouts are as short as they can be set, so that nobody waits for
an hour: see what each module does if it is to be hasty.
"""

import os
import signal
import time
from collections.abc import Callable, Collection
from contextlib import ExitStack
from typing import Final

from tests.bench.peers import job
from tests.bench.peers.running import PEERS, Peer, Running, running
from tests.bench.peers.words import PROMISES, PROMISES_HEAD, RETURN_HEAD, RETURNS
from tests.bench.report import table

_PATIENCE: Final = 80.0
"""Seconds after which no further execution is waited for."""
_HEAD: Final = ["worker", "runs as", "all killed: the job begins anew", "only its process killed"]
_NOT_YET: Final = f"not within {_PATIENCE:.0f} s"
_PAUSE: Final = 0.7
_LOOKS_SECONDS: Final = 0.2


def promises() -> str:
    """Return the tables of what was tried and of what is promised; modes that return jobs as another are left out."""
    tried = {peer: RETURNS[peer.module, peer.mode] for peer in PEERS if (peer.module, peer.mode) in RETURNS}
    returns = [[peer.versioned(), peer.runs_as, *outcomes, *tried[peer]] for peer, outcomes in _outcomes(tried).items()]
    names = {peer.module: peer.name for peer in PEERS}
    promised = [[names[module], *cells] for module, cells in PROMISES.items()]
    return f"{table([*_HEAD, *RETURN_HEAD], returns)}\n{table(['worker', *PROMISES_HEAD], promised)}"


def _outcomes(peers: Collection[Peer]) -> dict[Peer, list[str]]:
    """Return for each contestant what came of both kinds of death."""
    with ExitStack() as stack:
        trials = [
            _Trial(stack.enter_context(running(peer, hasty=True)), kill) for peer in peers for kill in (_all, _one)
        ]
        for trial in trials:  # one after the other, so that the new workers start undisturbed
            trial.contest.do(job.HANGING)
            time.sleep(_PAUSE)
            trial.kill()
        print(f"promises: {len(trials)} workers were killed; waiting for the jobs", flush=True)
        deadline = time.monotonic() + _PATIENCE
        while time.monotonic() < deadline and sum(trial.look() for trial in trials) < len(trials):
            time.sleep(_LOOKS_SECONDS)
        return {peer: [trial.outcome or _NOT_YET for trial in trials if trial.contest.peer is peer] for peer in peers}


class _Trial:
    """A job whose worker dies."""

    def __init__(self, contest: Running, kill: Callable[[Running], None]) -> None:
        self.contest = contest
        self.outcome = ""
        """When the job began anew, or that its broker has nothing of it."""
        self._kill = kill
        self._killed = 0.0
        self._empty = 0
        """How many looks in a row have found nothing in the broker."""

    def kill(self) -> None:
        """Kill what executes the job, and start the worker again if that was all of it."""
        self._killed = time.monotonic()
        self._kill(self.contest)
        self._restart()

    def look(self) -> bool:
        """Return whether the outcome is known by now."""
        self._restart()
        if self.outcome:
            return True
        if self.contest.page.count > 1:
            self.outcome = f"after {self.contest.page.last - self._killed:.1f} s"
        elif not self.contest.producer.left():
            self._empty += 1
            self.outcome = "never" if self._empty > 1 else ""  # one look may miss a job that is moved
        else:
            self._empty = 0
        return bool(self.outcome)

    def _restart(self) -> None:
        if self.contest.worker.has_ended():
            self.contest.worker.restart()


def _all(contest: Running) -> None:
    contest.worker.kill()


def _one(contest: Running) -> None:
    os.kill(contest.page.pid, signal.SIGKILL)
