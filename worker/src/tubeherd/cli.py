"""The command `tubeherd`. Each of its subcommands is a module of `commands`, which is imported when it is called.

Such a module has a function of its own name, and `EXAMPLES`: command lines, which the help shows.
"""

import errno
import os
import sys
from difflib import get_close_matches
from importlib import import_module
from typing import Annotated, Any, Final

import typer

from tubeherd.exits import Exit
from tubeherd.help_screens import HelpfulCommand, HelpfulGroup, examples, paragraphs
from tubeherd.streams import streams

COMMANDS: Final = (
    "run",
    "list",
    "why",
    "peek",
    "inspect",
    "kick",
    "delete",
    "clear",
    "pause",
    "resume",
    "schedule",
    "execute",
)
"""In the order of the help."""
_HELP: Final = {"help_option_names": ["--help", "-h"]}
_CANNOT_WRITE: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


class _Commands(HelpfulGroup):
    """The subcommands."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002
        if cmd_name not in COMMANDS:
            return None
        module = import_module(f"tubeherd.commands.{cmd_name}")
        command = typer.Typer(add_completion=False, pretty_exceptions_enable=False, context_settings=_HELP)
        function = getattr(module, cmd_name)
        command.command(
            cmd_name, cls=HelpfulCommand, help=paragraphs(function.__doc__), epilog=examples(module.EXAMPLES)
        )(function)
        return typer.main.get_command(command)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Return the command that the arguments name; ends with what may be meant if there is none."""
        word = args[0]
        if word not in COMMANDS and not word.startswith("-"):
            near = get_close_matches(word, COMMANDS, 1)
            meant = f"Did you mean {near[0]!r}?" if near else "tubeherd --help shows all commands."
            ctx.fail(f"No such command {word!r}. {meant}")
        return super().resolve_command(ctx, args)


app = typer.Typer(
    cls=_Commands,
    context_settings=_HELP,
    help="Workers for beanstalkd that do the whole job loop.",
    epilog=examples(("tubeherd run mail.py", 'tubeherd schedule mail \'{"to": "ann@example.com"}\'', "tubeherd why")),
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from tubeherd.version import version

        typer.echo(f"tubeherd {version()}")
        raise typer.Exit


@app.callback()
def _app(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Make typer keep the subcommands, whatever their number."""


def main() -> None:
    """Run the command `tubeherd`."""
    try:
        streams.open_closed()
        app(prog_name="tubeherd")
    except OSError as error:
        if error.errno not in _CANNOT_WRITE:
            raise
        sys.stderr.write(f"the output cannot be written: {error.strerror}\n")
        raise SystemExit(int(Exit.FAILED)) from None
    except KeyboardInterrupt:  # just before or after what typer guards
        raise SystemExit(int(Exit.INTERRUPTED)) from None
    finally:
        _flush()


def _flush() -> None:
    """Write what is left of the output. If its reader is gone, end with FAILED; Python would print a traceback."""
    try:
        sys.stdout.flush()
    except OSError:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        raise SystemExit(int(Exit.FAILED)) from None
