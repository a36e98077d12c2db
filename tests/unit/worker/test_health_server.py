"""The supervisor's server has little to do, however many ask for /metrics at once."""

import selectors
import socket
from contextlib import suppress

import pytest

from tests.support.network import free_address
from tests.support.waiting import wait_for
from tubeherd.supervisor.health import HealthServer


@pytest.fixture
def selector():
    with selectors.DefaultSelector() as selector:
        yield selector
        for key in [*selector.get_map().values()]:
            key.fileobj.close()


def test_metrics_are_read_once_for_all_who_ask_in_the_same_pass_of_the_loop(selector):
    read = []
    address = free_address()
    server = HealthServer(address, selector, lambda: True, lambda: b"read %d\n" % (read.append(1) or len(read)))
    host, port = address.split(":")

    def answers(number):
        """Return the different last lines that so many peers are answered."""
        peers = {socket.create_connection((host, int(port))): b"" for _ in range(number)}
        for peer in peers:
            peer.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
            peer.setblocking(False)

        def all_are_answered():
            for key, _ in selector.select(0):
                key.data()
            for peer in peers:
                with suppress(BlockingIOError):
                    peers[peer] += peer.recv(1000)
            return all(answer.endswith(b"\n") and b"read" in answer for answer in peers.values())

        wait_for(all_are_answered, "each is answered")
        for peer in peers:
            peer.close()
        return {answer.splitlines()[-1] for answer in peers.values()}

    assert answers(5) == {b"read 1"}
    server.finish_pass()
    assert answers(2) == {b"read 2"}
