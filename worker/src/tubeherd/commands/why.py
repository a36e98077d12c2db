"""`tubeherd why`: why jobs are buried."""

from datetime import UTC, datetime
from shutil import get_terminal_size
from typing import TYPE_CHECKING, Annotated, Final

import typer

from tubeherd.commands.terminal import Server, fail, failing_in_words, for_terminal, print_note, server_of
from tubeherd.exits import Exit

if TYPE_CHECKING:
    from tubeherd.burials.record import Burials

EXAMPLES: Final = ("tubeherd why", "tubeherd why mail", "tubeherd why --job 4711")


def why(
    tube: Annotated[str | None, typer.Argument(help="Only the jobs of this tube")] = None,
    job: Annotated[int | None, typer.Option(min=1, metavar="<id>", help="Show the whole record of this job")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON")] = False,
    server: Server = None,
) -> None:
    """Show why jobs are buried: how many for which error and where in the code.

    This reads the records of the newest burials, which workers keep in the tube tubeherd.burials.
    """
    from tubeherd.burials.reader import read_burials

    if tube is not None and job is not None:
        fail(f"the id of a job is enough: tubeherd why --job {job}", Exit.USAGE)
    address = server_of(server)
    with failing_in_words("when the burial records were read"):
        burials = read_burials(address, tube)
    typer.echo(_groups(burials, tube, json) if job is None else _record(burials, job, json))
    if tube is not None and not burials.records:
        print_note(address, tube, ["buried"])


def _groups(burials: "Burials", tube: str | None, json: bool) -> bytes:
    from pydantic_core import to_json

    from tubeherd.burials.record import as_json
    from tubeherd.burials.table import table

    if json:
        return to_json(as_json(burials), indent=2)
    return for_terminal(table(burials, datetime.now(UTC), get_terminal_size().columns, tube))


def _record(burials: "Burials", job: int, json: bool) -> bytes:
    from pydantic_core import to_json

    from tubeherd.burials.table import whole

    record = next((record for record in burials.records if record.job == job), None)
    if record is None:
        others = ", or its record is being read by others" if burials.read_elsewhere else ""
        fail(f"no record says why job {job} is buried: it is not buried, or was buried without a record{others}")
    return to_json(record._asdict(), indent=2) if json else for_terminal(whole(record, datetime.now(UTC)))
