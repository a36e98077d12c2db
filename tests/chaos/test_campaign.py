"""A short campaign from a fixed seed."""

import subprocess
import sys

import pytest

from tests.chaos import faults, proxy
from tests.support.project import ROOT


@pytest.mark.timeout(400)  # the campaign has a limit for each of its waits
def test_short_campaign_loses_no_job():
    command = [sys.executable, "-m", "tests.chaos.campaign", "--seed", "1", "--jobs", "1500", "--seconds", "25"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    output = result.stdout + result.stderr
    assert result.returncode == 0, output
    assert result.stdout.splitlines()[-1] == "lost 0"
    struck = {
        line[:60].strip() for line in result.stdout.splitlines() if line[:60].strip() and line[60:].strip().isdigit()
    }
    assert struck >= faults.KINDS | {f"bytes: {effect}" for effect in proxy.EFFECTS}, output
