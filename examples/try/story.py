"""The first page of the README by itself, in half a minute: a mail fails, is buried, explained, kicked and delivered.

It starts a beanstalkd and a worker of its own in a temporary folder, and ends both.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import NoReturn

MAIL = Path(__file__).with_name("mail.py")
SECONDS = 15.0
"""How long to wait for each thing that has to happen."""


class Stage:
    """The folder, the beanstalkd and the worker of the story."""

    def __init__(self, folder: Path, cleanup: ExitStack) -> None:
        """Copy the executor into `folder`; `cleanup` ends the processes."""
        self._folder = folder
        self._cleanup = cleanup
        self._environ = os.environ | {"TUBEHERD_SERVER": free_address(), "PATH": path(), "COLUMNS": "80"}
        self._log = folder / "worker.log"
        self._shown = 0
        shutil.copy(MAIL, folder)

    def begin(self) -> None:
        """Start beanstalkd and the worker."""
        host, _, port = self._environ["TUBEHERD_SERVER"].partition(":")
        self._start("beanstalkd", "-l", host, "-p", port)
        self._until(lambda: is_open(host, int(port)), "beanstalkd takes connections")
        print("$ tubeherd run mail.py &")
        self._start("tubeherd", "run", "mail.py", "--log-format", "text")
        self.worker_logs("connected")

    def run(self, *command: str) -> None:
        """Run a command in the folder, and show it with its output."""
        print("$", " ".join(f"'{word}'" if " " in word else word for word in command), flush=True)
        subprocess.run(command, cwd=self._folder, env=self._environ, check=True)

    def worker_logs(self, event: str) -> None:
        """Wait until the worker has logged something more about this event, and show what it has logged."""
        self._until(lambda: event in self._new_log(), f"the worker logs {event!r}")
        text = self._new_log()
        self._shown += len(text)
        print(text, end="", flush=True)

    def delivered(self) -> str:
        """Return what was delivered."""
        return (self._folder / "outbox" / "mails").read_text()

    def _new_log(self) -> str:
        return self._log.read_text()[self._shown :].rpartition("\n")[0] + "\n"

    def _start(self, *command: str) -> None:
        with self._log.open("ab") as log:
            process = subprocess.Popen(command, cwd=self._folder, env=self._environ, stdout=log, stderr=log)
        self._cleanup.callback(end, process)

    def _until(self, condition: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + SECONDS
        while not condition():
            if time.monotonic() > deadline:
                fail(f"it was expected within {SECONDS:g} s that {what}; the log has:\n{self._log.read_text()}")
            time.sleep(0.05)


def tell(stage: Stage) -> None:
    """Tell the story."""
    say("A worker runs the executor of mail.py.")
    stage.begin()
    say("There is no folder outbox, so a mail fails, is tried again after a second, fails again and is buried.")
    stage.run("tubeherd", "schedule", "mail", '{"to": "ann@example.com", "text": "hello"}')
    stage.worker_logs("buried")
    say("What waits where, and why is it buried?")
    stage.run("tubeherd", "list", "--once")
    stage.run("tubeherd", "why")
    stage.run("tubeherd", "why", "--job", "1")
    say("Make the folder, and put the job back.")
    stage.run("mkdir", "outbox")
    stage.run("tubeherd", "kick", "mail")
    stage.worker_logs("deleted")
    stage.run("cat", "outbox/mails")
    stage.run("tubeherd", "list", "--once")
    if stage.delivered() != "to ann@example.com: hello\n":
        fail("the mail was not delivered as it was put")
    say("1 put, 1 buried, 1 kicked, 1 delivered.")


def say(text: str) -> None:
    """Print a sentence of the story."""
    print(f"\n# {text}", flush=True)


def fail(message: str) -> NoReturn:
    """End with a message."""
    raise SystemExit(f"the story went another way: {message}")


def path() -> str:
    """Return the PATH with the folder of this Python first, where `tubeherd` is installed."""
    return os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])


def free_address() -> str:
    """Return a free port of the loopback interface, as `host:port`."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{sock.getsockname()[1]}"


def is_open(host: str, port: int) -> bool:
    """Return whether a server listens there."""
    with socket.socket() as sock:
        return sock.connect_ex((host, port)) == 0


def end(process: subprocess.Popen[bytes]) -> None:
    """End a process that the story has started."""
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def main() -> None:
    """Set the stage, tell the story, and leave nothing behind, also after Ctrl-C."""
    for program in ("beanstalkd", "tubeherd"):
        if shutil.which(program, path=path()) is None:
            raise SystemExit(f"{program} is not installed: run `make setup`, which installs it")
    with tempfile.TemporaryDirectory(prefix="tubeherd-try-") as folder, ExitStack() as cleanup:
        tell(Stage(Path(folder), cleanup))


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        main()
    except KeyboardInterrupt:
        raise SystemExit(130) from None
