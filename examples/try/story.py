#!/usr/bin/env python3
"""Shows on this machine what Tubeherd does, in less than half a minute and without a cluster (`make try`).

It starts a beanstalkd on a free port and a worker in a temporary folder. One of two jobs fails; the reason is shown and
mended, and the job is put back. Each step prints its command and its real output. All that was started has ended when
this program ends, also after Ctrl-C.
"""

import fcntl
import json
import os
import pty
import select
import shlex
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import termios
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SETUP = ROOT / ".venv"
MAIL = Path(__file__).parent / "mail.py"
MENDED = 's/^TEXTS = .*/TEXTS = {"hello": "Hello!", "bye": "Goodbye!"}/'
PATIENCE = 60
"""Seconds after which something that does not happen is an error."""
END_SECONDS = 10
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_STARTED = time.monotonic()


class TryError(Exception):
    """The story cannot go on; the message says why and what to do."""


class Worker:
    """A worker on a terminal of its own, because it writes for people only on a terminal."""

    def __init__(self, command, folder, env, ends):
        """Start it in this folder; `ends` gets what ends it."""
        self._master, slave = pty.openpty()
        size = shutil.get_terminal_size()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", size.lines, size.columns, 0, 0))
        self._rest = b""
        ends.callback(os.close, self._master)
        self._process = start(command, ends, cwd=folder, env=env, stdin=slave, stdout=slave, stderr=slave)
        os.close(slave)

    def show_until(self, text):
        """Print what it writes, up to the end of the next verdict or other line that has this text."""
        deadline = time.monotonic() + PATIENCE
        found = False
        while not found or select.select([self._master], [], [], 0.2)[0]:
            if not select.select([self._master], [], [], max(0, deadline - time.monotonic()))[0]:
                raise TryError(f"the worker has not written {text!r} within {PATIENCE} s")
            try:
                self._rest += os.read(self._master, 4096)
            except OSError:  # EIO: it has ended, and with it its terminal
                raise TryError(f"the worker ended with exit code {self._process.wait()}") from None
            *lines, self._rest = self._rest.split(b"\r\n")
            for line in lines:
                print(f"  worker | {line.decode(errors='replace')}", flush=True)
                found = found or text.encode() in line


def tell(folder, ends):
    """Tell the story in this folder; `ends` gets what ends what was started."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("TUBEHERD_")}
    if not sys.stdout.isatty():
        env["NO_COLOR"] = "1"
    chapter("Tubeherd, a beanstalkd and a worker")
    env["PATH"] = f"{install(folder, env)}:{env['PATH']}"
    env["TUBEHERD_SERVER"] = start_beanstalkd(folder, env, ends)
    shutil.copy(MAIL, folder)
    show("cat mail.py", folder, env)
    run = "tubeherd run mail.py --retry-delays 2s --reload"
    print(f"$ {run} &", flush=True)
    worker = Worker(shlex.split(run), folder, env, ends)
    worker.show_until("connected")

    chapter("One job is done, another one fails, is tried again after 2 to 3 seconds, and is buried")
    show("""tubeherd schedule mail '{"to": "ann@example.com", "text": "hello"}'""", folder, env)
    worker.show_until("deleted")
    show("""tubeherd schedule mail '{"to": "bob@example.com", "text": "bye"}'""", folder, env)
    worker.show_until("buried")

    chapter("What is buried, and why?")
    show("tubeherd list --once", folder, env)
    show("tubeherd why", folder, env)
    show("tubeherd why --job 2", folder, env)

    chapter("The cause is mended, and the job is put back")
    show(f"sed -i {shlex.quote(MENDED)} mail.py", folder, env)
    worker.show_until("connected")
    show("tubeherd kick mail", folder, env)
    worker.show_until("deleted")
    show("tubeherd list --once", folder, env)
    check_done(folder, env)


def install(folder, env):
    """Return the folder of the command `tubeherd`: what `make setup` has made, or else a new one in this folder."""
    if (SETUP / ".compiled").exists() or (SETUP / ".pure").exists():
        print(f"  {SETUP.name} of this project has Tubeherd already, because of `make setup`", flush=True)
        return SETUP / "bin"
    print(
        "  Tubeherd is installed first, with a dot for each second (after `make setup` it is there already)", flush=True
    )
    show("python3 -m venv venv", folder, env, sys.executable, dots=True)
    show(f"venv/bin/pip install --quiet --disable-pip-version-check {ROOT / 'worker'}", folder, env, dots=True)
    return folder / "venv" / "bin"


def start_beanstalkd(folder, env, ends):
    """Start a beanstalkd on a free port of loopback, wait until it answers, and return its address."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = f"beanstalkd -l 127.0.0.1 -p {port}"
    print(f"$ {command} &", flush=True)
    process = start(shlex.split(command), ends, cwd=folder, env=env)
    deadline = time.monotonic() + PATIENCE
    while not answers(port):
        if process.poll() is not None or time.monotonic() > deadline:
            raise TryError(f"beanstalkd does not answer on port {port}")
        time.sleep(0.01)
    print(f"$ export TUBEHERD_SERVER=127.0.0.1:{port}", flush=True)
    return f"127.0.0.1:{port}"


