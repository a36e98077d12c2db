"""What all commands do alike: read their settings, end with an error in words, and print for any terminal."""

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from shutil import get_terminal_size
from textwrap import wrap
from typing import TYPE_CHECKING, Annotated, NoReturn, TextIO, TypeVar

import typer

from tubeherd.exits import Exit
from tubeherd.queue.answers import QueueUnavailable, RefusedError, Unreachable
from tubeherd.queue.server import DEFAULT_SERVER, SERVER, SERVER_MEANING, SERVER_VARIABLE, server_or_default

if TYPE_CHECKING:
    from tubeherd.configuration import Settings

Model = TypeVar("Model", bound="Settings")
Server = Annotated[
    str | None,
    typer.Option(
        "--server",
        metavar=f"<{SERVER.name}>",
        help=f"{SERVER_MEANING.removesuffix('.')} (default: {DEFAULT_SERVER})",
        show_default=False,
    ),
]
"""The option of a command that needs no other setting.

It is the same as the one that `options` makes of the declaration in `settings`, which takes long to import.
"""


def server_of(option: str | None) -> str:
    """Return where beanstalkd is, by the option, the variable or the default. Ends if that is no address."""
    try:
        # An empty option is wrong: in a script, it may stand for a variable that was never set.
        return server_or_default(option, os.environ)
    except ValueError as error:
        fail(str(error) if option is None else f"--server: {error}", Exit.USAGE)


def warn_of_misspelt() -> None:
    """Print a warning for each variable that looks like one of a setting's and is none."""
    if any(name.upper().startswith("TUBEHERD_") and name != SERVER_VARIABLE for name in os.environ):
        from tubeherd.settings import WorkerSettings  # takes long, so only if it is needed

        for message in WorkerSettings.misspelt(os.environ):
            typer.echo(message, err=True)


def load(model: "type[Model]", options: Mapping[str, str | bool | list[str] | None]) -> Model:
    """Return the settings that options and variables set; an option of None was not given. Ends if they are wrong."""
    from tubeherd.configuration import WrongSettings

    try:
        return model.load(os.environ, {name: value for name, value in options.items() if value is not None})
    except WrongSettings as error:
        fail(str(error), Exit.USAGE)


def fail(message: str, code: int = 1) -> NoReturn:
    """Print a message to standard error, and end with this exit code."""
    with suppress(OSError):  # nobody reads it
        print_error(message)
    raise typer.Exit(code)


def print_error(message: str) -> None:
    """Print a message to standard error; on a terminal no line of it is broken inside a word."""
    if sys.stderr.isatty():
        width = get_terminal_size().columns
        lines = (wrap(line, width, break_long_words=False, break_on_hyphens=False) for line in message.split("\n"))
        message = "\n".join("\n".join(parts) for parts in lines)
    typer.echo(message, err=True)


def print_last(text: str) -> None:
    """Print the last line of a command that has changed the queue; if nobody reads it, print it to standard error.

    The exit code is then as if somebody had read it, because who takes an error for a reason to try again would change
    the queue twice.
    """
    try:
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()
    except OSError:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        with suppress(OSError):
            typer.echo(text, err=True)


@contextmanager
def failing_in_words(when: str) -> Iterator[None]:
    """End with a message if beanstalkd cannot be reached or refuses a command, or if a value makes no sense.

    `when` ends the message about what beanstalkd has refused: "when the burial records were read".
    """
    try:
        yield
    except RefusedError as error:
        fail(f"beanstalkd answered {error} {when}")
    except Unreachable as error:
        fail(f"{error}: start it, or name another one with --server or {SERVER_VARIABLE}")
    except QueueUnavailable as error:
        fail(str(error))
    except ValueError as error:
        fail(str(error), Exit.USAGE)


def print_note(server: str, tube: str, states: Sequence[str], pointer: str | None = None) -> None:
    """Print to standard error what a tube holds that has no job in these states, or that there is no such tube.

    `pointer` says how the command gets at jobs in another state, as `note_on_tube` wants it.
    """
    from tubeherd.by_hand.looking.other_states import INSPECT, note_on_tube

    if (note := note_on_tube(server, tube, states, pointer or INSPECT)) is not None:
        print_error(note)


def answer_to(question: str, stream: TextIO) -> str | None:
    """Ask a person on a terminal, and return the answer in small letters; None for Ctrl-D."""
    stream.write(question)
    stream.flush()
    answer = sys.stdin.buffer.readline()
    if answer:
        return answer.decode(errors="replace").strip().lower()
    stream.write("\n")  # the terminal has begun no new line
    return None


def for_terminal(text: str) -> bytes:
    """Return a text in the encoding of standard output, with ? for each character that the encoding lacks."""
    return text.encode(sys.stdout.encoding or "utf-8", errors="replace")
