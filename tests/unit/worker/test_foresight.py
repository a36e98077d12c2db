"""Which ids several slots of a worker foresee: each reserve is numbered when it is sent, whoever sends it."""

import pytest

from tubeherd.queue.foresight import Foresight
from tubeherd.shared_memory.reserve_count import ReserveCount


def foreseen(events: str) -> str:
    """Return what the slots a, b and c foresee, where they foresee something.

    `a?` has the slot a send a reserve, and `a!` one that counts at the same moment as the last. `a7` is the answer with
    the job 7, and `a-` the one without a job. `a7` without a reserve before is the answer to one that waited. What is
    foreseen is returned as `a7`.
    """
    reserves = ReserveCount()
    slots = {name: Foresight(reserves) for name in "abc"}
    sent: dict[str, int] = {}
    guesses = []
    for name, event in ((each[0], each[1:]) for each in events.split()):
        slot = slots[name]
        if event in "?!":
            if event == "!":
                reserves.subtract()
            sent[name] = reserves.add()
            if guess := slot.next_id(sent[name]):
                guesses.append(f"{name}{guess}")
        elif event == "-":
            sent.pop(name)
            slot.note_none()
        else:
            slot.note(sent.pop(name, None), int(event))
    return " ".join(guesses)


@pytest.mark.parametrize(
    ("events", "guesses"),
    [
        pytest.param("a15 a? a16 a? a17 a? a18 a?", "a18 a19", id="one slot alone"),
        pytest.param("a19 a? a18 a? a17 a?", "a16", id="ids that fall"),
        pytest.param("a11 b12 a? b? a13 b14 a? b? a15 b16 a? b?", "a17 b18", id="slots that take turns"),
        pytest.param("a11 b12 a? b? b14 b? b15 b? a13 b16 a? b? b18 a17 a?", "b16 b18 a19", id="one slot is faster"),
        pytest.param("a11 b12 b? b13 b? b14 b? b15 a? a16 b? b17 a?", "b15 b17", id="a job that takes long"),
        pytest.param("a11 a? a12 b? b- b? b- a? a13 a?", "a14", id="reserves without a job"),
        pytest.param("a11 a? a12 a? a- a13 a? a- a14 a?", "", id="jobs that were waited for"),
        pytest.param(
            "a11 a? a12 a? a- a13 a? a14 a? a15", "a15", id="a job that was ready after one that was waited for"
        ),
        pytest.param("a11 a? a13 a? a15 a?", "a17", id="another worker takes turns"),
        pytest.param("a11 b12 a? b? a15 b16 a? b? a19 b20 a? b?", "a23 b24", id="another worker with two slots"),
        pytest.param("a13 a? a11 a? a14 a? a12 a?", "", id="no order"),
        pytest.param("a15 a? a8 a? a1 a?", "", id="no job has an id below 1"),
        pytest.param("a14 a? a14 a? a14 a?", "a14", id="a job that comes again and again"),
    ],
)
def test_an_id_is_foreseen_if_ids_grew_twice_as_the_numbers_of_the_reserves(events, guesses):
    assert foreseen(events) == guesses


STEADY = "a11 b12 a? b? a13 b14 a? b? a15 b16 "
GOES_ON = "a? b? a19 b20 a? b? a21 b22 a? b? a23 b24 a? b?"


@pytest.mark.parametrize(
    ("events", "guesses"),
    [
        pytest.param("a? b? b17 a18 ", "a17 b18 a25 b26", id="one reserve overtakes another"),
        pytest.param("a? b! a17 b18 ", "a17 b17 a18 b24 a25 b26", id="two slots count at the same moment"),
        pytest.param("a? b? a2 b17 a? a18 ", "a17 b18 a23 b24 a25 b26", id="a job that was put earlier"),
    ],
)
def test_slots_foresee_again_soon_after_something_came_out_of_turn(events, guesses):
    assert foreseen(STEADY + events + GOES_ON) == guesses


def test_the_count_may_fall_below_zero():
    """Two that count at the same moment may both have the number 1, and both take it back."""
    reserves = ReserveCount()
    reserves.subtract()
    assert reserves.add() == 0
