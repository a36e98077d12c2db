"""`tubeherd clear`: empty tubes."""

from typing import Any, Final

from tubeherd.commands.deleting import delete_chosen, takes_what_is_deleted

EXAMPLES: Final = (
    "tubeherd clear mail",
    "tubeherd clear mail --state delayed --state ready --yes",
    "tubeherd clear --all --dry-run",
)


@takes_what_is_deleted
def clear(**options: Any) -> None:
    """Delete all jobs of a tube that nobody holds: the ready, delayed and buried ones. Asks before.

    A job that a worker has reserved is left alone, and jobs that are put meanwhile are not waited for. With --error,
    only buried jobs are deleted. Without a terminal to ask on, nothing is deleted unless --yes is given.
    """
    from tubeherd.by_hand.changing.choice import STATES

    delete_chosen(options, STATES if options["error"] is None else ["buried"])
