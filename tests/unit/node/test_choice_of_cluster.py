"""Against which cluster the cluster tests run."""

import os
import subprocess
import sys

from tests.support.project import ROOT


def cluster_tests(kube):
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "tests/cluster/test_memory.py"]
    return subprocess.run(command, cwd=ROOT, env=os.environ | {"KUBE": kube}, capture_output=True, text=True)


def test_what_needs_the_home_built_node_is_skipped_on_another_cluster():
    done = cluster_tests("current")
    assert "2 skipped in" in done.stdout
    assert "needs the home-built node (no KUBE=current): it reads this kernel's control groups" in done.stdout


def test_misspelt_cluster_is_refused():
    assert "KUBE=curent: leave it out for the home-built node, or set it to `current`" in cluster_tests("curent").stderr
