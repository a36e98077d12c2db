"""What the bench gives by variables of the environment to a contestant's worker and producer."""

import os


def server() -> tuple[str, int]:
    """Return the address of the contestant's broker."""
    return "127.0.0.1", int(os.environ["BENCH_PORT"])


def url() -> str:
    """Return the address of the contestant's Redis."""
    host, port = server()
    return f"redis://{host}:{port}/0"


def mode() -> str:
    """Return in which of its modes the contestant runs."""
    return os.environ["BENCH_MODE"]


def hasty() -> bool:
    """Tell whether a dead worker is to be noticed as early as can be configured, so that nobody waits for hours."""
    return os.environ["BENCH_HASTY"] == "1"
