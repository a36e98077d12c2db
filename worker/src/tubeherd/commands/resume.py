"""`tubeherd resume`: end the pause of a tube."""

from typing import Annotated, Final

import typer

from tubeherd.commands.acting import Json
from tubeherd.commands.pausing import DryRun, change_pause
from tubeherd.commands.terminal import Server

EXAMPLES: Final = ("tubeherd resume mail",)


def resume(
    tube: Annotated[str, typer.Argument(help="The tube")],
    dry_run: DryRun = False,
    json: Json = False,
    server: Server = None,
) -> None:
    """End the pause of a tube, so that its jobs are given out again."""
    from tubeherd.by_hand.changing.pausing import resume

    change_pause(
        server, lambda address: resume(address, tube, dry_run=dry_run), needs_tube=False, dry_run=dry_run, json=json
    )
