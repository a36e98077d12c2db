"""Waits for sockets by `poll`, because `select` fails for a file descriptor of 1024 or more."""

import select
import socket
from collections.abc import Sequence


def readable(socks: Sequence[socket.socket], seconds: float) -> list[socket.socket]:
    """Wait up to `seconds` for bytes or the end of a connection; return the sockets that have one of them."""
    poll = select.poll()
    for sock in socks:
        poll.register(sock, select.POLLIN)
    found = {fd for fd, _ in poll.poll(seconds * 1000)}
    return [sock for sock in socks if sock.fileno() in found]
