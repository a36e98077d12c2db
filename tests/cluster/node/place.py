"""Where the node keeps its files, and how the scripts run commands and print progress."""

import fcntl
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

SOURCE = Path(__file__).resolve().parent
CACHE = Path(os.environ.get("TUBEHERD_CACHE", Path.home() / ".cache" / "tubeherd"))
STATE = Path("/var/lib/tubeherd-node")
RUN = Path("/run/tubeherd-node")
LOGS = STATE / "logs"
AUDIT = LOGS / "audit.log"
KUBECONFIG = STATE / "kubeconfig"
CONTAINERD_SOCKET = RUN / "containerd.sock"

_STARTED = time.monotonic()


class NodeError(Exception):
    """Something the user has to know; the message says what to do."""


def say(text: str) -> None:
    """Print one line of progress with the seconds since the start."""
    print(f"[{time.monotonic() - _STARTED:4.0f} s] {text}", flush=True)


def run(
    command: Sequence[str | Path], *, env: Mapping[str, str] | None = None, cwd: Path | None = None, stdin: str = ""
) -> str:
    """Run a command and return what it printed; raises NodeError with the end of its output if it fails."""
    try:
        done = subprocess.run(
            [str(part) for part in command],
            env=os.environ | dict(env or {}),
            cwd=cwd,
            input=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
    except FileNotFoundError as error:
        raise NodeError(f"{command[0]} is not installed") from error
    if done.returncode:
        shown = " ".join(str(part) for part in command)
        raise NodeError(f"`{shown[:300]}` failed with {done.returncode}:\n{done.stdout[-3000:]}")
    return done.stdout


def wait_for(what: str, condition: Callable[[], bool], seconds: float, part: str = "") -> None:
    """Poll until the condition holds; raises NodeError after the limit, with the end of the log of the part named."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise NodeError(f"{what}: not within {seconds:.0f} s; see the logs in {LOGS}{last_words(part)}")
        time.sleep(0.2)


def last_words(part: str) -> str:
    """Return the end of a part's log, for an error message."""
    log = LOGS / f"{part}.log"
    if not log.is_file():
        return ""
    return "\n".join([f"\nThe end of {log}:", *log.read_text(errors="replace").splitlines()[-15:]])


@contextmanager
def alone() -> Iterator[None]:
    """Hold the lock that lets one script at a time change the node, its images and the cache."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("waiting for another node.py to finish")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def fail(error: NodeError) -> None:
    """Print the error and end the script."""
    print(f"\nerror: {error}", file=sys.stderr)
    sys.exit(1)
