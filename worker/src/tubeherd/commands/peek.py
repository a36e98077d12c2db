"""`tubeherd peek`: the next jobs of a tube."""

from datetime import UTC, datetime
from shutil import get_terminal_size
from typing import Annotated, Final

import typer

from tubeherd.commands.terminal import Server, failing_in_words, for_terminal, print_note, server_of

EXAMPLES: Final = ("tubeherd peek mail", "tubeherd peek mail --json | jq .ready.payload")


def peek(
    tube: Annotated[str, typer.Argument(help="The tube")],
    json: Annotated[bool, typer.Option("--json", help="Print JSON")] = False,
    server: Server = None,
) -> None:
    """Show the next ready, the next delayed and the next buried job of a tube.

    Nothing about the jobs changes. To read why one is buried reserves and releases the burial records, not the jobs.
    """
    from pydantic_core import to_json

    from tubeherd.by_hand.looking.inspecting import peek as peek_at
    from tubeherd.by_hand.looking.job_view import as_json, summary

    address = server_of(server)
    with failing_in_words("when the tube was looked at"):
        jobs = peek_at(address, tube)._asdict()
    if json:
        found = {state: job and as_json(job) for state, job in jobs.items()}
        typer.echo(to_json(found, indent=2, inf_nan_mode="null"))
    else:
        now, width = datetime.now(UTC), get_terminal_size().columns
        lines: list[str] = []
        for state, job in jobs.items():
            lines += [f"No job is {state}."] if job is None else [f"Next {state}:", *summary(job, now, width)]
        typer.echo(for_terminal("\n".join(lines)))
    if not any(jobs.values()):
        print_note(address, tube, list(jobs))
