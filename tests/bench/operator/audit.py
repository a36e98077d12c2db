"""What the operators ask the API server for, as the API server notes it in its audit log."""

import json
import time
from datetime import datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

from tests.bench.operator.progress import say
from tests.support.kubernetes import OPERATOR_NAMESPACE

_LOG: Final = Path("/var/lib/tubeherd-node/logs/audit.log")
_ACCOUNTS: Final = f"system:serviceaccount:{OPERATOR_NAMESPACE}:"
_WRITES: Final = ("create", "update", "patch", "delete")
_QUIET_SECONDS: Final = 10


class Request(NamedTuple):
    """A request of an operator."""

    at: float
    """When it was answered, on the clock of time.time."""
    verb: str
    kind: str
    """The resource, with the part that is asked for: workerpools/status."""
    name: str
    code: int
    """The HTTP status of the answer."""

    @property
    def is_upkeep(self) -> bool:
        """Whether it is about the Lease, or opens a watch."""
        return self.kind == "leases" or self.verb == "watch"

    @property
    def is_write(self) -> bool:
        """Whether it changes something but the Lease."""
        return self.verb in _WRITES and self.kind != "leases"


class Audit:
    """The requests of all operators from now on."""

    def __init__(self) -> None:
        if not _LOG.exists():
            raise RuntimeError("the node was booted by an earlier version: run `make node-down`, and this again")
        self._begin = _LOG.stat().st_size

    def requests(self) -> list[Request]:
        """Return what was asked for since this object was made, the first first."""
        with _LOG.open("rb") as log:
            if self._begin > log.seek(0, 2):
                raise RuntimeError("the API server has begun a new audit log: run this again")
            log.seek(self._begin)
            lines = log.read().splitlines(keepends=True)
        entries = [json.loads(line) for line in lines if line.endswith(b"\n")]
        return [_request(entry) for entry in entries if _counts(entry)]


def settle(seconds: float, quiet_seconds: float = _QUIET_SECONDS) -> None:
    """Wait until no operator has changed anything for `quiet_seconds`, but no longer than so many seconds."""
    audit, deadline, quiet_since = Audit(), time.time() + seconds, time.time()
    while time.time() - quiet_since < quiet_seconds:
        if time.time() > deadline:
            say(f"the operator still writes after {seconds:.0f} s")
            return
        time.sleep(1)
        quiet_since = max([quiet_since, *(request.at for request in audit.requests() if request.is_write)])


def _counts(entry: dict[str, Any]) -> bool:
    # A watch is noted when it opens and when it ends.
    is_second = entry["verb"] == "watch" and entry["stage"] != "ResponseStarted"
    return not is_second and entry["user"]["username"].startswith(_ACCOUNTS)


def _request(entry: dict[str, Any]) -> Request:
    about = entry.get("objectRef", {})
    kind = "/".join(filter(None, [about.get("resource", entry["requestURI"]), about.get("subresource")]))
    at = datetime.fromisoformat(entry["stageTimestamp"]).timestamp()
    return Request(at, entry["verb"], kind, about.get("name", ""), entry.get("responseStatus", {}).get("code", 0))
