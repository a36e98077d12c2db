"""`make test` runs every test: what one of its targets leaves out is run by another."""

import re

from tests.support.project import ROOT

MAKEFILE = (ROOT / "Makefile").read_text()


def prerequisites(target):
    return re.search(rf"^{target}:([^#\n]*)", MAKEFILE, re.MULTILINE)[1].split()


def recipe(target):
    return re.search(rf"^{target}:.*\n((?:\t.*\n)+)", MAKEFILE, re.MULTILINE)[1]


def test_slow_tests_are_left_out_by_check_and_run_by_slow():
    assert "integration" in prerequisites("check")
    assert {"check", "slow"} <= set(prerequisites("test"))
    assert '-m "not slow" tests/integration' in recipe("integration")
    assert "-m slow tests/integration" in recipe("slow")


def test_only_integration_tests_are_marked_as_slow():
    """The other targets look at no marker, so that a mark elsewhere would promise what does not happen."""
    marked = [path for path in ROOT.glob("tests/**/test_*.py") if "mark.slow" in path.read_text()]
    elsewhere = [path for path in marked if ROOT / "tests/integration" not in path.parents]
    assert elsewhere == [ROOT / "tests/unit/docs/test_tiers.py"]
