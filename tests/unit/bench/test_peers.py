"""The bench of peers fits together, as far as that shows without a Redis and without the peers."""

import ast

import pytest

from tests.bench.peers.page import Page
from tests.bench.peers.producer import Contestant
from tests.bench.peers.running import PEERS
from tests.bench.peers.speed import Speed, cells
from tests.bench.peers.words import PROMISES, PROMISES_HEAD, RETURN_HEAD, RETURNS, Promises, Return
from tests.bench.report import write
from tests.support.project import ROOT


def arguments(node):
    return [argument.arg for argument in node.args.args]


def signatures(tree):
    return {node.name: arguments(node) for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("module", sorted({peer.module for peer in PEERS}))
def test_contestant_has_what_the_producer_calls(module):
    found = signatures(ast.parse((ROOT / "tests" / "bench" / "peers" / f"{module}.py").read_text()))
    for name in ("put", "command", "left"):
        code = getattr(Contestant, name).__code__
        assert ["self", *found[name]] == list(code.co_varnames[: code.co_argcount]), name


def test_each_contestant_has_its_rows_of_promises():
    assert RETURNS.keys() <= {(peer.module, peer.mode) for peer in PEERS}
    assert {peer.module for peer in PEERS} == {module for module, _ in RETURNS} == PROMISES.keys()
    assert (len(RETURN_HEAD), len(PROMISES_HEAD)) == (len(Return._fields), len(Promises._fields))


def test_row_of_a_contestant_compares_it_with_tubeherd_in_the_same_round():
    tubeherd = [Speed(1000, 50, 40), Speed(500, 50, 40), Speed(2000, 50, 40)]
    own = [Speed(100, 400, 30), Speed(25, 500, 31), Speed(100, 600, 32)]
    assert cells(own, tubeherd) == ["100", "25", "100", "20", "500", "31"]


def test_page_shows_to_one_process_what_another_notes(tmp_path):
    seen = Page.create(tmp_path / "page")
    noted = Page(tmp_path / "page")
    for _ in range(3):
        noted.note()
    assert seen.count == 3
    assert 0 < seen.first <= seen.last
    seen.clear()
    assert (noted.count, noted.first, noted.pid) == (0, 0, 0)


def test_page_of_figures_has_the_place_for_the_tables(tmp_path):
    copy = tmp_path / "performance.md"
    copy.write_text((ROOT / "docs" / "performance.md").read_text())
    write(copy, "the tables", "make bench-peers")
    assert "the tables" in copy.read_text()
