"""What `delete` and `clear` do alike: all but which jobs are meant if no state is given."""

import inspect
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from tubeherd.commands.acting import (
    AllTubes,
    Count,
    DryRun,
    Error,
    Jobs,
    Json,
    OlderThan,
    States,
    Tube,
    Yes,
    act,
    chosen,
)
from tubeherd.commands.terminal import Server

Command = Callable[..., None]


def takes_what_is_deleted(command: Command) -> Command:
    """Give a command the options that say which jobs are deleted."""
    command.__signature__ = inspect.signature(_options)  # type: ignore[attr-defined]  # typer reads it
    return command


def delete_chosen(options: dict[str, Any], states: Sequence[str], *, pointer: str | None = None) -> NoReturn:
    """Delete the jobs that these options choose; those in `states` if none is given. `pointer` is that of `act`."""
    which = {name: options[name] for name in ("error", "older_than", "count")}
    choice = chosen(options["tube"], options["all_tubes"], options["job"], states=options["state"] or states, **which)
    how = {name: options[name] for name in ("dry_run", "json")}
    act(options["server"], choice, "deleted", asks=not options["yes"], pointer=pointer, **how)


def _options(
    tube: Tube = None,
    all_tubes: AllTubes = False,
    job: Jobs = None,
    state: States = None,
    error: Error = None,
    older_than: OlderThan = None,
    count: Count = None,
    yes: Yes = False,
    dry_run: DryRun = False,
    json: Json = False,
    server: Server = None,
) -> None:
    """Have these options."""
