"""`tubeherd inspect`: the jobs of a tube, or all about one job."""

import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import islice
from shutil import get_terminal_size
from textwrap import wrap
from typing import TYPE_CHECKING, Annotated, Final

import typer

from tubeherd.commands.terminal import Server, answer_to, fail, failing_in_words, for_terminal, print_note, server_of
from tubeherd.exits import Exit
from tubeherd.formats.text import words_of
from tubeherd.queue.looking import STATES

if TYPE_CHECKING:
    from tubeherd.by_hand.looking.inspecting import Inspection
    from tubeherd.by_hand.looking.looked_jobs import InspectedJob

EXAMPLES: Final = (
    "tubeherd inspect mail",
    "tubeherd inspect mail --state delayed --count 5",
    "tubeherd inspect --job 4711",
    "tubeherd inspect mail --json | jq .jobs[].payload",
)
_WHEN: Final = "when the jobs were looked at"
_POINTER: Final = "--state {state} shows"


def inspect(
    tube: Annotated[str | None, typer.Argument(help="The tube")] = None,
    state: Annotated[
        str, typer.Option(help="ready, reserved, delayed or buried", metavar="<state>", autocompletion=words_of(STATES))
    ] = "buried",
    job: Annotated[int | None, typer.Option(metavar="<id>", help="Show all about this job")] = None,
    count: Annotated[
        int, typer.Option(min=1, max=10**12, metavar="<number>", help="How many jobs to show at a time")
    ] = 25,
    skip: Annotated[int, typer.Option(min=0, max=10**12, metavar="<number>", help="Leave out so many jobs first")] = 0,
    walk: Annotated[
        int, typer.Option(min=0, max=10**12, metavar="<number>", help="How many job ids to look at")
    ] = 100_000,
    json: Annotated[bool, typer.Option("--json", help="Print JSON")] = False,
    server: Server = None,
) -> None:
    """Show the jobs of a tube that are in one state, or all about one job.

    On a terminal, Enter shows the next jobs, and q ends.

    Nothing about the jobs changes: not their order, state or attempts.

    Buried jobs are found by their burial records, the newest first. To read
    the records reserves and releases the records, not the jobs.

    Other jobs are looked for among the job ids near those that are known, as
    many as --walk says, and come in no order.
    """
    if tube is not None and job is not None:
        fail(f"the id of a job is enough: tubeherd inspect --job {job}", Exit.USAGE)
    if tube is None and job is None:
        fail("name either a tube, or a job by --job: tubeherd inspect mail", Exit.USAGE)
    if state not in STATES:
        fail(f"--state: {state!r} is no state of a job: write {', '.join(STATES[:-1])} or {STATES[-1]}", Exit.USAGE)
    address = server_of(server)
    with failing_in_words(_WHEN):
        if job is not None:
            _print_job(address, job, json)
        elif tube is not None and json:
            _print_json(address, tube, state, count, skip, walk)
        elif tube is not None:
            _print_pages(address, tube, state, count, skip, walk)


def _print_job(server: str, job_id: int, json: bool) -> None:
    from pydantic_core import to_json

    from tubeherd.by_hand.looking.inspecting import inspect_job
    from tubeherd.by_hand.looking.job_view import as_json, everything

    job = inspect_job(server, job_id)
    if job is None:
        fail(f"there is no job {job_id}: it is done or deleted, or never was")
    if json:
        typer.echo(to_json(as_json(job), indent=2, inf_nan_mode="null"))
    else:
        typer.echo(for_terminal("\n".join(everything(job, datetime.now(UTC), get_terminal_size().columns))))


def _print_json(server: str, tube: str, state: str, count: int, skip: int, walk: int) -> None:
    from pydantic_core import to_json

    from tubeherd.by_hand.looking.inspecting import inspect as inspect_tube
    from tubeherd.by_hand.looking.job_view import as_json

    found = inspect_tube(server, tube, state, count=count, skip=skip, walk=walk)
    fields = found._asdict() | {"jobs": [as_json(job) for job in found.jobs]}
    typer.echo(to_json(fields, indent=2, inf_nan_mode="null"))
    if not found.counted:
        print_note(server, tube, [state], _POINTER)


def _print_pages(server: str, tube: str, state: str, count: int, skip: int, walk: int) -> None:
    from tubeherd.by_hand.looking.inspecting import inspecting

    with inspecting(server, tube, state, walk) as inspection:
        jobs, shown = inspection.jobs(skip), skip
        while page := list(islice(jobs, count)):
            shown += len(page)
            _print_page(page)
            if shown >= inspection.search.counted or len(page) < count or not _wants_more(shown, inspection):
                break
        for note in _notes(tube, state, shown, skip, shown < skip + count, inspection):
            typer.echo(for_terminal("\n".join(wrap(note, get_terminal_size().columns))))
    if not inspection.search.counted:
        print_note(server, tube, [state], _POINTER)


def _print_page(page: "list[InspectedJob]") -> None:
    from tubeherd.by_hand.looking.job_view import summary

    now, width = datetime.now(UTC), get_terminal_size().columns
    for job in page:
        typer.echo(for_terminal("\n".join(summary(job, now, width))))


def _wants_more(shown: int, inspection: "Inspection") -> bool:
    """Ask for the next page on a terminal; in a pipe there is none."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        return False
    answer = answer_to(f"{shown:,} of {inspection.search.counted:,}. Enter: more; q: end ", sys.stdout)
    return answer is not None and not answer.startswith("q")


def _notes(tube: str, state: str, shown: int, skip: int, complete: bool, inspection: "Inspection") -> Iterator[str]:
    search = inspection.search
    if not search.counted:
        yield f"No job of tube {tube} is {state}."
    elif complete and search.found < search.counted:
        yield (
            f"{search.found:,} of {search.counted:,} {state} jobs were found among {search.walked:,} job ids. "
            "A larger --walk finds more, unless the others have left the state."
        )
    elif 0 < shown == skip:
        yield f"No further job: {search.counted:,} of tube {tube} {'is' if search.counted == 1 else 'are'} {state}."
    elif shown < search.counted:
        after = f", after the first {skip:,}" if skip else ""
        yield f"{shown - skip:,} of {search.counted:,} {state} jobs{after}. --skip {shown} shows the next ones."
    if inspection.read_elsewhere:
        yield f"{inspection.read_elsewhere:,} burial records could not be seen, because somebody else is reading."
