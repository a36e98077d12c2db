"""What the commands that kick and delete jobs do alike: their options, the question before, and what they print."""

import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, NoReturn, get_args

import typer

from tubeherd.commands.progress import ProgressBar
from tubeherd.commands.stopping import Stopping
from tubeherd.commands.terminal import answer_to, fail, failing_in_words, for_terminal, print_note, server_of
from tubeherd.exits import Exit
from tubeherd.formats.columns import plain
from tubeherd.formats.text import words_of
from tubeherd.queue.changing import State

if TYPE_CHECKING:
    from tubeherd.by_hand.changing.acted import Acted, Deed
    from tubeherd.by_hand.changing.choice import Choice

Tube = Annotated[str | None, typer.Argument(help="The tube whose jobs are meant")]
AllTubes = Annotated[bool, typer.Option("--all", help="The jobs of all tubes are meant")]
Jobs = Annotated[
    list[int] | None, typer.Option("--job", help="The job with this id is meant; can be repeated", metavar="<id>")
]
Error = Annotated[
    str | None,
    typer.Option(help="Only jobs that were buried because of this error, as tubeherd why names it", metavar="<error>"),
]
OlderThan = Annotated[
    str | None, typer.Option(help="Only jobs that were put longer ago than this, like 1h", metavar="<duration>")
]
Count = Annotated[int | None, typer.Option(help="At most so many jobs", metavar="<number>")]
States = Annotated[
    list[str] | None,
    typer.Option(
        "--state",
        help="Only jobs in this state: ready, delayed or buried; can be repeated",
        metavar="<state>",
        autocompletion=words_of(get_args(State)),
    ),
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before jobs are deleted")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Change nothing, print how many jobs are meant")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON")]


class _Ended(NamedTuple):
    """How the command ended."""

    acted: "Acted"
    trouble: str | None = None
    """What broke it off."""
    code: int = Exit.OK


def chosen(tube: str | None, all_tubes: bool, jobs: list[int] | None, **others: Any) -> "Choice":
    """Return the choice that the options make; ends the command if they make no sense."""
    from tubeherd.by_hand.changing.choice import choose

    if tube is not None and jobs and not all_tubes:
        fail(f"the ids of jobs are enough: leave out the tube {tube}", Exit.USAGE)
    if (tube is not None) + all_tubes + bool(jobs) != 1:
        fail("say which jobs are meant, by one of these alone: TUBE, --all or --job", Exit.USAGE)
    try:
        return choose(tube, all_tubes=all_tubes, jobs=jobs or None, **others)
    except ValueError as error:
        fail(str(error), Exit.USAGE)


def act(
    server: str | None,
    choice: "Choice",
    deed: "Deed",
    *,
    dry_run: bool,
    json: bool,
    rate: float | None = None,
    asks: bool = False,
    pointer: str | None = None,
) -> NoReturn:
    """Kick or delete the chosen jobs, print what was done, and end the command. If `asks`, a person must agree.

    `pointer` says how the command gets at jobs in another state, as `note_on_tube` wants it.
    """
    address = server_of(server)
    end = partial(_end, address, choice, json, pointer)
    most = None
    if asks and not dry_run:
        most = _agreed(address, choice, deed, end)
    end(_carried_out(address, choice, deed, rate=rate, dry_run=dry_run, most=most))


def _agreed(server: str, choice: "Choice", deed: "Deed", end: Callable[[_Ended], NoReturn]) -> int:
    """Return how many jobs may be changed, after a person has agreed; otherwise end the command."""
    from tubeherd.by_hand.changing.report import question

    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        fail(
            "this deletes jobs, and there is no terminal to ask on: add --yes, or --dry-run to see how many",
            Exit.USAGE,
        )
    planned = _carried_out(server, choice, deed, dry_run=True)
    if planned.code or not planned.acted.done:
        end(planned._replace(acted=replace(planned.acted, dry_run=False)))
    try:
        answer = answer_to(question(choice, planned.acted.done), sys.stderr)
    except KeyboardInterrupt:
        fail("\nnothing was deleted", Exit.INTERRUPTED)
    if answer not in ("y", "yes"):
        fail("nothing was deleted")
    return planned.acted.done


def _carried_out(server: str, choice: "Choice", deed: "Deed", **how: Any) -> _Ended:
    """Kick, delete or count jobs until that is done, or until a signal asks to stop."""
    from tubeherd.by_hand.changing.acted import BrokenOff
    from tubeherd.by_hand.changing.acting import Acting

    counting, bar = ProgressBar("tubes counted"), ProgressBar(deed)

    def show_count(counted: int, of: int) -> None:
        if counted == of:
            counting.end()
        else:
            counting.show(counted, of)

    def show(acted: "Acted") -> None:
        bar.show(acted.done, acted.of, f", {acted.buried_again:,} buried again" if acted.buried_again else "")

    with Stopping() as stopping, failing_in_words("at once"):
        acting = Acting(server, choice, deed, stop=stopping.is_asked, show=show, show_count=show_count, **how)
        try:
            acted = acting.run()
        except BrokenOff as error:
            return _Ended(error.acted, str(error), Exit.FAILED)
        except KeyboardInterrupt:  # the second signal, as beanstalkd does not answer
            acted = acting.acted()
            return _Ended(acted, f"stopped without an answer of beanstalkd: {acted.in_words}", stopping.exit_code)
        finally:
            counting.end()
            bar.end()
        if acted.stopped == "asked":
            return _Ended(acted, f"stopped by {stopping.name}: {acted.in_words}", stopping.exit_code)
        return _Ended(acted)


def _end(server: str, choice: "Choice", json: bool, pointer: str | None, ended: _Ended) -> NoReturn:
    """Print what was done, and end the command."""
    from pydantic_core import to_json

    from tubeherd.by_hand.changing.report import as_json, lines, troubles

    acted, trouble, code = ended
    if trouble is not None and not (acted.done or acted.unsure):
        fail(plain(trouble), code)
    if json:
        typer.echo(to_json(as_json(acted, trouble), indent=2))
    else:
        typer.echo(for_terminal("\n".join(lines(acted))))
    if choice.tube is not None and not acted.done:
        print_note(server, choice.tube, choice.states, pointer)
    for sentence in [*troubles(acted, choice), *([] if trouble is None else [trouble])]:
        typer.echo(plain(sentence), err=True)  # names of errors are whatever a record says
        code = code or Exit.FAILED
    raise typer.Exit(code)
