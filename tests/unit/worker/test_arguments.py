"""What the arguments of `tubeherd run` name, and what is said where they name nothing that could run."""

import os
import re
import sys
from pathlib import Path

import pytest

from tubeherd.starting.arguments import WrongSource, find_sources

MAIL = "from tubeherd import executor\n@executor('mail')\ndef mail(payload): ...\n"


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """The current folder, empty."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def write(*names, text=MAIL):
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(text)


def named(*arguments):
    """Return the modules that arguments name, each with the folder from which it is imported."""
    sources = find_sources(arguments)
    assert os.getcwd() in sources.folders
    return [(source.module, source.folder and os.path.relpath(source.folder)) for source in sources.modules]


@pytest.mark.parametrize(
    ("argument", "files", "modules"),
    [
        ("mail.py", ["mail.py"], [("mail", ".")]),
        ("./mail.py", ["mail.py"], [("mail", ".")]),
        ("mail", ["mail.py"], [("mail", ".")]),
        ("mail", ["mail.py", "mail/other.py"], [("mail", ".")]),
        ("mail", ["mail.py", "mail/__init__.py"], [("mail", ".")]),
        ("jobs/mail.py", ["jobs/mail.py"], [("mail", "jobs")]),
        ("jobs/mail.py", ["jobs/__init__.py", "jobs/mail.py"], [("jobs.mail", ".")]),
        ("jobs/mail.py", ["__init__.py", "jobs/__init__.py", "jobs/mail.py"], [("jobs.mail", ".")]),
        ("jobs/__init__.py", ["jobs/__init__.py"], [("jobs", ".")]),
        ("jobs.mail", ["jobs/mail.py"], [("jobs.mail", ".")]),
        ("a.b.mail", ["a/__init__.py", "a/b/mail.py"], [("a.b.mail", ".")]),
        ("../there/mail.py", ["../there/mail.py"], [("mail", "../there")]),
        ("../there/a/mail.py", ["../there/__init__.py", "../there/a/__init__.py", "../there/a/mail.py"],
         [("there.a.mail", "..")]),
        (".", ["mail.py", "report.py"], [("mail", "."), ("report", ".")]),
        (".", ["__init__.py", "mail.py"], [("mail", ".")]),
        ("jobs", ["jobs/mail.py"], [("mail", "jobs")]),
        ("jobs/", ["jobs/mail.py"], [("mail", "jobs")]),
        ("jobs", ["jobs/__init__.py", "jobs/mail.py"], [("jobs", "."), ("jobs.mail", ".")]),
        ("..", ["../mail.py"], [("mail", "..")]),
        ("my app/mail.py", ["my app/__init__.py", "my app/mail.py"], [("mail", "my app")]),
        ("pydantic", [], [("pydantic", None)]),
        ("pydantic.fields", [], [("pydantic.fields", None)]),
    ],
)  # fmt: skip
def test_argument_names_modules(argument, files, modules):
    write(*files)
    assert named(argument) == modules


def test_several_arguments_and_one_of_them_twice():
    write("mail.py", "jobs/report.py")
    assert named("mail.py", "jobs/report.py", "./mail.py") == [("mail", "."), ("report", "jobs")]


def test_folder_leaves_out_what_has_no_executors_because_it_may_be_a_script():
    write("mail.py", "_own.py")
    write("setup.py", text="raise SystemExit('this must not run')")
    write("put.py", text="from concurrent.futures import ThreadPoolExecutor\nThreadPoolExecutor().submit(print)")
    write("notes.txt", ".mail.py", "__main__.py")
    assert named(".") == [("_own", "."), ("mail", ".")]


@pytest.mark.parametrize(
    "text",
    [
        "import tubeherd\n@tubeherd.executor('mail')\ndef mail(payload): ...",
        "from tubeherd import (\n  executor,\n)\n@executor('mail')\ndef mail(payload): ...",
        "from tubeherd import executor as job\n@job('mail')\ndef mail(payload): ...",
        "from tubeherd import executor\ndef mail(payload): ...\nexecutor('mail')(mail)",
        "class Jobs:\n    @executor('mail')\n    def mail(payload): ...",
    ],
)
def test_folder_finds_executors_however_they_are_written(text):
    write("mail.py", text=text)
    assert named(".") == [("mail", ".")]


def test_nothing_is_imported():
    write("mail_under_test.py", "jobs/__init__.py", "jobs/report.py", text=MAIL + "raise AssertionError")
    modules, path = set(sys.modules), list(sys.path)
    named("mail_under_test.py", "jobs", "jobs.report")
    assert set(sys.modules) - modules <= {"difflib"}
    assert sys.path == path


@pytest.mark.parametrize(
    ("argument", "files", "said"),
    [
        ("mial.py", ["mail.py"], "there is no file mial.py: did you mean mail.py?"),
        ("mial", ["mail.py"], "there is no file, folder or module mial: did you mean mail.py?"),
        ("mail.py", ["jobs/mail.py"], "there is no file mail.py: did you mean jobs/mail.py?"),
        ("mail", ["jobs/mail.py"], "did you mean jobs/mail.py?"),
        ("jobs.mial", ["jobs/mail.py"], "did you mean jobs/mail.py?"),
        ("jobs/mial.py", ["jobs/mail.py"], "there is no file jobs/mial.py: did you mean jobs/mail.py?"),
        ("mail:send", ["mail.py"], "did you mean mail.py?"),
        ("mail.py:send", ["mail.py"], "did you mean mail.py?"),
        ("mail.send", ["mail.py"], "did you mean mail.py?"),
        ("xyz", ["mail.py"], "there is no file, folder or module xyz; did you mean mail.py?"),
        ("xyz", ["a.py", "b.py"], "one of these may be meant: a.py, b.py"),
        ("xyz", [], "there is no file, folder or module xyz"),
        ("xyz/", [], "there is no folder xyz/"),
        ("my-mail.py", ["my-mail.py"], "rename it, such as with mv my-mail.py my_mail.py, and then write "
         "my_mail.py"),
        ("my-mail", ["my-mail.py"], "and then write my_mail.py"),
        ("my-mail", ["my_mail.py"], "did you mean my_mail.py?"),
        ("1mail.py", ["1mail.py"], "and then write jobs_1mail.py"),
        ("class.py", ["class.py"], "and then write jobs_class.py"),
        ("mail.v2.py", ["mail.v2.py"], "and then write mail_v2.py"),
        (".", ["my-mail.py"], "my-mail.py: 'my-mail' can be no name of a Python module"),
        ("__main__.py", ["__main__.py"], "rename it"),
        ("json.py", ["json.py"], "json.py: a module of Python's own is called json: rename the file"),
        ("json", ["json.py"], "json.py: a module of Python's own is called json: rename the file"),
        ("mail.json", ["mail.json", "mail.py"], "mail.json is no Python file, whose name would end in .py: did you "
         "mean mail.py?"),
        ("./mail.txt", ["mail.txt"], "mail.txt is no Python file"),
        ("README", ["README"], "README is no Python file"),
        ("jobs/mail", ["jobs/mail.py"], "there is no folder jobs/mail: did you mean jobs/mail.py?"),
        ("jobs", ["jobs/notes.txt"], "no .py file in the folder jobs has an executor"),
        (".", ["jobs/mail.py"], "no .py file in the folder . has an executor; did you mean jobs/mail.py?"),
        ("/dev/null", [], "/dev/null is neither a file nor a folder"),
        ("", [], "an argument is empty"),
        (" ", [], "an argument is empty"),
        ("a..b", ["a/b.py"], "there is no file, folder or module a..b"),
        ("...", [], "there is no file, folder or module ..."),
        ("x" * 300, [], "File name too long"),
        ("pydantic.nowhere", [], "there is no file, folder or module pydantic.nowhere"),
    ],
)  # fmt: skip
def test_wrong_argument_is_answered_with_the_right_one(argument, files, said):
    write(*files)
    with pytest.raises(WrongSource, match=re.escape(said)):
        find_sources([argument])


def test_files_of_one_name_in_two_folders_are_refused_with_what_would_work():
    write("a/mail.py", "b/mail.py")
    said = "a/mail.py and b/mail.py would both be the module mail: rename one of them, or write a.mail b.mail"
    with pytest.raises(WrongSource, match=re.escape(said)):
        find_sources(["a/mail.py", "b/mail.py"])
    assert named("a.mail", "b.mail") == [("a.mail", "."), ("b.mail", ".")]


def test_files_of_one_name_in_two_packages_are_two_modules():
    write("a/__init__.py", "a/mail.py", "b/__init__.py", "b/mail.py")
    assert named("a/mail.py", "b/mail.py") == [("a.mail", "."), ("b.mail", ".")]


def test_file_beside_a_link_to_it_is_found_under_the_name_that_was_written(here):
    write("real.py")
    (here / "mail.py").symlink_to("real.py")
    assert named("mail.py") == [("mail", ".")]


def test_current_folder_that_was_removed_is_named(here):
    here.rmdir()
    with pytest.raises(WrongSource, match="the current folder does not exist any more"):
        find_sources(["mail.py"])


def test_without_arguments_the_hint_names_files_that_have_executors():
    write("jobs/mail.py")
    assert find_sources([]) == ((), (), "; did you mean jobs/mail.py?")


def test_hint_names_no_file_that_only_has_the_words_in_a_text():
    write("screens.py", text=f'SHOP = """{MAIL}"""\n')
    write("broken.py", text="from tubeherd import executor\ndef (")
    assert find_sources([]).hint == "; did you mean broken.py?"


def test_hint_looks_into_no_environment_and_no_hidden_folder():
    write(".hidden/mail.py", "venv/lib/mail.py", "venv/pyvenv.cfg", "node_modules/mail.py")
    assert find_sources([]).hint == ""
