"""A real beanstalkd for a test."""

import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Final, Self

_PROGRAM: Final = "beanstalkd"
_ATTEMPTS: Final = 5
_START_SECONDS: Final = 10.0
_PAUSE_SECONDS: Final = 0.01


class BeanstalkdFailed(RuntimeError):
    """The program beanstalkd is missing, or does not start."""


class Beanstalkd:
    """A beanstalkd on loopback with its own binlog, which can be killed and started again on the same port.

    After a `with` block, or after `close`, it is killed.
    """

    def __init__(self, *options: str) -> None:
        """Start it on a free port, with these options of the program besides; raises BeanstalkdFailed."""
        self._options = options
        self._folder = Path(tempfile.mkdtemp(prefix="beanstalkd-"))
        self._process: subprocess.Popen[bytes] | None = None
        self.port = 0
        """The port on 127.0.0.1."""
        for attempt in range(1, _ATTEMPTS + 1):
            self.port = _free_port()
            try:
                self.start()
                return
            except BeanstalkdFailed:  # such as because another program has taken the port meanwhile
                if attempt == _ATTEMPTS or shutil.which(_PROGRAM) is None:
                    self.close()
                    raise

    @property
    def server(self) -> str:
        """Its address, `host:port`, as `QueueManager` and the option `--server` take it."""
        return f"127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def start(self) -> None:
        """Start it, with the jobs that it had before a `kill`, and wait until it answers; raises BeanstalkdFailed."""
        command = [_PROGRAM, "-l", "127.0.0.1", "-p", str(self.port), "-b", str(self._folder), "-F", *self._options]
        try:
            self._process = subprocess.Popen(command)  # noqa: S603
        except FileNotFoundError:
            raise BeanstalkdFailed(
                "the program beanstalkd is not installed: install it, such as by apt-get install beanstalkd or brew "
                "install beanstalkd"
            ) from None
        deadline = time.monotonic() + _START_SECONDS
        while not self._answers():
            code = self._process.poll()
            if code is not None or time.monotonic() > deadline:
                self.kill()
                how = f"within {_START_SECONDS:g} s" if code is None else f"but ended with exit code {code}"
                raise BeanstalkdFailed(f"beanstalkd did not answer on port {self.port} {how}")
            time.sleep(_PAUSE_SECONDS)

    def kill(self) -> None:
        """End it with SIGKILL, as a crash would; its jobs stay in the binlog."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def drain(self) -> None:
        """Have it refuse every further put with DRAINING."""
        if self._process is not None:
            self._process.send_signal(signal.SIGUSR1)

    def close(self) -> None:
        """End it, and remove its binlog."""
        self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _answers(self) -> bool:
        """Return whether this process answers on the port, and not another one that has taken it."""
        if self._process is None:
            return False
        try:
            with socket.create_connection(("127.0.0.1", self.port), _START_SECONDS) as sock:
                sock.sendall(b"stats\r\nquit\r\n")
                with sock.makefile("rb") as answer:
                    return b"\npid: %d\n" % self._process.pid in answer.read()
        except OSError:
            return False


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
    return port
