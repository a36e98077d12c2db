"""The fixture that users of the package get: a test of theirs, in a pytest of its own."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.network import free_port
from tests.support.waiting import wait_for
from tubeherd import QueueManager
from tubeherd.testing import Beanstalkd
from tubeherd.testing import server as testing_server

USERS_TEST = """
import os, pytest
from tubeherd import QueueManager

@pytest.mark.parametrize("number", [1, 2])
def test_queue(beanstalkd, number):
    with open("pids", "a") as file:
        file.write(f"{beanstalkd._process.pid}\\n")
    with QueueManager(beanstalkd.server) as queue:
        assert queue.put("mail", {}) == 1
    assert number == 1
"""


@pytest.mark.slow
def test_fixture_starts_a_beanstalkd_for_each_test_and_kills_it(tmp_path):
    (tmp_path / "test_users.py").write_text(USERS_TEST)
    # As if by the entry point, which is there only after the package was installed anew.
    plugin = ["-p", "no:tubeherd", "-p", "tubeherd.pytest_plugin"]
    command = [sys.executable, "-m", "pytest", "-q", *plugin, "test_users.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert "1 failed, 1 passed" in done.stdout
    pids = (tmp_path / "pids").read_text().split()
    assert len(set(pids)) == 2
    assert [pid for pid in pids if Path(f"/proc/{pid}").exists()] == []


def test_beanstalkd_keeps_its_jobs_over_a_kill_and_can_drain():
    with Beanstalkd("-z", "100") as server:
        with QueueManager(server.server) as queue:
            queue.put("mail", {})
            server.kill()
            server.start()
            queue.put("mail", {})
            assert len(queue.put_many("mail", [1, 2])) == 2
            server.drain()
            wait_for(lambda: _refused(queue), "it drains")
        pid, folder = server._process.pid, server._folder
    assert not Path(f"/proc/{pid}").exists()
    assert not folder.exists()


def test_port_that_another_beanstalkd_has_taken_meanwhile_is_left_to_it(beanstalkd, monkeypatch):
    ports = iter([beanstalkd.port, port := free_port()])
    monkeypatch.setattr(testing_server, "_free_port", lambda: next(ports))
    with Beanstalkd() as server:
        assert server.port == port


def _refused(queue):
    try:
        queue.put("mail", {})
    except Exception as error:
        return str(error) == "DRAINING"
    return False
