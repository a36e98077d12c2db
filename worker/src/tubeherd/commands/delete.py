"""`tubeherd delete`: delete jobs, if nothing else is said only buried ones."""

from typing import Any, Final

from tubeherd.commands.deleting import delete_chosen, takes_what_is_deleted

EXAMPLES: Final = (
    "tubeherd delete mail --error KeyError --dry-run",
    "tubeherd delete mail --older-than 30d --yes",
    "tubeherd delete --job 4711",
)


@takes_what_is_deleted
def delete(**options: Any) -> None:
    """Delete buried jobs, or those in another --state; with --job in any state but reserved. Asks before.

    A job that a worker has reserved is left alone. Without a terminal to ask on, nothing is deleted unless --yes is
    given.
    """
    from tubeherd.by_hand.changing.choice import STATES

    delete_chosen(options, STATES if options["job"] else ["buried"], pointer="--state {state} deletes")
