"""The help of the commands, the same for all of them: what typer itself would show of flags, arguments and paragraphs.

Without this, typer writes `<bool>` behind a flag, `[[TUBE]...]...` for what can be repeated, types of Python behind
arguments, ranges that leave no room for the words, defaults on lines of their own, and the line breaks of a docstring
in the middle of a line.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any, Final

import typer
from typer.core import TyperCommand, TyperGroup

from tubeherd.exits import Exit

_UsageError: Final[Any] = typer.BadParameter.__base__  # typer has a copy of click, and exports only some of its names
_NOTHING: Final = " "
"""What is shown as the kind of a flag's value; for an empty text typer writes <bool>."""


class HelpfulCommand(TyperCommand):
    """A command with such a help."""

    def get_params(self, ctx: Any) -> Any:
        """Return the parameters as they are to be shown."""
        return _tidied(super().get_params(ctx))

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """Return what the usage line has behind the name of the command."""
        arguments = [one for one in self.get_params(ctx) if one.param_type_name == "argument"]
        return ["[OPTIONS]", *map(_usage, arguments)]


class HelpfulGroup(TyperGroup):
    """A group of commands with such a help. What was typed wrong is answered in one line, as by the commands."""

    def make_context(self, info_name: str | None, args: list[str], *more: Any, **extra: Any) -> Any:
        """Take the options before the command; without arguments the help is shown."""
        with _wrong_usage_in_one_line() if args else nullcontext():
            return super().make_context(info_name, args, *more, **extra)

    def invoke(self, ctx: Any) -> Any:
        """Take the name of the command and all that follows it, and run the command."""
        with _wrong_usage_in_one_line():
            return super().invoke(ctx)

    def get_params(self, ctx: Any) -> Any:
        """Return the parameters as they are to be shown."""
        return _tidied(super().get_params(ctx))


@contextmanager
def _wrong_usage_in_one_line() -> Iterator[None]:
    try:
        yield
    except _UsageError as error:
        path = error.ctx.command_path if error.ctx else "tubeherd"
        typer.echo(f"{error.format_message().removesuffix('.')}: see {path} --help", err=True)
        raise typer.Exit(Exit.USAGE) from None


def paragraphs(text: str) -> str:
    """Return a docstring with each of its paragraphs in one line, which is wrapped when it is shown."""
    return "\n\n".join(" ".join(part.split()) for part in re.split(r"\n[ \t]*\n", text.strip()))


def examples(lines: Sequence[str]) -> str:
    """Return the end of a help. Without the empty lines, it would join the lines."""
    return "\n\n".join(["Examples:", *lines])


def _tidied(parameters: Any) -> Any:
    for parameter in parameters:
        if parameter.param_type_name == "argument":
            parameter.metavar = parameter.metavar or parameter.name.upper()
            parameter.display_type_rich = _no_type
        else:
            _tidy_option(parameter)
    return parameters


def _tidy_option(option: Any) -> None:
    if option.is_flag:
        option.metavar = _NOTHING
    elif option.show_default and option.default is not None:
        option.help, option.show_default = f"{option.help} (default: {option.default})", False
    option._get_number_range_help_str = _no_range


def _no_type(ctx: object) -> None:
    """Show nothing as the type of an argument, because its help says what it is."""


def _no_range() -> None:
    """Show no range beside the kind of a number: its help says what it counts, and a wrong one is refused in words."""


def _usage(argument: Any) -> str:
    name = str(argument.metavar) if argument.required else f"[{argument.metavar}]"
    return name if argument.nargs == 1 else f"{name}..."
