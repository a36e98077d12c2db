"""`tubeherd clear`: empty tubes."""

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
    "tubeherd clear mail",
    "tubeherd clear mail --state delayed --state ready --yes",
    "tubeherd clear --all --dry-run",
)


def clear(
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
    """Delete all jobs of a tube that nobody holds: the ready, delayed and buried ones. Asks before.

    A job that a worker has reserved is left alone, and jobs that are put meanwhile are not waited for. With --error,
    only buried jobs are deleted. Without a terminal to ask on, nothing is deleted unless --yes is given.
    """
    from tubeherd.by_hand.choice import STATES

    states = state or (STATES if error is None else ["buried"])
    choice = chosen(tube, all_tubes, job, states=states, error=error, older_than=older_than, count=count)
    act(server, choice, "deleted", dry_run=dry_run, json=json, asks=not yes)
