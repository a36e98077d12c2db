"""What the pages for users have them write in Python runs as it stands, against a real beanstalkd."""

import importlib
import re
import shlex
import subprocess
import sys
import textwrap
from types import SimpleNamespace

import pytest

import tubeherd
from tests.support.project import ROOT
from tubeherd import PutManyStopped, QueueManager, Settled
from tubeherd.testing import Beanstalkd

SERVERS = ("beanstalkd:11300", "127.0.0.1:11300")
PAGES = ("docs/library.md", "docs/executors.md", "worker/README.md", "README.md", "docs/any-language.md")


class Order:
    id = 7


class BreakingOnce(list):
    """Payloads that cannot be read to their end at the first time."""

    broken = False

    def __iter__(self):
        for number, payload in enumerate(super().__iter__()):
            if number == 2 and not self.broken:
                self.broken = True
                raise OSError("the file cannot be read")
            yield payload


def blocks(page):
    return re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)


MAIL = blocks("README.md")[0]
"""The `mail.py` that all pages mean."""


def what_the_reader_has():
    """Return the names that the pages take from the reader's own program."""
    return {name: getattr(tubeherd, name) for name in tubeherd.__all__} | {
        "addresses": ["ann@example.com", "bob@example.com"],
        "text": "hello",
        "payloads": BreakingOnce([1, 2, 3, 4]),
        "Order": Order,
        "order": Order(),
        "shop": SimpleNamespace(close_order=lambda queue, order: queue.put("invoice", order.id)),
        "database": SimpleNamespace(insert_many=lambda rows: None),
        "sentry_sdk": SimpleNamespace(capture_exception=lambda error: None),
    }


def run(block, scope, page):
    """Run a block, and the tests that it defines."""
    if block.startswith("except "):
        block = f"try:\n    queue.put_many('mail', payloads)\n{block}"
    exec(compile(block, page, "exec"), scope)  # noqa: S102 - our own text
    for name, value in list(scope.items()):
        if name.startswith("test_"):
            del scope[name]
            if "beanstalkd" in value.__code__.co_varnames[: value.__code__.co_argcount]:
                with Beanstalkd() as own:
                    value(own)
            else:
                value()


@pytest.mark.usefixtures("no_executors")
def test_snippets_run_as_they_stand(beanstalkd, tmp_path, monkeypatch):
    (tmp_path / "mail.py").write_text(MAIL)
    monkeypatch.syspath_prepend(tmp_path)
    seen = 0
    for page in PAGES:
        tubeherd.executors.registry.clear()
        scope = what_the_reader_has()
        for block in blocks(page):
            for server in SERVERS:
                block = block.replace(f'"{server}"', f'"{beanstalkd.server}"')
            beanstalkd.put("mail", b'{"to": "ann@example.com"}')  # for the block that takes one
            with QueueManager(beanstalkd.server, ["mail"]) as queue:
                run(block, scope | {"queue": queue}, page)
            seen += 1
    assert seen >= 14
    monkeypatch.delitem(sys.modules, "mail", raising=False)


@pytest.mark.usefixtures("no_executors")
def test_program_that_goes_on_after_a_break_puts_every_job_once(beanstalkd):
    (block,) = [block for block in blocks("docs/library.md") if block.startswith("except ")]
    with QueueManager(beanstalkd.server) as queue:
        scope = {"queue": queue, "payloads": BreakingOnce([1, 2, 3, 4]), "PutManyStopped": PutManyStopped}
        run(block, scope, "docs/library.md")
    bodies = [beanstalkd.client().peek(job).body for job in range(1, 5)]
    assert bodies == [b"1", b"2", b"3", b"4"]
    assert beanstalkd.count("mail")["ready"] == 4


def test_each_verdict_by_hand_is_one(beanstalkd):
    calls = re.findall(r"^\| `(queue\.\w+\(job.*?\))` \|", (ROOT / "docs/library.md").read_text(), re.MULTILINE)
    assert len(calls) == 4
    for call in calls:
        beanstalkd.put("mail")
        with QueueManager(beanstalkd.server, ["mail"]) as queue:
            verdict = eval(call, {"queue": queue, "job": queue.get("10 seconds")})  # noqa: S307 - our own text
            assert verdict is Settled.DONE


def test_execute_prints_what_its_page_shows(tmp_path):
    (tmp_path / "mail.py").write_text(MAIL)
    page = (ROOT / "docs/command-line.md").read_text()
    ((line, shown),) = re.findall(r"^    \$ (tubeherd execute .*)\n((?:    .*\n)+)", page, re.MULTILINE)
    done = subprocess.run(
        [sys.executable, "-m", *shlex.split(line)], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    before, _, after = textwrap.dedent(shown).partition("  ...\n")
    assert done.stderr.startswith(before)
    assert re.sub(r"\d\.\d+ s", "0.000 s", done.stdout) == after


def test_page_shows_how_to_import_what_an_executor_may_raise():
    for name in ("Abort", "Reject", "Reschedule"):
        pattern = rf"^from tubeherd import (?:\w+, )*{name}\b"
        assert any(re.search(pattern, block, re.MULTILINE) for block in blocks("docs/executors.md")), name


def test_names_that_the_pages_import_are_there():
    found = re.findall(
        r"^from (tubeherd[\w.]*) import (.*)$", "".join(block for page in PAGES for block in blocks(page)), re.MULTILINE
    )
    assert found
    for module, names in found:
        assert [name for name in names.split(", ") if not hasattr(importlib.import_module(module), name)] == []
