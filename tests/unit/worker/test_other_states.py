"""What is said of a tube that has no job in the states that were asked for."""

import pytest

from tubeherd.by_hand.looking.other_states import INSPECT, in_words
from tubeherd.formats.tubes import no_tube
from tubeherd.queue.answers import TubeCounters

MAIL = TubeCounters("mail", total_jobs=9, watching=1)


@pytest.mark.parametrize(
    ("tube", "states", "said"),
    [
        (MAIL._replace(buried=1, delayed=1), ["buried"], None),
        (MAIL, ["buried"], None),
        (TubeCounters("mail", using=1), ["buried"], no_tube("mail")),
        (
            MAIL._replace(delayed=1),
            ["buried"],
            "1 job is delayed, and becomes ready by itself in 9m59s; tubeherd inspect mail --state delayed shows it",
        ),
        (
            MAIL._replace(ready=2000, reserved=1),
            ["buried"],
            "2,000 jobs are ready, and a worker takes them; 1 job is reserved, because a worker is at it; "
            "tubeherd inspect mail --state ready shows them",
        ),
        (
            MAIL._replace(ready=1, watching=0),
            ["buried"],
            "1 job is ready, and no worker takes it; tubeherd inspect mail --state ready shows it",
        ),
        (
            MAIL._replace(reserved=2),
            ["ready", "delayed", "buried"],
            "2 jobs are reserved, because workers are at them; tubeherd inspect mail --state reserved shows them",
        ),
        (
            MAIL._replace(buried=2),
            ["ready"],
            "2 jobs are buried, and tubeherd why mail says why; tubeherd inspect mail --state buried shows them",
        ),
    ],
)
def test_words(tube, states, said):
    assert in_words(tube, 598, states, INSPECT) == said


def test_pointer_of_the_command_itself_unless_the_jobs_are_reserved():
    deletes = "--state {state} deletes"
    assert in_words(MAIL._replace(ready=1), None, ["buried"], deletes).endswith("; --state ready deletes it")
    assert in_words(MAIL._replace(reserved=1), None, ["buried"], deletes).endswith("--state reserved shows it")


def test_delayed_job_that_is_gone_already_has_no_time():
    assert in_words(MAIL._replace(delayed=2), None, ["buried"], INSPECT).startswith(
        "2 jobs are delayed, and become ready by themselves; "
    )