def answers(port):
    """Return whether somebody listens on a port of loopback."""
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0


def check_done(folder, env):
    """Raise TryError if a job is left."""
    command = ["tubeherd", "list", "--json"]
    output = subprocess.run(command, cwd=folder, env=env, capture_output=True, check=True).stdout
    left = sum(
        tube[state] for tube in json.loads(output)["tubes"] for state in ("ready", "reserved", "delayed", "buried")
    )
    if left:
        raise TryError(f"{left} jobs are left")


def show(command, folder, env, program=None, *, dots=False):
    """Print a command, run it and print its output, perhaps with a dot for each second; raises TryError if it fails."""
    print(f"$ {command}", flush=True)
    words = shlex.split(command)
    with subprocess.Popen([program or words[0], *words[1:]], cwd=folder, env=env, stdin=subprocess.DEVNULL) as process:
        try:
            code = wait_with_dots(process) if dots else process.wait()
        except BaseException:
            process.kill()
            raise
    if code:
        raise TryError(f"`{command}` failed with exit code {code}")


def wait_with_dots(process):
    """Return the exit code of a process, and print a dot for each second until it ends."""
    print("  ", end="", flush=True)
    while True:
        try:
            code = process.wait(1)
        except subprocess.TimeoutExpired:
            print(".", end="", flush=True)
        else:
            print(flush=True)
            return code


def chapter(title):
    """Print a heading with the time since the start."""
    print(f"\n== {title} [{time.monotonic() - _STARTED:.0f} s]", flush=True)


def start(command, ends, **options):
    """Start a program that goes on beside the story, and return the process; `ends` gets what ends it.

    Ctrl-C does not reach it, because it gets a session of its own. A signal waits until `ends` knows the process.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
    try:
        process = subprocess.Popen(
            command,
            start_new_session=True,
            preexec_fn=lambda: signal.pthread_sigmask(signal.SIG_SETMASK, before),
            **options,
        )
        ends.callback(end, process)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return process


def end(process):
    """End a process that was started here, and wait for its end."""
    process.terminate()
    try:
        process.wait(END_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@contextmanager
def stage():
    """Give the story a temporary folder, and what ends all that it starts; no signal keeps that from being done."""
    with ExitStack() as ends:
        folder = Path(
            ends.enter_context(tempfile.TemporaryDirectory(prefix="tubeherd-try-", ignore_cleanup_errors=True))
        )
        try:
            yield folder, ends
        finally:
            for number in ENDING:
                signal.signal(number, signal.SIG_IGN)


def stop(number, _frame):
    """End the program as a shell would say that a signal has ended it."""
    sys.exit(128 + number)


def main():
    """Tell the story; the exit code is 1 if it went another way."""
    if shutil.which("beanstalkd") is None:
        sys.exit("error: beanstalkd is not installed: run `make setup`, which installs it with apt-get")
    for number in ENDING:
        signal.signal(number, stop)
    try:
        with stage() as (folder, ends):
            tell(folder, ends)
        chapter("Both jobs are done, and the worker and beanstalkd have ended")
    except TryError as error:
        sys.exit(f"\nerror: {error}")
    except BrokenPipeError:
        os.dup2(
            os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno()
        )  # nothing more can be printed, when Python ends too
        sys.exit(1)


if __name__ == "__main__":
    main()
