"""What users write for each of several tubes, such as a command: `mail=php mail.php`, a line for each tube."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from tubeherd.formats.globs import check_tube_or_glob
from tubeherd.formats.text import TextFormat

TUBES_MOST: Final = 64
"""For so many tubes a user may write something."""
_QUOTED: Final = r"""'[^'\r\n\x00]*'|"([^"\\\r\n\x00]|\\[^\r\n\x00])*"|\\[^\r\n\x00]"""
COMMAND: Final = TextFormat(
    name="command",
    # Words as a shell takes them, at least one of them, on one line, and each quote is closed.
    pattern=rf"""^[ \t]*([^'"\\ \t\r\n\x00]|{_QUOTED})([^'"\\\r\n\x00]|{_QUOTED})*$""",
    max_length=4096,
    examples="php mail.php",
)
URL: Final = TextFormat(
    name="URL",
    pattern=r"""^[hH][tT][tT][pP][sS]?://[!"$-.0->@-\[\]-~]+([/?#][!-~]*)?$""",
    max_length=2048,
    examples="https://shop.example.com/jobs/mail",
)
COMMANDS: Final = TextFormat(name="tube=command", pattern="", max_length=0, examples="mail=php mail.php")
URLS: Final = TextFormat(name="tube=URL", pattern="", max_length=0, examples="mail=https://shop.example.com/jobs/mail")


def parse_commands(value: Any) -> dict[str, str]:
    """Return the commands by tube; raises ValueError, whose message quotes no command: it may hold secrets."""
    found = dict(_entries(value, COMMANDS))
    for tube, command in found.items():
        _check_command(tube, command)
    return {tube: command.lstrip(" \t") for tube, command in found.items()}


def parse_urls(value: Any) -> dict[str, str]:
    """Return the URLs by tube; raises ValueError, whose message quotes no URL: it may hold a password."""
    found = dict(_entries(value, URLS))
    for tube, url in found.items():
        _check_url(tube, url)
    return found


def _entries(value: Any, format: TextFormat) -> Iterator[tuple[str, str]]:  # noqa: A002 - as in `Shape`
    """Yield tube and text of a mapping, of a text with an entry in each line, or of a list of such texts."""
    if isinstance(value, Mapping):
        entries = list(value.items())
    else:
        texts = [value] if isinstance(value, str) else list(value)
        entries = [_entry(line, format) for text in texts for line in text.split("\n") if line.strip()]
    if not entries and not isinstance(value, Mapping):  # such as from the unset variable of a script
        raise ValueError(f"it is empty: write it like {format.examples}, or leave this setting out")
    if len(entries) > TUBES_MOST:
        raise ValueError(f"there may be at most {TUBES_MOST} tubes, not {len(entries)}")
    seen: set[str] = set()
    for tube, text in entries:
        if tube in seen:
            raise ValueError(f"the tube {tube!r} is in it twice")
        seen.add(check_tube_or_glob(tube))
        yield tube, text


def _entry(line: str, format: TextFormat) -> tuple[str, str]:  # noqa: A002
    tube, equals, text = line.partition("=")
    if not equals:
        raise ValueError(f"a line without =: write it like {format.examples}, the tube first")
    return tube.strip(), text.lstrip(" \t")  # a blank at the end may be escaped by a backslash


def _check_command(tube: str, command: Any) -> None:
    if COMMAND.matches(command):
        return
    if not isinstance(command, str) or not command.strip():
        raise ValueError(f"the command of tube {tube!r} is empty: write it like {COMMAND.examples}")
    if len(command) > COMMAND.max_length:
        raise ValueError(f"the command of tube {tube!r} is longer than {COMMAND.max_length} characters: make it a file")
    if any(character in command for character in "\r\n\0"):
        raise ValueError(f"the command of tube {tube!r} has a line break or a NUL in it: make it a file")
    raise ValueError(f"the command of tube {tube!r} has a quote that is not closed, or a backslash at its end")


def _check_url(tube: str, url: Any) -> None:
    from urllib.parse import urlsplit  # imported only if there is such a setting

    if isinstance(url, str) and URL.matches(url):
        try:
            parts = urlsplit(url)
            if parts.hostname and parts.port != 0 and url.isascii():
                return
        except ValueError:
            pass  # such as a port that is no number
    raise ValueError(
        f"the URL of tube {tube!r} cannot be used: it begins with http:// or https://, names a host, and has only "
        f"ASCII characters and no blanks, like {URL.examples}"
    )
