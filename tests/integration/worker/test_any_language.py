"""The examples in other languages do what they say; each runs where its language is installed; the shell always."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.burials import burial_records
from tests.support.project import ROOT

FOLDER = ROOT / "examples/any-language"


PAGES = (ROOT / "docs/any-language.md", FOLDER / "README.md")


def needs(program):
    return pytest.mark.skipif(shutil.which(program) is None, reason=f"{program} is not installed")


@pytest.fixture
def command(request, tmp_path):
    """Return the command of an example; Go's is built first."""
    if request.param != "go":
        return f"{request.param} {FOLDER}/mail.{request.param}"
    subprocess.run(["go", "build", "-o", tmp_path / "mail", FOLDER / "mail.go"], check=True)
    return str(tmp_path / "mail")


@pytest.mark.timeout(600)  # Go compiles its own library the first time, which takes minutes on a busy machine
@pytest.mark.parametrize(
    "command", ["sh", pytest.param("php", marks=needs("php")), pytest.param("go", marks=needs("go"))], indirect=True
)
def test_example_does_rejects_and_reschedules_jobs(beanstalkd, run_worker, tmp_path, monkeypatch, command):
    outbox = tmp_path / "outbox"
    monkeypatch.setenv("OUTBOX", str(outbox))
    mail = {"to": "you@example.com", "text": "hello"}
    later = beanstalkd.put_json("mail", mail)
    worker = run_worker(beanstalkd.server, "", "--command", f"mail={command}")
    line = worker.wait_for_line("released", job=later)
    assert line["reason"] == f"exit code 75: there is no folder {outbox}"
    outbox.mkdir()
    done, rejected = beanstalkd.put_json("mail", mail), beanstalkd.put_json("mail", {"text": "to nobody"})
    worker.wait_for_line("deleted", job=done)
    assert json.loads((outbox / f"{done}.json").read_text()) == mail
    worker.wait_for_line("buried", job=rejected)
    (record,) = burial_records(beanstalkd)
    assert (record["kind"], record["message"]) == ("rejected", "exit code 100: no recipient")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_of_the_pages_can_be_typed_in_the_clone(beanstalkd, tmp_path, page):
    """Those of the shell; a worker stops when the job is done."""
    typed = [line.strip() for line in page.read_text().splitlines() if line.startswith("    ")]
    begin = next(at for at, line in enumerate(typed) if line.startswith("export OUTBOX="))
    puts = next(line for line in typed[begin:] if line.startswith("tubeherd schedule"))
    worker = next(line for line in typed[begin:] if line.startswith("tubeherd run"))
    shell = "\n".join([typed[begin], puts, f"{worker} --until-empty"]).replace("/tmp/outbox", str(tmp_path / "outbox"))
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environ = os.environ | {"TUBEHERD_SERVER": beanstalkd.server, "PATH": path}
    subprocess.run(["sh", "-ec", shell], cwd=ROOT, env=environ, check=True)
    assert json.loads((tmp_path / "outbox/1.json").read_text()) == {"to": "ann@example.com"}
