"""Globs of tubes: which are allowed, what they match, and which of several is meant."""

import re
import time
from functools import cache

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tubeherd.formats.globs import GLOB, TubeSet, best_match, check_tube_or_glob, is_glob
from tubeherd.formats.tubes import RESERVED, TUBE, check_tube

GLOBS = st.text(alphabet="ab.-*?", min_size=1, max_size=12).filter(lambda text: not text.startswith("-"))
TUBES = st.text(alphabet="ab.-", min_size=1, max_size=12).filter(lambda text: not text.startswith("-"))


def matches_slowly(glob: str, text: str) -> bool:
    """What a glob means, written as it is read."""

    @cache
    def matches(at: int, to: int) -> bool:
        if at == len(glob):
            return to == len(text)
        if glob[at] == "*":
            return any(matches(at + 1, further) for further in range(to, len(text) + 1))
        return to < len(text) and glob[at] in ("?", text[to]) and matches(at + 1, to + 1)

    return matches(0, 0)


@given(GLOBS, TUBES)
@example("*", "a")
@example("a*", "a")
@example("*.*.*", "..")
@example("?*?", "ab")
def test_glob_matches_what_it_says(glob, tube):
    assert (tube in TubeSet([glob])) == matches_slowly(glob, tube)


@given(st.lists(GLOBS | TUBES, max_size=6), TUBES)
def test_set_has_what_one_of_its_names_or_globs_has(items, tube):
    assert (tube in TubeSet(iter(items))) == any(matches_slowly(item, tube) for item in items)


@given(st.lists(GLOBS | TUBES, max_size=6), TUBES)
def test_exact_name_is_meant_before_the_longest_glob_and_the_order_does_not_matter(names, tube):
    found = best_match(names, tube)
    assert found == best_match(list(reversed(names)), tube)
    matching = [name for name in names if matches_slowly(name, tube)]
    if tube in names:
        assert found == tube
    elif matching:
        assert found == max(matching, key=lambda name: (len(name), name))
    else:
        assert found is None


@pytest.mark.parametrize(
    ("tube", "meant"),
    [
        ("reports.weekly", "reports.weekly"),
        ("reports.daily", "reports.*"),
        ("reports.", "reports.*"),
        ("reports", "*"),
        ("reports.test.a", "reports.test*"),
        ("reports.x", "reports.?"),
        ("mail", "*"),
        ("tubeherd.burials", None),
    ],
)
def test_longest_match(tube, meant):
    assert best_match(["*", "reports.*", "reports.?", "reports.test*", "reports.weekly"], tube) == meant


def test_tubes_of_tubeherd_match_no_glob():
    assert f"{RESERVED}burials" not in TubeSet(["*", "tube*", "tubeherd?burials", "*s"])
    assert "tubeherd" in TubeSet(["tube*"])


@pytest.mark.parametrize("glob", ["*", "?", "reports.*", "*-test", "a?b*c", "*" * 200, "tubeher?.*", "mail", "tube*"])
def test_glob_is_taken(glob):
    assert check_tube_or_glob(glob) == glob


@pytest.mark.parametrize("glob", ["-*", "a b*", "*\n", "ü*", "[ab]*", "*," + "a", "*" * 201, "!*", "{a,b}*"])
def test_what_no_tube_could_match_is_refused(glob):
    with pytest.raises(ValueError, match="matches no tube"):
        check_tube_or_glob(glob)


@pytest.mark.parametrize("glob", ["tubeherd.*", "tubeherd.?", "tubeherd.burials"])
def test_glob_for_tubes_of_tubeherd_is_refused(glob):
    with pytest.raises(ValueError, match="is reserved"):
        check_tube_or_glob(glob)


@given(st.text(max_size=210))
def test_format_and_check_agree(text):
    def accepted() -> bool:
        try:
            return check_tube_or_glob(text) == text
        except ValueError:
            return False

    assert accepted() == (GLOB.matches(text) and not text.startswith(RESERVED))
    assert re.fullmatch(TUBE.pattern, text) is None or GLOB.matches(text)


@given(TUBES)
def test_what_is_no_glob_is_a_tube(tube):
    assert not is_glob(tube)
    assert check_tube_or_glob(tube) == check_tube(tube)


@pytest.mark.parametrize("glob", ["*a" * 99 + "*b", "*?" * 100, "*" * 199 + "b", "a*" * 100])
def test_no_glob_takes_long(glob):
    began = time.process_time()
    for _ in range(100):
        assert "a" * 200 not in TubeSet([glob[:200]]) or not glob.endswith("b")
    assert time.process_time() < began + 5
