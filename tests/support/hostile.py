"""Servers that are no beanstalkd, or a mad one: each connection meets a script of the test's choice."""

import math
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Final

from tests.support.replies import stats_job


class Peer:
    """A connection that a server has accepted; `number` counts from 1."""

    def __init__(self, accepted: socket.socket, number: int, count_command: Callable[[], None]) -> None:
        self.socket = accepted
        self.number = number
        self._count_command = count_command

    def commands(self) -> Iterator[str]:
        """Yield the first word of each line that comes, until the other side closes the connection."""
        with self.socket.makefile("rb") as lines:
            for line in lines:
                self._count_command()
                yield line.split()[0].decode()

    def send(self, data: bytes) -> None:
        """Send these bytes."""
        self.socket.sendall(data)


Script = Callable[[Peer], None]
"""What a server does on one connection; the connection is closed when it returns, or raises OSError."""


class Server:
    """Listens and plays a script on each connection: its scripts in turn, over and over."""

    def __init__(self, *scripts: Script, port: int = 0, host: str = "127.0.0.1") -> None:
        """Begin to listen on an address of this machine; port 0 is a free one."""
        self._listener = socket.create_server((host, port))
        self.server = f"{host}:{self._listener.getsockname()[1]}"
        self.times: list[float] = []
        """When each connection was accepted, on the monotonic clock."""
        self._scripts = scripts
        self._commands: list[None] = []
        self._peers: list[socket.socket] = []
        self._players: list[threading.Thread] = []
        self._acceptor = threading.Thread(target=self._accept)
        self._acceptor.start()

    def close(self) -> None:
        """Listen no more and close every connection."""
        with suppress(OSError):  # it was closed before
            self._listener.shutdown(socket.SHUT_RDWR)
        self._acceptor.join()
        for peer in self._peers:
            with suppress(OSError):
                peer.shutdown(socket.SHUT_RDWR)
        for player in self._players:
            player.join()
        self._listener.close()

    @property
    def commands(self) -> int:
        """How many commands its scripts have read, from all connections."""
        return len(self._commands)

    def most_connections(self, slots: int) -> int:
        """Return how many connections so many slots can have made by now, whose pauses double from 0.05 s on."""
        return math.floor(slots * (1.5 + math.log2(1 + (time.monotonic() - self.times[0]) / 0.05)))

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                accepted, _ = self._listener.accept()
                accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                script = self._scripts[len(self.times) % len(self._scripts)]
                self.times.append(time.monotonic())
                self._peers.append(accepted)
                peer = Peer(accepted, len(self.times), lambda: self._commands.append(None))
                self._players.append(threading.Thread(target=_play, args=(script, peer)))
                self._players[-1].start()


def _play(script: Script, peer: Peer) -> None:
    with peer.socket, suppress(OSError):
        script(peer)


# Scripts

RIGHT: Final[Mapping[str, bytes]] = {
    "watch": b"WATCHING 2\r\n",
    "ignore": b"WATCHING 1\r\n",
    "reserve-with-timeout": b"RESERVED 7 2\r\n{}\r\n",
    "stats-job": stats_job(),
    "delete": b"DELETED\r\n",
    "touch": b"TOUCHED\r\n",
}
"""What beanstalkd would answer to a worker that gets the same job again and again."""


def answering(greeting: bytes = b"", **answers: bytes) -> Script:
    """Script a server that greets, and answers each command as told here, or else rightly.

    The name of a command has `_` for `-`; `any` is the answer to every command. An answer may be empty.
    """
    told = {name.replace("_", "-"): answer for name, answer in answers.items()}

    def script(peer: Peer) -> None:
        peer.send(greeting)
        for command in peer.commands():
            peer.send(told.get("any", told.get(command, RIGHT.get(command, b""))))

    return script


def closing(after: str | None = None) -> Script:
    """Script a server that closes the connection at once, or when it has got that command."""

    def script(peer: Peer) -> None:
        for command in peer.commands() if after else ():
            if command == after:
                return
            peer.send(RIGHT[command])

    return script


def one_job(pause: float = 0.0, **answers: bytes) -> Script:
    """Script a server with one job for each connection, whose next reserve times out and whose third waits for ever.

    If there is a pause, of so many seconds, it sends each byte of its answers alone.
    """

    def script(peer: Peer) -> None:
        reserves = [b"", b"TIMED_OUT\r\n", RIGHT["reserve-with-timeout"]]
        for command in peer.commands():
            if command == "reserve-with-timeout":
                answer = reserves.pop() if reserves else b""
            else:
                answer = answers.get(command, RIGHT[command])
            for piece in [bytes([byte]) for byte in answer] if pause else [answer]:
                peer.send(piece)
                time.sleep(pause)

    return script


def without_end(piece: bytes, pause: float = 0.0, after: str = "watch") -> Script:
    """Script a server whose answer to that command never ends: this piece again and again, every `pause` seconds."""

    def script(peer: Peer) -> None:
        for command in peer.commands():
            while command == after:
                peer.send(piece)
                time.sleep(pause)
            peer.send(RIGHT[command])

    return script


def closing_at_the_second_reserve(peer: Peer) -> None:
    """Be a server that says at once that no job came in time, and then goes."""
    reserves = 0
    for command in peer.commands():
        reserves += command == "reserve-with-timeout"
        if reserves == 2:
            return
        peer.send({**RIGHT, "reserve-with-timeout": b"TIMED_OUT\r\n"}[command])


def burying_and_going(peer: Peer) -> None:
    """Be a server without memory that buries what is to be released, and then goes."""
    for command in peer.commands():
        if command == "release":
            peer.send(b"BURIED\r\n")
            return
        peer.send(RIGHT[command])
