"""What beanstalkd answers, byte for byte, and a socket on which answers have come already."""

import socket
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Final

_COUNTERS: Final[Mapping[str, object]] = {
    "id": 7, "tube": "mail", "state": "reserved", "pri": 5, "age": 1, "delay": 2, "ttr": 60, "time-left": 59, "file": 0,
    "reserves": 3, "timeouts": 1, "releases": 1, "buries": 0, "kicks": 0,
}  # fmt: skip
_MOST_A_READ: Final = 1 << 20


def document(text: bytes) -> bytes:
    """Return the answer to a command that is answered by a list or by counters."""
    return b"OK %d\r\n%b\r\n" % (len(text), text)


def stats_job(**changed: object) -> bytes:
    """Return the answer to `stats-job` for the job 7, with some counters changed, whose names have `_` for `-`.

    Text is encoded as Latin-1, so that it may hold any byte.
    """
    counters = {**_COUNTERS, **{name.replace("_", "-"): value for name, value in changed.items()}}
    return document(b"---\n" + "".join(f"{name}: {value}\n" for name, value in counters.items()).encode("latin-1"))


def stats_tube(buried: int = 4, *, ready: int = 1, delayed: int = 3) -> bytes:
    """Return the answer to `stats-tube` for a tube with 2 reserved jobs, and so many in the other states.

    50 jobs were put into the tube, and 40 were deleted.
    """
    counts = f"urgent: 0 ready: {ready} reserved: 2 delayed: {delayed} buried: {buried}".split(" ")
    lines = [f"current-jobs-{name} {count}\n" for name, count in zip(counts[::2], counts[1::2], strict=True)]
    others = "total-jobs: 50\ncurrent-using: 1\ncurrent-watching: 1\ncurrent-waiting: 0\ncmd-delete: 40\n"
    pauses = "cmd-pause-tube: 0\npause: 0\npause-time-left: 0\n"
    return document(f"---\nname: a\n{''.join(lines)}{others}{pauses}".encode())


def stats(server_id: str = "1a2b") -> bytes:
    """Return the answer to `stats` of a server that calls itself this, cut to a few of its counters."""
    return document(b"---\ncurrent-jobs-buried: 4\nid: %b\nhostname: a\n" % server_id.encode())


class AnsweredSocket(socket.socket):
    """A socket whose other end has sent these pieces, of which a read gets one at most, and has then closed."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        super().__init__(socket.AF_UNIX)
        self._pieces = deque(piece for piece in pieces if piece)
        self.taken = 0
        """How many bytes were read."""
        self.reads_after_the_end = 0

    def getpeername(self) -> str:
        """Return a name, as a connected socket has one."""
        return "peer"

    def sendall(self, data: object, flags: int = 0) -> None:
        """Take a command; what it asks makes no difference to the answer."""

    def recv(self, size: int, flags: int = 0) -> bytes:
        """Return the next piece, or its first bytes; fails if much memory is asked for, or the end is read often."""
        assert size <= _MOST_A_READ, "memory for what was only claimed"
        if not self._pieces:
            self.reads_after_the_end += 1
            assert self.reads_after_the_end < 10, "read again and again after the end"
            return b""
        piece = self._pieces.popleft()
        if piece[size:]:
            self._pieces.appendleft(piece[size:])
        self.taken += len(piece[:size])
        return piece[:size]
