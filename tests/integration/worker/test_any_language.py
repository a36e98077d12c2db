"""The examples in other languages do what they say; each runs where its language is installed; the shell always."""

import json
import shutil
import subprocess

import pytest

from tests.support.burials import burial_records
from tests.support.project import ROOT

FOLDER = ROOT / "examples/any-language"


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
