"""What `pause` and `resume` do alike: they change the pause of a tube, and print what it was before and is now."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from tubeherd.commands.terminal import fail, failing_in_words, server_of
from tubeherd.formats.durations import format_duration

if TYPE_CHECKING:
    from tubeherd.by_hand.pausing import Paused
    from tubeherd.queue.looking import TubeCounters

DryRun = Annotated[bool, typer.Option("--dry-run", help="Change nothing, print the present pause")]


def change_pause(server: str | None, change: Callable[[str], "Paused"], *, dry_run: bool, json: bool) -> None:
    """Have `change` change a tube on this server, and print what it did."""
    address = server_of(server)
    with failing_in_words("when the tube was to be paused or resumed"):
        paused = change(address)
    if json:
        from pydantic_core import to_json

        before, after = _left(paused.before), _left(paused.after)
        fields = {"tube": paused.tube, "exists": paused.exists, "before": before, "after": after, "dry_run": dry_run}
        typer.echo(to_json(fields, indent=2))
    elif paused.exists:
        typer.echo(_in_words(paused, dry_run))
    if not paused.exists:
        fail(f"nothing was done: beanstalkd has no tube {paused.tube} now, because it has neither jobs nor workers")


def _in_words(paused: "Paused", dry_run: bool) -> str:
    left = _left(paused.before)
    before = f"paused for another {format_duration(left)}" if left else "not paused"
    if dry_run:
        return f"{paused.tube}: {before}; nothing was changed, because this is a dry run"
    after = f"paused for {format_duration(paused.after.pause)}" if paused.after.pause else "not paused"
    return f"{paused.tube}: {after} (before: {before})"


def _left(tube: "TubeCounters") -> int:
    """Return for how many more seconds a tube is paused; beanstalkd itself says 0 in the last one."""
    return max(1, tube.pause_left) if tube.pause else 0
