"""`tubeherd pause` and `tubeherd resume`."""

import re

import greenstalk
import pytest

from tests.support.command import as_json, tubeherd


@pytest.fixture
def run(beanstalkd):
    return lambda *arguments: tubeherd(*arguments, "--server", beanstalkd.server)


def pause_of(beanstalkd, tube):
    return beanstalkd.client().stats_tube(tube)["pause"]


def test_paused_tube_gives_out_no_job_until_it_is_resumed(beanstalkd, run):
    beanstalkd.put("mail")
    client = beanstalkd.client()
    client.watch("mail")
    done = run("pause", "mail", "10m")
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout == b"mail: paused for 10m (before: not paused)\n"
    assert pause_of(beanstalkd, "mail") == 600
    with pytest.raises(greenstalk.TimedOutError):
        client.reserve(timeout=0)
    shown = run("list", "--once").stdout + run("resume", "mail").stdout
    assert len(re.findall(rb"(?:Paused: mail for |paused for another )(?:10m|9m\d+s)\b", shown)) == 2
    assert client.reserve(timeout=0).id == 1


def test_pause_of_its_last_second_is_shown_as_one(beanstalkd, run):
    beanstalkd.put("mail")
    assert run("pause", "mail", "500ms").stdout == b"mail: paused for 1s (before: not paused)\n"


def test_dry_run_and_json(beanstalkd, run):
    beanstalkd.put("mail")
    assert run("pause", "mail", "10m", "--dry-run").stdout == (
        b"mail: not paused; nothing was changed, because this is a dry run\n"
    )
    assert pause_of(beanstalkd, "mail") == 0
    told = as_json(run("pause", "mail", "90s", "--json"))
    assert 80 <= told.pop("after") <= 90
    assert told == {"tube": "mail", "exists": True, "before": 0, "dry_run": False}
    as_json(run("resume", "mail", "--json", "--dry-run"))
    assert pause_of(beanstalkd, "mail") == 90


@pytest.mark.parametrize("command", ["pause mial 10m", "pause mial 10m --dry-run"])
def test_tube_that_does_not_exist_is_named(run, command):
    done = run(*command.split())
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr == (
        b"nothing was done: tube mial has neither jobs nor workers now; tubeherd list shows the tubes that have\n"
    )
