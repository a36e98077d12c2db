"""Sorts records that were taken out of their tube: those of jobs that are buried, and those that may go."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from tubeherd.burials.record import BurialRecord, decode
from tubeherd.queue.bulk import JobState, Taken

StatesOf = Callable[[Sequence[int]], Iterable[JobState | None]]
"""Returns, for the ids of jobs, the state of each; None for a job that does not exist."""


class Sorted(NamedTuple):
    """Records by what is to be done with them."""

    buried: dict[int, BurialRecord]
    """By its id, the newest record of each buried job, the oldest first."""
    kept: list[int]
    """The ids of records that are to be kept and not shown, as their jobs are reserved; and of what is no record."""
    stale: list[int]
    """The ids of records whose job is buried no longer, or was buried again later."""


def decoded(taken: Iterable[Taken]) -> dict[int, BurialRecord | None]:
    """Return records that were taken out, by their ids; None for what is no record."""
    return {one.id: decode(one.body) for one in taken}


def sort_out(records: Mapping[int, BurialRecord | None], states_of: StatesOf) -> Sorted:
    """Sort records by the states of their jobs.

    The record of a reserved job is kept: its worker may just have put the record, and be about to bury the job.
    """
    newest = {record.job: record_id for record_id, record in sorted(records.items()) if record}
    states = dict(zip(newest, states_of(list(newest)), strict=True))
    found = Sorted({}, [], [])
    for record_id, record in sorted(records.items()):
        state = states[record.job] if record else None
        if record is None:
            found.kept.append(record_id)
        elif newest[record.job] != record_id or state is None or state.tube != record.tube:
            found.stale.append(record_id)
        elif state.state == "buried":
            found.buried[record_id] = record
        elif state.state == "reserved":
            found.kept.append(record_id)
        else:
            found.stale.append(record_id)
    return found
