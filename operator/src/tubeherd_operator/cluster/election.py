"""Takes part in the election of the leader by a Lease, and ends the process if it can lead no longer."""

import math
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Protocol

from tubeherd.logs import log
from tubeherd_operator.cluster.client import ClusterError
from tubeherd_operator.decisions.leadership import (
    AGAIN_SECONDS,
    RENEWAL_SECONDS,
    RETRY_SECONDS,
    Sight,
    claimed,
    look,
    may_claim,
    pause,
    released,
)
from tubeherd_operator.ending import end
from tubeherd_operator.objects import Key, Object


class Leases(Protocol):
    """Reads and writes Leases, as `Cluster` does."""

    def lease(self, namespace: str, name: str) -> Object | None:
        """Return a Lease, or None if there is none."""

    def write_lease(self, lease: Object) -> Object:
        """Create a Lease, or change the version that is given, and return it; otherwise raises ClusterError."""


class Election:
    """The part of one operator in the election. `run` and `guard` are each for a thread of its own."""

    def __init__(
        self, leases: Leases, name: Key, identity: str, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`name` is that of the Lease; no two processes may have the same `identity`."""
        self._leases = leases
        self._name = name
        self._identity = identity
        self._clock = clock
        self._sight: Sight | None = None
        self._own: Object | None = None
        """The Lease as this operator has written it; None if it may be another by now."""
        self._leads_until = -math.inf
        self._trouble = ""
        self._leads = threading.Event()
        self._left = threading.Event()
        self._changing = threading.Lock()
        """Held while the Lease is read or written, so that no renewal undoes what `leave` did."""

    @property
    def leads(self) -> bool:
        """Whether this operator leads at present."""
        return self._clock() < self._leads_until

    def wait(self) -> None:
        """Return as soon as this operator leads."""
        self._leads.wait()

    def run(self) -> None:
        """Take part in the election until `leave`."""
        while not self._left.is_set():
            self._left.wait(self.step())

    def guard(self) -> None:
        """End the process at the time until which it leads, unless that was put off; also if a request hangs."""
        self._leads.wait()
        while not self._left.wait(max(0.0, self._leads_until - self._clock())):
            if not self.leads:
                end(f"the Lease {self._name} could not be renewed for {RENEWAL_SECONDS:g} s, so another may lead")

    def step(self) -> float:
        """Look at the Lease, and claim or renew it if that is allowed; return after how many seconds to go on."""
        try:
            with self._changing:
                if not self._left.is_set():
                    self._look_and_claim()
        except ClusterError as error:
            self._own = None  # it may have been written, or another operator was faster
            self._log_once(f"the Lease {self._name} could not be read or written, it is tried again: {error}")
            if self.leads:
                return AGAIN_SECONDS
        return pause(self._sight, self._identity, self._clock()) if self._sight else RETRY_SECONDS

    def leave(self) -> None:
        """Give the Lease back, so that another operator leads at once; only when no pass runs any more."""
        with self._changing:
            self._left.set()
            if self._own is not None and self.leads:
                with suppress(ClusterError):
                    self._leases.write_lease(released(self._own))

    def _look_and_claim(self) -> None:
        lease = self._own or self._leases.lease(*self._name)
        now = self._clock()
        self._sight = look(self._sight, lease, now)
        if not may_claim(self._sight, self._identity, now):
            if self._leads.is_set():
                end(f"{self._sight.holder} leads now")
            self._log_once(f"waits: {self._sight.holder} leads")
            return
        self._own = None
        self._own = self._leases.write_lease(claimed(self._name, lease, self._identity, _time()))
        self._sight = look(self._sight, self._own, now)
        self._leads_until = now + RENEWAL_SECONDS
        self._trouble = ""
        if not self._leads.is_set():
            log.info("leads from now on", lease=str(self._name))
            self._leads.set()

    def _log_once(self, event: str) -> None:
        if event != self._trouble:
            self._trouble = event
            log.warning(event)


def _time() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
