"""Puts into words and into JSON what was kicked or deleted by hand. Pure."""

from collections.abc import Iterator
from typing import Any

from tubeherd.by_hand.changing.acted import Acted, TubeChange, number
from tubeherd.by_hand.changing.choice import Choice
from tubeherd.formats.text import some_of
from tubeherd.queue.answers import TubeCounters

_STATES = ("buried", "ready", "delayed", "reserved")


def question(choice: Choice, jobs: int) -> str:
    """Return what is asked before so many jobs are deleted."""
    if choice.jobs:
        what = f"{number(jobs, 'job')}"
    else:
        where = "all tubes together" if choice.tube is None else f"tube {choice.tube}"
        what = f"{number(jobs, 'job')} of {where} ({', '.join(choice.states)})"
    return f"Delete {what}? Nothing brings deleted jobs back. [y/N] "


def lines(acted: Acted) -> Iterator[str]:
    """Yield what was done, tube by tube, and then in all."""
    would_be = "would be " if acted.dry_run else ""
    for change in acted.tubes:
        yield f"{change.name}: {change.done:,} {would_be}{acted.deed} ({_numbers(change)})"
    if len(acted.tubes) != 1:
        yield f"{acted.in_words}{f' in {len(acted.tubes):,} tubes' if acted.tubes else ''}"
    if acted.missed:
        yield f"{number(acted.missed, 'job')} left alone, because somebody else had changed them meanwhile"
    if acted.buried_again:
        yield f"{acted.buried_again:,} of them came back buried meanwhile"


def troubles(acted: Acted, choice: Choice) -> Iterator[str]:
    """Yield why not all that was asked for was done."""
    for job, why in acted.refused:
        yield f"job {job} is left alone: {why}"
    where = "" if choice.tube is None else f" of tube {choice.tube}"
    if acted.errors is not None:
        are = f"known errors: {some_of(acted.errors)}" if acted.errors else "no buried job has a record of its error"
        yield f"no buried job{where} has the error {choice.error}; {are}"
    if acted.unseen:
        yield (
            f"{number(acted.unseen, 'burial record')} could not be read, because somebody else is reading them: "
            "try again in a moment"
        )
    if acted.unfound:
        yield (
            f"{number(acted.unfound, 'job')}{where} could not be looked at, because their ids are too far from the "
            "others: run the same command again"
        )
    if acted.stopped == "buried again":
        yield (
            f"stopped, because most of the kicked jobs come back buried ({acted.buried_again:,} did so far): "
            f"tubeherd why{'' if choice.tube is None else ' ' + choice.tube} shows the reasons"
        )


def as_json(acted: Acted, error: str | None) -> dict[str, Any]:
    """Return what was done as what JSON can hold, with the error that broke it off."""
    return {
        "deed": acted.deed,
        "dry_run": acted.dry_run,
        **_done(acted.done, acted.dry_run),
        "of": acted.of,
        "unsure": acted.unsure,
        "missed": acted.missed,
        "buried_again": acted.buried_again,
        "stopped": acted.stopped,
        "tubes": [
            {
                "tube": change.name,
                **_done(change.done, acted.dry_run),
                "before": _counts(change.before),
                "after": None if change.after is None else _counts(change.after),
            }
            for change in acted.tubes
        ],
        "refused": [refused._asdict() for refused in acted.refused],
        "errors": acted.errors,
        "unseen": acted.unseen,
        "unfound": acted.unfound,
        "error": error,
    }


def _done(jobs: int, dry_run: bool) -> dict[str, int | None]:
    """Return what was done, and apart from it what would be, so that no program takes a dry run for a deed."""
    return {"done": 0, "would": jobs} if dry_run else {"done": jobs, "would": None}


def _numbers(change: TubeChange) -> str:
    before, after = _counts(change.before), None if change.after is None else _counts(change.after)
    if after is None or after == before:
        return ", ".join(f"{state} {count:,}" for state, count in before.items())
    changed = (f"{state} {count:,} -> {after[state]:,}" for state, count in before.items() if count != after[state])
    return ", ".join(changed)


def _counts(tube: TubeCounters) -> dict[str, int]:
    return {state: int(getattr(tube, state)) for state in _STATES}
