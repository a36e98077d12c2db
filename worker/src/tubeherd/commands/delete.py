"""`tubeherd delete`: delete jobs, if nothing else is said only buried ones."""

from typing import Final

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

EXAMPLES: Final = (
    "tubeherd delete mail --error KeyError --dry-run",
    "tubeherd delete mail --older-than 30d --yes",
    "tubeherd delete --job 4711",
)


def delete(
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
    """Delete buried jobs, or those in another --state; with --job in any state but reserved. Asks before.

    A job that a worker has reserved is left alone. Without a terminal to ask on, nothing is deleted unless --yes is
    given.
    """
    from tubeherd.by_hand.choice import STATES

    states = state or (STATES if job else ["buried"])
    choice = chosen(tube, all_tubes, job, states=states, error=error, older_than=older_than, count=count)
    act(server, choice, "deleted", dry_run=dry_run, json=json, asks=not yes, pointer="--state {state} deletes")
