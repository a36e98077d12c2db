"""What stands between a worker and a real beanstalkd, and spoils what passes."""

import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Literal

from tests.support.hostile import Peer, Server

Direction = Literal["out", "in"]
"""To beanstalkd, or from it."""
_CHUNK = 65536


class Interceptor:
    """Forwards to beanstalkd command by command, but answers some itself or sends others in their place."""

    def __init__(self, port: int, host: str = "127.0.0.1") -> None:
        """Listen on an address of this machine, and forward to this port on the same one."""
        self._far = (host, port)
        self._loses = False
        self._server = Server(self._forward, host=host)
        self.server = self._server.server
        self.answers: dict[str, list[bytes]] = {}
        """The first word of a command to the answers that the next of them get, instead of reaching beanstalkd."""
        self.others: dict[str, Callable[[bytes], bytes]] = {}
        """The first word of a command to a function that makes another of its line."""
        self.loses_answer_to = ""
        """The first word of a command that reaches beanstalkd; the connection ends instead of its answer."""
        self.most_connections = 1000
        """How many connections are forwarded; on further ones there is only the end of the answers."""

    def close(self) -> None:
        """Close every connection."""
        self._server.close()

    def _forward(self, peer: Peer) -> None:
        if peer.number > self.most_connections:
            peer.socket.shutdown(socket.SHUT_WR)
            for _ in peer.commands():  # a connection that is closed with commands unread would be reset instead
                pass
            return
        with socket.create_connection(self._far) as far, peer.socket.makefile("rb") as commands:
            back = threading.Thread(target=self._answer, args=(far, peer))
            back.start()
            for line in commands:
                word = line.split()[0].decode()
                self._loses = self._loses or word == self.loses_answer_to
                if answers := self.answers.get(word):
                    peer.send(answers.pop(0) + b"\r\n")
                else:
                    far.sendall(self.others[word](line) if word in self.others else line)
            _shut_down(far)
            back.join()

    def _answer(self, far: socket.socket, peer: Peer) -> None:
        with suppress(OSError):
            while (data := far.recv(_CHUNK)) and not self._loses:
                peer.send(data)
        _shut_down(peer.socket)


class Proxy:
    """Forwards to beanstalkd byte by byte, until it is to cut a connection, or to hold its answers back."""

    def __init__(self, port: int, host: str = "127.0.0.1") -> None:
        """Listen on an address of this machine, and forward to this port on the same one."""
        self._far = (host, port)
        self._server = Server(self._forward, host=host)
        self.server = self._server.server
        self.silent: set[int] = set()
        """The numbers of the connections, from 1, whose answers are held back from now on."""
        self.broken: set[int] = set()
        """The numbers of the connections, from 1, that are cut at their next bytes."""
        self.cut: dict[int, tuple[Direction, int]] = {}
        """Connection number to (direction, bytes): cut as soon as that many have passed in that direction."""

    @property
    def connections(self) -> int:
        """How many connections have come."""
        return len(self._server.times)

    def close(self) -> None:
        """Close every connection."""
        self._server.close()

    def _forward(self, peer: Peer) -> None:
        near = peer.socket
        with socket.create_connection(self._far) as far:
            back = threading.Thread(target=self._pump, args=(far, near, peer.number, "in"))
            back.start()
            self._pump(near, far, peer.number, "out")
            back.join()

    def _pump(self, source: socket.socket, sink: socket.socket, number: int, direction: Direction) -> None:
        way, left = self.cut.get(number, ("", 0))
        with suppress(OSError):
            while (data := source.recv(_CHUNK)) and number not in self.broken:
                if direction == "in" and number in self.silent:
                    return
                if way == direction and len(data) >= left:
                    sink.sendall(data[:left])
                    break
                sink.sendall(data)
                left -= len(data)
        _shut_down(source)
        _shut_down(sink)


def _shut_down(sock: socket.socket) -> None:
    with suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)
