"""What the commands that change jobs refuse before they ask a server, and the words of what was done."""

import pytest
from typer.testing import CliRunner

from tubeherd.by_hand.changing.acted import Acted, BrokenOff, Refused, TubeChange
from tubeherd.by_hand.changing.choice import choose
from tubeherd.by_hand.changing.report import lines, question, troubles
from tubeherd.cli import app
from tubeherd.queue.answers import QueueUnavailable, TubeCounters

NOWHERE = ("--server", "127.0.0.1:1")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("kick", "say which jobs are meant, by one of these alone: TUBE, --all or --job"),
        ("kick mail --all", "say which jobs are meant"),
        ("kick mail --job 1", "the ids of jobs are enough: leave out the tube mail"),
        ("kick --all --job 1", "say which jobs are meant"),
        ("kick --job 1 --count 1", "the ids name the jobs already"),
        ("kick --job 1 --error KeyError", "the ids name the jobs already"),
        ("kick --job 1 --older-than 1h", "the ids name the jobs already"),
        ("kick --job 0", "the id of a job is a whole number from 1"),
        ("kick mail --count 0", "a count of jobs is a whole number from 1, not 0"),
        ("kick mail --count -3", "a count of jobs is a whole number from 1, not -3"),
        ("kick mail --rate 0/s", "'0/s' is no rate"),
        ("kick mail --rate fast", "'fast' is no rate"),
        ("kick mail --older-than yesterday", "'yesterday' is no duration"),
        ("kick mail --older-than 0", "an age is a time longer than 0"),
        ("kick two/words,and", "is no tube name"),
        ("kick tubeherd.burials", "is reserved"),
        ("list two/words,and", "matches no tube"),
        ("why two/words,and", "is no tube name"),
        ("peek two/words,and", "is no tube name"),
        ("inspect two/words,and", "is no tube name"),
        ("delete", "say which jobs are meant"),
        ("delete mail --state reserved", "a state is ready, delayed or buried"),
        ("delete mail --state ready --error KeyError", "only buried jobs have an error"),
        ("clear mail --state ready --error KeyError", "only buried jobs have an error"),
        ("clear tubeherd.burials", "is reserved"),
        ("delete mail", "there is no terminal to ask on: add --yes"),
        ("clear --all", "there is no terminal to ask on: add --yes"),
        ("pause mail 0", "a pause is a time from 1 to 4294967295 seconds"),
        ("pause mail soon", "'soon' is no duration"),
        ("pause mail 999999999d", "a pause is a time from 1"),
        ("pause tubeherd.burials 10m", "is reserved"),
        ("resume tubeherd.burials", "is reserved"),
        ("kick mail --server 127.0.0.1:port", "--server"),
    ],
)
def test_what_makes_no_sense_is_refused_before_a_server_is_asked(arguments, said):
    done = CliRunner().invoke(app, [*arguments.split(), *(NOWHERE if "--server" not in arguments else ())])
    assert (done.exit_code, done.stdout) == (2, "")
    assert said in done.stderr


@pytest.mark.parametrize(
    "command", ["kick mail", "delete mail --yes", "clear mail --dry-run", "pause mail 1s", "resume mail"]
)
def test_no_server(command):
    done = CliRunner().invoke(app, [*command.split(), *NOWHERE])
    assert (done.exit_code, done.stdout) == (1, "")
    assert (
        done.stderr
        == "cannot reach beanstalkd at 127.0.0.1:1: Connection refused: start it, or name another one with --server "
        "or TUBEHERD_SERVER\n"
    )


BEFORE = TubeCounters("mail", ready=1, buried=2000)
CHANGE = TubeChange("mail", 1500, BEFORE, BEFORE._replace(ready=1501, buried=500))


@pytest.mark.parametrize(
    ("acted", "printed"),
    [
        (Acted("kicked", 1500, tubes=(CHANGE,)), ["mail: 1,500 kicked (buried 2,000 -> 500, ready 1 -> 1,501)"]),
        (
            Acted("deleted", 5, tubes=(CHANGE._replace(done=5, after=None),), dry_run=True),
            ["mail: 5 would be deleted (buried 2,000, ready 1, delayed 0, reserved 0)"],
        ),
        (Acted("kicked"), ["0 jobs were kicked"]),
        (Acted("kicked", 1, dry_run=True), ["1 job would be kicked"]),
        (
            Acted("kicked", missed=1),
            ["0 jobs were kicked", "1 job left alone, because somebody else had changed them meanwhile"],
        ),
    ],
)
def test_words_of_what_was_done(acted, printed):
    assert list(lines(acted)) == printed


def test_error_of_a_broken_connection_says_no_less_than_was_done():
    error = BrokenOff(Acted("kicked", 12, unsure=3), QueueUnavailable("beanstalkd closed the connection"))
    assert str(error) == (
        "beanstalkd closed the connection; 12 jobs were kicked, and up to 3 more, because the last answers were lost"
    )


@pytest.mark.parametrize(
    ("acted", "said"),
    [
        (Acted("kicked", refused=(Refused(7, "there is no such job"),)), "job 7 is left alone: there is no such job"),
        (Acted("kicked", errors=("ValueError",)), "has the error KeyError; known errors: ValueError"),
        (Acted("kicked", errors=()), "has the error KeyError; no buried job has a record of its error"),
        (Acted("kicked", unseen=2), "2 burial records could not be read"),
        (Acted("kicked", unfound=2), "2 jobs of tube mail could not be looked at"),
        (Acted("kicked", stopped="buried again"), "tubeherd why mail shows the reasons"),
    ],
)
def test_words_of_what_was_not_done(acted, said):
    (sentence,) = troubles(acted, choose("mail", error="KeyError"))
    assert said in sentence


@pytest.mark.parametrize(
    ("choice", "asked"),
    [
        (choose("mail"), "Delete 3 jobs of tube mail (buried)? Nothing brings deleted jobs back. [y/N] "),
        (
            choose(None, all_tubes=True, states=["ready", "delayed"]),
            "Delete 3 jobs of all tubes together",
        ),
        (choose(None, jobs=[1, 2, 3]), "Delete 3 jobs? Nothing"),
    ],
)
def test_question_before_jobs_are_deleted(choice, asked):
    assert question(choice, 3).startswith(asked)
