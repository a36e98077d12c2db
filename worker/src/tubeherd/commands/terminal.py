"""What all commands do alike: read their settings, end with an error in words, and print for any terminal."""

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import NoReturn, TypeVar

import typer

from tubeherd.configuration import Settings, WrongSettings
from tubeherd.exits import Exit
from tubeherd.queue.answers import QueueUnavailable, RefusedError

Model = TypeVar("Model", bound=Settings)


def load(model: type[Model], options: Mapping[str, str | bool | None]) -> Model:
    """Return the settings that options and variables set; an option of None was not given. Ends if they are wrong."""
    try:
        return model.load(os.environ, {name: value for name, value in options.items() if value is not None})
    except WrongSettings as error:
        fail(str(error), Exit.USAGE)


def fail(message: str, code: int = 1) -> NoReturn:
    """Print a message to standard error, and end with this exit code."""
    typer.echo(message, err=True)
    raise typer.Exit(code)


@contextmanager
def failing_in_words(when: str) -> Iterator[None]:
    """End with a message if beanstalkd cannot be reached or refuses a command, or if a value makes no sense.

    `when` ends the message about what beanstalkd has refused: "when the burial records were read".
    """
    try:
        yield
    except RefusedError as error:
        fail(f"beanstalkd answered {error} {when}")
    except (QueueUnavailable, ValueError) as error:
        fail(str(error))


def for_terminal(text: str) -> bytes:
    """Return a text in the encoding of standard output, with ? for each character that the encoding lacks."""
    return text.encode(sys.stdout.encoding or "utf-8", errors="replace")
