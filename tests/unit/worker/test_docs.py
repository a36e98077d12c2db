"""The page on the worker's inside names code and tests that exist."""

import re
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs/worker.md").read_text()
SOURCES = sorted(path.stem for path in (ROOT / "worker/src/tubeherd").glob("*.py") if not path.stem.startswith("__"))
TABLE = PAGE.partition("## Where each promise is kept")[2]
PLACES = sorted(
    {place for row in re.findall(r"^\|.*", TABLE, re.M) for place in re.findall("`([^`]*)`", row.split("|")[2])}
)
TESTS = sorted(set(re.findall(r"`([\w/.]+)::(\w+)`", PAGE)))


@pytest.mark.parametrize("place", PLACES)
def test_promise_is_kept_where_the_page_says(place):
    module, *names = place.split(".")
    found = import_module(f"tubeherd.{module}")
    for name in names:
        found = getattr(found, name)


@pytest.mark.parametrize(("file", "name"), TESTS)
def test_promise_is_held_by_the_test_that_the_page_names(file, name):
    folder = ROOT if "/" in file else ROOT / "tests/integration/worker"
    assert f"def {name}(" in (folder / file).read_text()


def test_every_module_has_its_place_in_the_reading_order():
    order = PAGE.partition("## A reading order")[2].partition("## ")[0]
    named = {name.removesuffix(".py") for name in re.findall(r"`(\w+(?:\.py)?)`", order)}
    assert set(SOURCES) == named & set(SOURCES)
