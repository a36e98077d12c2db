"""What a slot sends to its supervisor about its executors, which are the functions that do the jobs of tubes.

The supervisor gives the verdicts on the jobs of a dead slot, and never imports executors. So the slot sends the retry
delays of executors on the control socket, before it takes its first job. With `--reload` it also sends the folders of
the modules that it has imported. Other messages on this socket come with a file descriptor.
"""

import os
from typing import Final

MESSAGE_BYTES: Final = 4097
"""Room for a message: the path of a folder is the longest, and Linux allows 4,096 bytes for it."""
_FOLDER: Final = b"\0"
"""The first byte of a message with a folder. The name of no tube has it."""


def encode_folder(folder: str) -> bytes:
    """Return a message with a folder."""
    return _FOLDER + os.fsencode(folder)


def decode_folder(message: bytes) -> str | None:
    """Return the folder of such a message; None if it is another message."""
    return os.fsdecode(message[1:]) if message.startswith(_FOLDER) else None


def encode_delays(tube: str, delays: tuple[int, ...]) -> bytes:
    """Return a message with a tube and the delays, in seconds, before the retries of its jobs."""
    return " ".join([tube, *map(str, delays)]).encode("ascii")


def decode_delays(message: bytes) -> tuple[str, tuple[int, ...]]:
    """Return the tube and the delays of such a message."""
    tube, *delays = message.decode("ascii").split(" ")
    return tube, tuple(map(int, delays))
