"""`tubeherd kick`: put buried jobs back."""

from typing import Annotated, Final

import typer

from tubeherd.commands.acting import AllTubes, Count, DryRun, Error, Jobs, Json, OlderThan, Tube, act, chosen
from tubeherd.commands.terminal import Server, fail
from tubeherd.exits import Exit

EXAMPLES: Final = (
    "tubeherd kick mail",
    "tubeherd kick mail --error KeyError --dry-run",
    "tubeherd kick --all --older-than 1h --rate 50/s",
    "tubeherd kick --job 4711 --job 4712",
)


def kick(
    tube: Tube = None,
    all_tubes: AllTubes = False,
    job: Jobs = None,
    error: Error = None,
    older_than: OlderThan = None,
    count: Count = None,
    rate: Annotated[
        str | None,
        typer.Option(
            help="Kick so many jobs in a time, such as 50/s, 100/m or 500/h, and stop if most come back buried",
            metavar="<rate>",
        ),
    ] = None,
    dry_run: DryRun = False,
    json: Json = False,
    server: Server = None,
) -> None:
    """Put buried jobs back, so that workers take them again. Delayed jobs stay delayed.

    A job whose retries were spent has one attempt. Jobs that were buried first are kicked first, but with --older-than
    in no order.
    """
    from tubeherd.by_hand.changing.choice import parse_rate

    choice = chosen(tube, all_tubes, job, error=error, older_than=older_than, count=count)
    try:
        a_second = None if rate is None else parse_rate(rate)
    except ValueError as wrong:
        fail(str(wrong), Exit.USAGE)
    act(server, choice, "kicked", dry_run=dry_run, json=json, rate=a_second)
