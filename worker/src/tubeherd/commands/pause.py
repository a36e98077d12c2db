"""`tubeherd pause`: have no job of a tube given out for a time."""

from typing import Annotated, Final

import typer

from tubeherd.commands.acting import Json
from tubeherd.commands.pausing import DryRun, change_pause
from tubeherd.commands.terminal import Server

EXAMPLES: Final = ("tubeherd pause mail 10m", "tubeherd pause mail 1h30m --dry-run")


def pause(
    tube: Annotated[str, typer.Argument(help="The tube")],
    duration: Annotated[str, typer.Argument(help="How long, like 90s, 10m or 1h30m")],
    dry_run: DryRun = False,
    json: Json = False,
    server: Server = None,
) -> None:
    """Have beanstalkd give out no job of a tube for a time. Jobs can still be put, and those that run go on.

    The pause is forgotten if beanstalkd is restarted, or if the tube has no job and no worker any more.
    """
    from tubeherd.by_hand.changing.pausing import pause

    change_pause(
        server,
        lambda address: pause(address, tube, duration, dry_run=dry_run),
        needs_tube=True,
        dry_run=dry_run,
        json=json,
    )
