"""The page on the worker's inside names code and tests that exist."""

import re
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs/worker.md").read_text()
PACKAGE = ROOT / "worker/src/tubeherd"
SOURCES = {str(path.relative_to(PACKAGE).with_suffix("")) for path in PACKAGE.rglob("*.py") if path.stem[:2] != "__"}
TABLE = PAGE.partition("## Where each promise is kept")[2]
PLACES = sorted(
    {place for row in re.findall(r"^\|.*", TABLE, re.M) for place in re.findall("`([^`]*)`", row.split("|")[2])}
)
TESTS = sorted(set(re.findall(r"`([\w/.]+)::(\w+)`", PAGE)))


@pytest.mark.parametrize("place", PLACES)
def test_promise_is_kept_where_the_page_says(place):
    names = place.split(".")
    depth = 2 if (PACKAGE / names[0]).is_dir() else 1
    found = import_module(".".join(["tubeherd", *names[:depth]]))
    for name in names[depth:]:
        found = getattr(found, name)


@pytest.mark.parametrize(("file", "name"), TESTS)
def test_promise_is_held_by_the_test_that_the_page_names(file, name):
    folder = ROOT if "/" in file else ROOT / "tests/integration/worker"
    assert f"def {name}(" in (folder / file).read_text()


def test_every_module_has_its_place_in_the_reading_order():
    order = PAGE.partition("## A reading order")[2].partition("## ")[0]
    assert set(re.findall(r"`([\w/]+)`", order)) == SOURCES
