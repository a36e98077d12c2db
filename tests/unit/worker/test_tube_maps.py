"""Commands and URLs by tube, as users write them: what is taken, and clear words that quote no secret for the rest."""

import shlex

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tubeherd.configuration import WrongSettings
from tubeherd.formats.tube_maps import COMMAND, parse_commands
from tubeherd.settings import WorkerSettings


def load(**options):
    return WorkerSettings.load({}, options)


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ("mail=php mail.php", {"mail": "php mail.php"}),
        (["mail=php mail.php", "sms=./sms 'a=b c'"], {"mail": "php mail.php", "sms": "./sms 'a=b c'"}),
        (" mail = php mail.php\n\n sms=./sms\n", {"mail": "php mail.php", "sms": "./sms"}),
        ({"mail": "php mail.php"}, {"mail": "php mail.php"}),
        ("a=x\\ ", {"a": "x\\ "}),  # the name of this program ends in a blank
    ],
)
def test_commands_are_read_from_an_option_a_variable_and_a_pool(given, found):
    assert load(command=given).command == found
    if isinstance(given, str):
        assert WorkerSettings.load({"TUBEHERD_COMMAND": given}).command == found


def test_urls_are_read():
    urls = {"mail": "https://user:secret@[::1]:8443/jobs?a=b", "sms": "HTTP://sms"}
    assert load(http=[f"{tube}={url}" for tube, url in urls.items()]).http == urls


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"command": "php mail.php"}, "a line without =: write it like mail=php mail.php, the tube first"),
        ({"command": "two words=php"}, "'two words' is no tube name"),
        ({"command": "=php"}, "'' is no tube name"),
        ({"command": "tubeherd.burials=php"}, "'tubeherd.burials' is reserved"),
        ({"command": "mail="}, "the command of tube 'mail' is empty: write it like php mail.php"),
        ({"command": "mail= \t"}, "the command of tube 'mail' is empty"),
        ({"command": {"mail": 5}}, "the command of tube 'mail' is empty"),
        ({"command": ""}, "it is empty: write it like mail=php mail.php, or leave this setting out"),
        ({"command": " \n"}, "it is empty"),
        ({"command": "mail=php 's3cret"}, "the command of tube 'mail' has a quote that is not closed, or a backslash"),
        ({"command": 'mail=php "s3cret\\"'}, "has a quote that is not closed"),
        ({"command": "mail=php s3cret\\"}, "a backslash at its end"),
        ({"command": {"mail": "sh -c '\ns3cret'"}}, "has a line break or a NUL in it: make it a file"),
        ({"command": "mail=php\0s3cret"}, "has a line break or a NUL in it"),
        ({"command": "mail=" + "s3cret" * 1000}, "is longer than 4096 characters: make it a file"),
        ({"command": "mail=a\nmail=b"}, "the tube 'mail' is in it twice"),
        ({"command": {f"t{number}": "a" for number in range(65)}}, "there may be at most 64 tubes, not 65"),
        *[
            ({"http": f"mail={url}"}, "the URL of tube 'mail' cannot be used: it begins with http:// or https://")
            for url in (
                "ftp://u:s3cret@host/", "u:s3cret@host", "https://", "https:///path?s3cret", "http://s3cret host/",
                "http://u:s3cret@/path", "http://u:s3cret@host:port/", "http://u:s3cret@host:99999/", "http://host:0/",
                "http://[::1/s3cret", "http://höst/s3cret", "https://host/s3cret\u00a0", "https://host\\s3cret", "",
                "javascript:s3cret", "http://host/s3cret path", "https://" + "s3cret" * 400,
            )
        ],
        ({"command": "mail=php", "http": "mail=http://host/"}, "the tube 'mail' has a command too: remove one of them"),
        ({"reschedule_delay": "0s"}, "a job is rescheduled by 1 to 4294967295 seconds, not by 0"),
        ({"reschedule_delay": "1000000w"}, "a job is rescheduled by 1 to 4294967295 seconds, not by"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_refused_with_clear_words_and_without_secrets(options, words):
    with pytest.raises(WrongSettings) as raised:
        load(**options)
    assert words in str(raised.value)
    assert "s3cret" not in str(raised.value)


@given(st.text(alphabet="ab '\"\\\t\n\0=", max_size=12) | st.text(max_size=20))
@example("a\\ ")
@example("''")
@example('"a\\"b"')
@example('a\'b"c\'"d"')
def test_a_command_is_taken_if_it_is_words_on_one_line(text):
    try:
        words = shlex.split(text)
    except ValueError:
        words = []
    taken = bool(words) and not set("\r\n\0") & set(text)
    assert COMMAND.matches(text) == taken
    try:
        assert shlex.split(parse_commands({"mail": text})["mail"]) == words
    except ValueError:
        assert not taken


def test_settings_are_written_as_they_are_read():
    settings = load(command={"b": "x 'y z'", "a": "sh -c 'a=$b'"}, http={"c": "https://u:p@c/?d=e"})
    variables = WorkerSettings.variables({"command": settings.command, "http": settings.http})
    assert variables["TUBEHERD_COMMAND"] == "a=sh -c 'a=$b'\nb=x 'y z'"
    again = WorkerSettings.load(variables)
    assert (again.command, again.http) == (settings.command, settings.http)
