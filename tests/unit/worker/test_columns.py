"""Text for a terminal: nothing controls it, and no line is too wide."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.terminal import Screen
from tubeherd.formats.columns import Column, columns_of, cut, lay_out, left, number, plain, span

TEXT = st.text(alphabet=st.characters(), max_size=80)


@given(TEXT)
def test_whatever_a_text_holds_nothing_of_it_controls_a_terminal(text):
    Screen(1000).show(plain(text))
    assert not any(letter in plain(text) for letter in "\x1b\x9b\n\r\u202e\u2066\t")


@given(TEXT, st.integers(1, 40), st.booleans())
def test_cut_text_fits_and_shows_that_it_was_cut(text, most, keeps_end):
    shown = cut(text, most, keeps_end=keeps_end)
    assert columns_of(shown) <= most
    assert shown == text if columns_of(text) <= most else "…" in shown


@pytest.mark.parametrize("most", [0, -1])
def test_where_nothing_fits_one_column_is_taken(most):
    assert cut("mail", most) == "…"


@given(st.lists(st.tuples(TEXT, TEXT, st.integers(0, 10**6)), max_size=5), st.integers(40, 120))
def test_lines_fit(rows, width):
    columns = [Column("NAME", shrinks=True), Column("PLACE", shrinks=True, keeps_end=True), Column("N", is_number=True)]
    lines = lay_out(columns, [(name, place, str(count)) for name, place, count in rows], width)
    assert max(map(columns_of, lines)) <= width


def test_column_keeps_its_width_if_another_can_be_cut():
    columns = [Column("TUBE", shrinks=True), Column("ERROR", shrinks=True, keeps=22)]
    rows = [("invoices-of-last-year", "ConnectionRefusedError")]
    assert list(lay_out(columns, rows, 30))[1] == "invoi…  ConnectionRefusedError"
    assert list(lay_out(columns, rows, 20))[1] == "invoi…  ConnectionR…"
    assert (
        list(lay_out(columns, [("invoices", "ConnectionRefusedError" * 3)], 32))[1]
        == "invoices  ConnectionRefusedErro…"
    )


@pytest.mark.parametrize(
    ("count", "shown"),
    [
        (0, "0"), (1234, "1,234"), (99_999, "99,999"), (123_456, "123k"), (1_234_567, "1.2M"),
        (123_456_789, "123M"), (10**10, "10.0G"), (10**19, "10000000T"), (0.0, "0.0"), (3.25, "3.2"), (12.5, "12"),
    ],
)  # fmt: skip
def test_numbers_are_short(count, shown):
    assert number(count) == shown


@pytest.mark.parametrize(("seconds", "shown"), [(-1, "0s"), (59.9, "59s"), (60, "1m"), (7300, "2h"), (1e6, "11d")])
def test_spans_are_in_their_largest_unit(seconds, shown):
    assert span(seconds) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0, "1s"),
        (58, "59s"),
        (59, "1m"),
        (598, "9m59s"),
        (599, "10m"),
        (3599, "1h"),
        (3600, "1h1m"),
        (86399, "1d"),
        (86400 + 7199, "1d2h"),
        (30 * 86400 - 1, "30d"),
    ],
)
def test_time_that_is_left_is_rounded_up(seconds, shown):
    assert left(seconds) == shown
