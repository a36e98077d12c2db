"""What a slot sends to its supervisor about its executors, which are the functions that do the jobs of tubes.

The supervisor gives the verdicts on the jobs of a dead slot, and never imports executors. So the slot sends the retry
delays of executors on the control socket, before it takes its first job. With `--reload` it also sends the folders of
the modules that it has imported. What it finds out about tubes, the supervisor logs for all slots. A copy of each
connection that it opens is sent as a file descriptor, together with the number of its lane.
"""

import os
from typing import Final, NamedTuple

MESSAGE_BYTES: Final = 4097
"""Room for a message: the path of a folder is the longest, and Linux allows 4,096 bytes for it."""
_FOLDER: Final = b"\0"
"""The first byte of a message with a folder. The name of no tube has it."""
_REMARK: Final = b"\1"
"""The same of a message that is to be logged."""
_LANE: Final = b"\2"
"""The same of a message that comes with a connection."""
_REMARK_MAX: Final = 1000
"""The length of what is logged, in characters."""
_NONE: Final = "-"
"""In place of the delays of an executor that has none of its own."""


def encode_folder(folder: str) -> bytes:
    """Return a message with a folder."""
    return _FOLDER + os.fsencode(folder)


def decode_folder(message: bytes) -> str | None:
    """Return the folder of such a message; None if it is another message."""
    return os.fsdecode(message[1:]) if message.startswith(_FOLDER) else None


def encode_lane(number: int) -> bytes:
    """Return the message with which a connection is sent: the number of its lane."""
    return _LANE + b"%d" % number


def decode_lane(message: bytes) -> int | None:
    """Return the number of such a message; None if it is another message."""
    return int(message[1:]) if message.startswith(_LANE) else None


def encode_delays(name: str, delays: tuple[int, ...] | None) -> bytes:
    """Return a message with an executor's name, and the delays, in seconds, before the retries of its jobs.

    They are None if it has none of its own.
    """
    return " ".join([name, *([_NONE] if delays is None else map(str, delays))]).encode("ascii")


def decode_delays(message: bytes) -> tuple[str, tuple[int, ...] | None]:
    """Return the name and the delays of such a message."""
    name, *delays = message.decode("ascii").split(" ")
    return name, None if delays == [_NONE] else tuple(map(int, delays))


class Remark(NamedTuple):
    """What a slot has found out, and the supervisor is to log once, however many slots find it out."""

    about: str
    """Tells it from other remarks; the first word is its kind."""
    event: str
    is_warning: bool = True


def encode_remark(remark: Remark) -> bytes:
    """Return a message with a remark."""
    return _REMARK + "\0".join([remark.about, remark.event[:_REMARK_MAX], "1" * remark.is_warning]).encode()


def decode_remark(message: bytes) -> Remark | None:
    """Return the remark of such a message; None if it is another message."""
    if not message.startswith(_REMARK):
        return None
    about, event, is_warning = message[1:].decode().split("\0")
    return Remark(about, event, bool(is_warning))
