"""What a slot sends to its supervisor about the retry delays of one executor, which is the function of a tube's jobs.

The supervisor gives the verdicts on the jobs of a dead slot, and never imports executors. So the slot sends the delays
on the control socket, before it takes its first job. Other messages on this socket come with a file descriptor.
"""

from typing import Final

DELAYS_BYTES: Final = 1024
"""Room for such a message: a tube's name of 200 bytes at most, and 20 delays of 10 digits at most."""


def encode_delays(tube: str, delays: tuple[int, ...]) -> bytes:
    """Return a message with a tube and the delays, in seconds, before the retries of its jobs."""
    return " ".join([tube, *map(str, delays)]).encode("ascii")


def decode_delays(message: bytes) -> tuple[str, tuple[int, ...]]:
    """Return the tube and the delays of such a message."""
    tube, *delays = message.decode("ascii").split(" ")
    return tube, tuple(map(int, delays))
