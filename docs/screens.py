"""Writes the screens of docs/command-line.md: what commands print about 3,000 failed jobs (`make screens`).

The jobs have really failed, in a real worker on a real beanstalkd, for five reasons. In the page, a screen stands
between `<!-- screen COMMAND -->` and `<!-- end -->`.
"""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

sys.path.insert(0, str(Path(__file__).parent.parent))

from tests.support.beanstalkd import Beanstalkd
from tests.support.waiting import wait_for

PAGE: Final = Path(__file__).parent / "command-line.md"
SHOP: Final = """\
import os
import signal
import socket
from dataclasses import dataclass

from tubeherd import Reject, executor

TEMPLATES = {"welcome": "Welcome!"}


@dataclass
class Order:
    number: int
    total: float


@executor("mail")
def mail(message: dict) -> None:
    text = TEMPLATES[message["template"]]
    with socket.create_connection(("127.0.0.1", 1)) as smtp:
        smtp.sendall(text.encode())


@executor("orders")
def orders(order: Order) -> None:
    raise Reject(f"order {order.number} was cancelled")


@executor("thumbs")
def thumbs(picture: str) -> None:
    os.kill(os.getpid(), signal.SIGKILL)
"""
_FAILED: Final = 3000
_SCREEN: Final = re.compile(r"(<!-- screen (tubeherd [^\n]*) -->\n).*?(<!-- end -->)", re.DOTALL)
_PASSING: Final = (
    (r"\d+[smhd] ago", "… ago"),
    (r"for \d+[smhd]\b", "for …"),
    (r"job \d+", "job …"),
    (r"(ago +)\d+$", r"\1…"),
    (r" +", " "),
)
"""What differs from one time to the next: ages, ids, and with them the widths of columns."""


@contextmanager
def shop() -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """Run a beanstalkd with the failed jobs, with a worker that waits for more; yield its address, and the worker."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        beanstalkd = Beanstalkd(folder / "binlog")
        (folder / "shop.py").write_text(SHOP)
        _put(beanstalkd)
        options = ["--retry-delays", "none", "--server", beanstalkd.server]
        with (folder / "log").open("wb") as log:
            worker = subprocess.Popen(  # noqa: S603 - our own command
                [sys.executable, "-m", "tubeherd", "run", "shop.py", *options], cwd=folder, stdout=log, stderr=log
            )
        try:
            wait_for(lambda: _buried(beanstalkd) == _FAILED, lambda: (folder / "log").read_text()[-2000:], 60)
            wait_for(lambda: beanstalkd.waiting("thumbs"), "the worker waits", 60)
            yield beanstalkd.server, worker
        finally:
            worker.terminate()
            worker.wait()
            beanstalkd.close()


def screen(command: str, server: str) -> str:
    """Return what a command prints in 80 columns, after the command itself."""
    environ = os.environ | {"COLUMNS": "80", "TUBEHERD_SERVER": server}
    done = subprocess.run(  # noqa: S603 - the commands of our own page
        [sys.executable, "-m", *command.split()], env=environ, capture_output=True, text=True, check=True
    )
    return f"```console\n$ {command}\n{done.stdout}```\n"


def render(page: str) -> str:
    """Return the page with all screens made anew."""
    with shop() as (server, worker):

        def renewed(found: re.Match[str]) -> str:
            if " kick " in found[2]:
                worker.terminate()  # otherwise the kicked jobs would fail again at once
                worker.wait()
            return f"{found[1]}{screen(found[2], server)}{found[3]}"

        return _SCREEN.sub(renewed, page)


def lasting(page: str) -> list[str]:
    """Return the lines of a page without what differs from one time to the next."""
    for pattern, kept in _PASSING:
        page = re.sub(pattern, kept, page, flags=re.MULTILINE)
    return page.splitlines()


def _put(beanstalkd: Beanstalkd) -> None:
    for number in range(5):
        beanstalkd.put_json("thumbs", f"picture-{number}.jpg")
    for number in range(45):
        beanstalkd.put_json("orders", {"number": number, "total": 12.5})
    for number in range(350):
        beanstalkd.put_json("orders", {"number": number, "total": "twelve", "items": ["cup", "saucer"]})
    for number in range(700):
        beanstalkd.put_json("mail", {"to": f"user{number}@example.com", "template": "welcome"})
    for number in range(1900):
        beanstalkd.put_json("mail", {"to": f"user{number}@example.com", "template": "farewell"})
    beanstalkd.put_json("mial", {"to": "ann@example.com", "template": "welcome"})


def _buried(beanstalkd: Beanstalkd) -> int:
    return sum(beanstalkd.count(tube)["buried"] for tube in ("mail", "orders", "thumbs"))


if __name__ == "__main__":
    PAGE.write_text(render(PAGE.read_text()))
