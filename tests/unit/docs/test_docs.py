"""The pages for contributors name files, make targets, code and tests that exist, and every module has its place."""

import re
from pathlib import Path
from pkgutil import resolve_name
from typing import NamedTuple

import pytest

from tests.support.project import ROOT

PAGES = [ROOT / name for name in ("CONTRIBUTING.md", "CHANGELOG.md", *sorted(ROOT.glob("docs/*.md")))]
TARGETS = set(re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE))
FOLDERS = "worker|operator|crds|charts|examples|tests|docs|changes"


class Inside(NamedTuple):
    """A page on the inside of a package, and the folder of the tests that it names without one."""

    page: str
    package: str
    tests: str


INSIDES = (
    Inside("docs/worker.md", "worker/src/tubeherd", "tests/integration/worker"),
    Inside("docs/operator.md", "operator/src/tubeherd_operator", "tests/unit/operator"),
)


def text(inside):
    return (ROOT / inside.page).read_text()


def kept_in():
    """Return what the second columns of the tables of promises name, with the page."""
    for inside in INSIDES:
        table = text(inside).partition("## Where each promise is kept")[2]
        rows = re.findall(r"^\|.*", table, re.MULTILINE)
        for name in sorted({name for row in rows for name in re.findall("`([^`]*)`", row.split("|")[2])}):
            yield pytest.param(inside, name, id=f"{inside.page} {name}")


def held_by():
    """Return the tests that the pages name, with the page."""
    for inside in INSIDES:
        for file, test in sorted(set(re.findall(r"`([\w/.]+)::(\w+)`", text(inside)))):
            yield pytest.param(inside, file, test, id=f"{inside.page} {test}")


@pytest.mark.parametrize(("inside", "name"), list(kept_in()))
def test_promise_is_kept_where_the_page_says(inside, name):
    assert resolve_name(f"{Path(inside.package).name}.{name}") is not None


@pytest.mark.parametrize(("inside", "file", "test"), list(held_by()))
def test_promise_is_held_by_the_test_that_the_page_names(inside, file, test):
    folder = ROOT if "/" in file else ROOT / inside.tests
    assert f"def {test}(" in (folder / file).read_text()


@pytest.mark.parametrize("inside", INSIDES, ids=lambda inside: inside.page)
def test_every_module_has_its_place_in_the_reading_order(inside):
    order = text(inside).partition("## A reading order")[2].partition("\n## ")[0]
    package = ROOT / inside.package
    modules = {path.relative_to(package).with_suffix("") for path in package.rglob("*.py") if path.stem[:2] != "__"}
    named = set(re.findall(r"`([\w/]+)`", order))
    # A package may stand for its modules.
    assert {str(path.parent) if str(path.parent) in named else str(path) for path in modules} == named


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_page_names_files_and_targets_that_exist(page):
    words = page.read_text()
    linked = [page.parent / link for link in re.findall(r"\]\((?!https?:)([^)#]+)", words)]
    named = [ROOT / name for name in re.findall(rf"(?:`|TESTS=)((?:{FOLDERS})/[\w./-]*)", words)]
    assert [str(path) for path in (*linked, *named) if not path.exists()] == []
    # In prose a target is quoted; in a block it begins the line, perhaps after variables.
    targets = re.findall(r"(?:`|^    (?:[A-Z_]+=\S+ )*)make ([a-z -]+[a-z])", words, re.MULTILINE)
    assert {name for line in targets for name in line.split()} <= TARGETS
