"""The command `tubeherd`. Each of its subcommands is a module of `commands`, which is imported when it is called."""

from importlib import import_module
from typing import Any, Final

import typer
from typer.core import TyperGroup

from tubeherd.streams import streams

COMMANDS: Final = ("run", "schedule", "why")
"""In the order of the help."""


class _Commands(TyperGroup):
    """The subcommands."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002
        if cmd_name not in COMMANDS:
            return None
        module = import_module(f"tubeherd.commands.{cmd_name}")
        command = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
        command.command(cmd_name)(getattr(module, cmd_name))
        return typer.main.get_command(command)


app = typer.Typer(
    cls=_Commands,
    help="Workers for beanstalkd that do the whole job loop.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.callback()
def _app() -> None:
    """Make typer keep the subcommands, whatever their number."""


def main() -> None:
    """Run the command `tubeherd`."""
    streams.open_closed()
    app()
