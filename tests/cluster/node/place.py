"""Where the node keeps its files, and how the scripts run commands and speak to the screen."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

SOURCE = Path(__file__).resolve().parent
CACHE = Path(os.environ.get("TUBEHERD_CACHE", Path.home() / ".cache" / "tubeherd"))
STATE = Path("/var/lib/tubeherd-node")
RUN = Path("/run/tubeherd-node")
LOGS = STATE / "logs"
KUBECONFIG = STATE / "kubeconfig"
CONTAINERD_SOCKET = RUN / "containerd.sock"

_STARTED = time.monotonic()


class NodeError(Exception):
    """Something the user has to know; the message says what to do."""


def say(text: str) -> None:
    """Print one line of progress with the seconds since the start."""
    print(f"[{time.monotonic() - _STARTED:4.0f} s] {text}", flush=True)


def run(command: Sequence[str | Path], *, env: Mapping[str, str] | None = None, cwd: Path | None = None) -> str:
    """Run a command and return what it printed; raises NodeError with the end of its output where it fails."""
    try:
        done = subprocess.run(
            [str(part) for part in command],
            env=os.environ | dict(env or {}),
            cwd=cwd,
            stdin=subprocess.DEVNULL,
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


def wait_for(what: str, condition: Callable[[], bool], seconds: float) -> None:
    """Poll until the condition holds; raises NodeError after the limit."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise NodeError(f"{what}: not within {seconds:.0f} s; see the logs in {LOGS}")
        time.sleep(0.2)


def fail(error: NodeError) -> None:
    """Print the error and end the script."""
    print(f"\nerror: {error}", file=sys.stderr)
    sys.exit(1)
