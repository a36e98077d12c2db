"""What the kick annotation's values mean."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tubeherd_operator.decisions.kick import BadKick, Kick, parse_kick

TUBES = ["mail", "sms"]
REFUSAL = "is not understood: write kick=all|names a tube that is not the pool's"


@pytest.mark.parametrize(
    ("value", "kick"),
    [
        ("all", Kick(("mail", "sms"), None)),
        ("25", Kick(("mail", "sms"), 25)),
        ("mail:all", Kick(("mail",), None)),
        ("sms:3", Kick(("sms",), 3)),
        (" all ", Kick(("mail", "sms"), None)),
        ("999999999", Kick(("mail", "sms"), 999999999)),
    ],
)
def test_good_value(value, kick):
    assert parse_kick(value, TUBES) == kick


@pytest.mark.parametrize(
    "value",
    ["", " ", "0", "-1", "+1", "1.5", "01", "many", "ALL", "mail", "mail:", "mail:0", ":all", "1000000000", "\u0661"],
)
def test_value_that_is_not_understood(value):
    with pytest.raises(BadKick, match=REFUSAL):
        parse_kick(value, TUBES)


def test_tube_of_another_pool_is_told_with_those_there_are():
    with pytest.raises(BadKick, match="'push:all' names a tube that is not the pool's: it has mail, sms"):
        parse_kick("push:all", TUBES)


spaces = st.sampled_from(["", " ", "\t\n"])
numbers = st.integers(1, 999_999_999)


@given(st.sampled_from([None, *TUBES]), st.just("all") | numbers, spaces, spaces)
def test_any_tube_and_count_is_a_kick_of_them(tube, count, before, after):
    value = f"{before}{tube}:{count}{after}" if tube else f"{before}{count}{after}"
    most = None if count == "all" else count
    assert parse_kick(value, TUBES) == Kick((tube,) if tube else tuple(TUBES), most)


UNDERSTOOD = re.compile(r"\s*((mail|sms):)?(all|[1-9][0-9]{0,8})\s*")
pieces = st.sampled_from([*TUBES, ":", "all", "0", "1", "25", "\u0661", "-", "+", ".", " "]) | st.text(max_size=2)
texts = (
    st.text()
    | st.lists(pieces, max_size=6).map("".join)
    | st.builds("{}:{}".format, st.text(max_size=9), st.just("all") | numbers)
    | st.builds("{}{}".format, st.sampled_from(["", "mail:"]), st.integers(max_value=0) | st.integers(10**9))
)


@given(texts.filter(lambda text: not UNDERSTOOD.fullmatch(text)))
def test_any_other_text_is_refused(value):
    with pytest.raises(BadKick, match=REFUSAL):
        parse_kick(value, TUBES)
