"""Waiting for sockets, whatever the number of open files: `select` cannot look at descriptors from 1024 on."""

import select
import socket
from collections.abc import Sequence


def readable(socks: Sequence[socket.socket], seconds: float) -> list[socket.socket]:
    """Wait up to `seconds` until there is something to read, or the other side is gone; return where."""
    poll = select.poll()
    for sock in socks:
        poll.register(sock, select.POLLIN)
    found = {fd for fd, _ in poll.poll(seconds * 1000)}
    return [sock for sock in socks if sock.fileno() in found]
