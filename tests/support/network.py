"""Addresses on this machine."""

import socket


def free_port(host: str = "127.0.0.1") -> int:
    """Return a port of this host on which nobody listens now."""
    with socket.create_server((host, 0)) as server:
        port: int = server.getsockname()[1]
    return port


def free_address() -> str:
    """Return an address on loopback, `host:port`, on which nobody listens now."""
    return f"127.0.0.1:{free_port()}"
