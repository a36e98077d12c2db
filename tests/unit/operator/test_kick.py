"""What the kick annotation's values mean."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tubeherd_operator.decisions.kick import BadKick, Kick, parse_kick

TUBES = ["mail", "sms"]


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
    with pytest.raises(BadKick, match=r"is not understood: write kick=all|names a tube that is not the pool's"):
        parse_kick(value, TUBES)


def test_tube_of_another_pool_is_told_with_those_there_are():
    with pytest.raises(BadKick, match="'push:all' names a tube that is not the pool's: it has mail, sms"):
        parse_kick("push:all", TUBES)


@given(st.text())
def test_any_text_is_a_kick_of_the_pools_tubes_or_refused(value):
    try:
        kick = parse_kick(value, TUBES)
    except BadKick:
        return
    assert set(kick.tubes) <= set(TUBES)
    assert kick.most is None or kick.most > 0


@given(st.sampled_from(TUBES), st.integers(1, 999_999_999))
def test_tube_and_number(tube, number):
    assert parse_kick(f"{tube}:{number}", TUBES) == Kick((tube,), number)
