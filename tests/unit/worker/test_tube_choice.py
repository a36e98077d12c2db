"""Which tubes a worker takes jobs from, by its settings, its executors, and the tubes that the server has."""

import pytest

from tubeherd.executors import ExecutorError
from tubeherd.processing.tube_choice import TUBES_MOST, TubeChoice

EXECUTORS = dict.fromkeys(["mail", "report", "thumbs"], "an executor")
GLOBS = dict.fromkeys(["mail", "reports.*", "reports.weekly"], "an executor")


@pytest.mark.parametrize(
    ("include", "exclude", "tubes"),
    [
        ((), (), ["mail", "report", "thumbs"]),
        (("report", "mail", "report"), (), ["report", "mail"]),
        ((), ("mail",), ["report", "thumbs"]),
        (("mail", "report"), ("mail",), ["report"]),
        ((), ("*a*",), ["report", "thumbs"]),
        (("*h*", "report", "mail"), ("mail",), ["report", "thumbs"]),
    ],
)
def test_tubes_to_watch(include, exclude, tubes):
    assert list(TubeChoice(EXECUTORS, include, exclude).always) == tubes


@pytest.mark.parametrize(
    ("include", "exclude", "message"),
    [
        (("mial",), (), "tube 'mial' has no executor here; the tubes with one are: mail, report, thumbs"),
        ((), ("mial",), "tube 'mial' has no executor here"),
        (("mail",), ("mail",), "no tube is left to watch"),
        ((), ("*",), "no tube is left to watch"),
        (("news*",), (), r"'news\*' matches no tube that has an executor here; the tubes with one are: mail, report"),
    ],
)
def test_tubes_that_cannot_be_watched(include, exclude, message):
    with pytest.raises(ExecutorError, match=message):
        TubeChoice(EXECUTORS, include, exclude)


@pytest.mark.parametrize("exclude", ["reports.*", "*", "rep*"])
def test_glob_that_is_excluded_whole_is_no_tube_left(exclude):
    with pytest.raises(ExecutorError, match="no tube is left to watch"):
        TubeChoice({"reports.*": "an executor"}, ("reports.*",), (exclude,))


def test_glob_of_which_only_a_part_is_excluded_is_looked_for():
    for exclude in ("reports.?", "*.a", "reports.*.*"):
        assert TubeChoice({"reports.*": "an executor"}, ("reports.*",), (exclude,)).globs == ("reports.*",)


THERE = ["default", "mail", "mail2", "reports.a", "reports.b", "reports.weekly", "tubeherd.burials"]


@pytest.mark.parametrize(
    ("include", "exclude", "always", "found", "lacking"),
    [
        ((), (), ["mail", "reports.weekly"], ["reports.a", "reports.b"], []),
        (("reports.*",), (), ["reports.weekly"], ["reports.a", "reports.b"], []),
        (("reports.*",), ("reports.b",), ["reports.weekly"], ["reports.a"], []),
        (("reports.*",), ("reports.w*", "other"), ["reports.weekly"], ["reports.a", "reports.b"], []),
        (("reports.a",), (), ["reports.a"], [], []),
        (("*",), (), ["mail", "reports.weekly"], ["reports.a", "reports.b"], ["default", "mail2"]),
        (("*",), ("*2",), ["mail", "reports.weekly"], ["reports.a", "reports.b"], ["default"]),
        (("*.a", "*.b"), (), [], ["reports.a", "reports.b"], []),
        (("?ail*", "reports.c"), (), ["reports.c", "mail"], [], ["mail2"]),
    ],
)
def test_tubes_that_are_found(include, exclude, always, found, lacking):
    if exclude == ("reports.w*", "other"):
        always, exclude = [], exclude[:1]
    choice = TubeChoice(GLOBS, include, exclude)
    chosen = choice.choose(THERE)
    assert list(choice.always) == always
    assert (list(chosen.tubes), chosen.beyond, list(chosen.lacking)) == (found, 0, lacking)


def test_server_need_not_be_asked_if_there_are_only_names():
    assert not TubeChoice(EXECUTORS).globs
    assert not TubeChoice(GLOBS, ["reports.a", "mail"]).globs
    assert TubeChoice(GLOBS).globs == ("reports.*",)
    assert TubeChoice(GLOBS, ["mail", "re*"]).globs == ("re*",)


def test_first_tubes_by_name_are_chosen_if_too_many_match():
    names = [f"reports.{number:05}" for number in range(TUBES_MOST + 100)]
    chosen = TubeChoice(GLOBS).choose(reversed(names))
    assert list(chosen.tubes) == names[: TUBES_MOST - 2]
    assert chosen.beyond == 102


def test_metrics_and_banner_name_tubes_and_globs():
    assert list(TubeChoice(GLOBS, ["mail", "reports.x"]).executors()) == ["mail", "reports.x"]
    assert list(TubeChoice(GLOBS, ["*"]).executors()) == ["mail", "reports.weekly", "reports.*"]
