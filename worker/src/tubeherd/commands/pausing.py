"""What `pause` and `resume` do alike: they change the pause of a tube, and print what it was before and is now."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from tubeherd.commands.terminal import fail, failing_in_words, server_of
from tubeherd.formats.columns import left
from tubeherd.formats.durations import format_duration
from tubeherd.formats.tubes import no_tube

if TYPE_CHECKING:
    from tubeherd.by_hand.changing.pausing import Paused
    from tubeherd.queue.answers import TubeCounters

DryRun = Annotated[bool, typer.Option("--dry-run", help="Change nothing, print the present pause")]


def change_pause(
    server: str | None, change: Callable[[str], "Paused"], *, needs_tube: bool, dry_run: bool, json: bool
) -> None:
    """Have `change` change a tube on this server, and print what it did.

    If `needs_tube`, the command fails if there is no such tube.
    """
    address = server_of(server)
    with failing_in_words("when the tube was to be paused or resumed"):
        paused = change(address)
    if not paused.exists:
        note = no_tube(paused.tube)
        if needs_tube:
            fail(f"nothing was done: {note}")
        typer.echo(note, err=True)
    if json:
        from pydantic_core import to_json

        before, after = _left(paused.before), _left(paused.after)
        fields = {"tube": paused.tube, "exists": paused.exists, "before": before, "after": after, "dry_run": dry_run}
        typer.echo(to_json(fields, indent=2))
    else:
        typer.echo(_in_words(paused, dry_run))


def _in_words(paused: "Paused", dry_run: bool) -> str:
    before = f"paused for another {left(paused.before.pause_left)}" if paused.before.pause else "not paused"
    if dry_run:
        return f"{paused.tube}: {before}; nothing was changed, because this is a dry run"
    after = f"paused for {format_duration(paused.after.pause)}" if paused.after.pause else "not paused"
    return f"{paused.tube}: {after} (before: {before})"


def _left(tube: "TubeCounters") -> int:
    """Return for how many more seconds a tube is paused, rounded up; beanstalkd itself cuts off the fraction."""
    return tube.pause_left + 1 if tube.pause else 0
