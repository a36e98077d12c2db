"""The command `tubeherd` and its subcommands: `run` a worker, `schedule` jobs, and ask `why` jobs are buried."""

import os
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from shutil import get_terminal_size
from typing import TYPE_CHECKING, Annotated, NoReturn, TypeVar

import typer
from pydantic_core import to_json

from tubeherd.configuration import Settings, WrongSettings
from tubeherd.exits import Exit
from tubeherd.logs import log
from tubeherd.options import takes_options
from tubeherd.queue.connection import DEFAULT_PRIORITY, DEFAULT_TTR
from tubeherd.settings import ServerSettings, WorkerSettings
from tubeherd.streams import streams

if TYPE_CHECKING:  # imported only by the command that needs it
    from tubeherd.burials.record import Burials

Model = TypeVar("Model", bound=Settings)

app = typer.Typer(
    help="Workers for beanstalkd that do the whole job loop.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.callback()
def _app() -> None:
    """Make typer keep the subcommands, whatever their number."""


@app.command()
@takes_options(WorkerSettings)
def run(**options: str | bool | None) -> None:
    """Run a worker: reserve jobs, execute them, delete, retry or bury them.

    Every option can be given as a variable too: TUBEHERD_MAX_JOBS for --max-jobs.

    Exit codes: 0 SIGTERM, or a limit was reached; 1 Abort, or a flush failed; 2 wrong settings; 3 unusable executors.
    """
    settings = _load(WorkerSettings, options)
    log.write_to(streams.keep())
    log.configure(settings.log_format, settings.log_level)
    for message in WorkerSettings.misspelt(os.environ):
        log.warning(message)
    # Imported here because it takes long: help and errors about settings are shown without it.
    from tubeherd.supervisor.health import CannotListen
    from tubeherd.supervisor.supervisor import Supervisor

    try:
        raise typer.Exit(Supervisor(settings).run())
    except CannotListen as error:
        _fail(f"{WorkerSettings.named('health')}: {error}", Exit.USAGE)


@app.command()
@takes_options(ServerSettings)
def schedule(
    tube: Annotated[str, typer.Argument(help="The tube to put into")],
    payload: Annotated[str | None, typer.Argument(help="JSON; if left out, each line of stdin is a payload")] = None,
    delay: Annotated[str, typer.Option(help="Wait before the job is ready, like '10 minutes'")] = "0",
    priority: Annotated[int, typer.Option(help="0 is the most urgent")] = DEFAULT_PRIORITY,
    ttr: Annotated[
        str, typer.Option(help="How long a worker may hold the job without touching it")
    ] = f"{DEFAULT_TTR}s",
    **options: str | bool | None,
) -> None:
    """Put a job into a tube, or one for each line of stdin."""
    from tubeherd.manager import QueueManager
    from tubeherd.queue.answers import QueueUnavailable, RefusedError

    settings = _load(ServerSettings, {name: value for name, value in options.items() if value != ""})
    for message in WorkerSettings.misspelt(os.environ):
        typer.echo(message, err=True)
    count = 0
    try:
        with QueueManager(settings.server) as queue:
            for body in [_json(payload, "the payload")] if payload is not None else _lines():
                job = queue.put(tube, body, delay=delay, priority=priority, ttr=ttr)
                count += 1
    except RefusedError as error:
        _fail(f"beanstalkd refused job {count + 1}: {type(error).__name__}{_queued(count)}", 1)
    except (QueueUnavailable, ValueError) as error:
        _fail(f"{error}{_queued(count)}", 1)
    if payload is not None:
        typer.echo(f"job {job} put into tube {tube}")
    else:
        typer.echo(f"{count} jobs put into tube {tube}")


@app.command()
@takes_options(ServerSettings)
def why(
    tube: Annotated[str | None, typer.Argument(help="Only the jobs of this tube", metavar="TUBE")] = None,
    job: Annotated[int | None, typer.Option(min=0, metavar="<id>", help="Show the whole record of this job")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON", metavar=" ")] = False,
    **options: str | bool | None,
) -> None:
    """Show why jobs are buried: how many for which error and where in the code.

    This reads the records of the newest burials, which workers keep in the tube tubeherd.burials.
    """
    from tubeherd.manager import QueueManager
    from tubeherd.queue.answers import QueueUnavailable, RefusedError

    settings = _load(ServerSettings, {name: value for name, value in options.items() if value != ""})
    try:
        with QueueManager(settings.server) as queue:
            burials = queue.burials(tube)
    except RefusedError as error:
        _fail(f"beanstalkd answered {error} when the burial records were read", 1)
    except (QueueUnavailable, ValueError) as error:
        _fail(str(error), 1)
    typer.echo(_why(burials, json) if job is None else _why_job(burials, job, tube, json))


def _why(burials: "Burials", json: bool) -> bytes:
    from tubeherd.burials.record import as_json
    from tubeherd.burials.table import table

    if json:
        return to_json(as_json(burials), indent=2)
    return _for_terminal(table(burials, datetime.now(UTC), get_terminal_size().columns))


def _why_job(burials: "Burials", job: int, tube: str | None, json: bool) -> bytes:
    from tubeherd.burials.table import whole

    record = next((record for record in burials.records if record.job == job), None)
    if record is None:
        where, there = (f" in tube {tube}", " there") if tube is not None else ("", "")
        others = ", or its record is being read by others" if burials.read_elsewhere else ""
        _fail(
            f"no record says why job {job} is buried{where}: it is not buried{there}, or was buried without a "
            f"record{others}",
            1,
        )
    return to_json(record._asdict(), indent=2) if json else _for_terminal(whole(record, datetime.now(UTC)))


def _for_terminal(text: str) -> bytes:
    """Return a text in the encoding of standard output, with ? for each character that the encoding lacks."""
    return text.encode(sys.stdout.encoding or "utf-8", errors="replace")


def _lines() -> Iterator[bytes]:
    for number, line in enumerate(sys.stdin.buffer, 1):
        if text := line.strip():
            yield _json(text, f"line {number}")


def _json(text: str | bytes, what: str) -> bytes:
    from pydantic_core import from_json

    body = text.encode(errors="surrogateescape") if isinstance(text, str) else text
    try:
        from_json(body, allow_inf_nan=False)
    except ValueError as error:
        raise ValueError(f"{what} is no JSON: {error}") from error
    return body


def _queued(count: int) -> str:
    return f"; {count} jobs before it were put" if count else ""


def _load(model: type[Model], options: dict[str, str | bool | None]) -> Model:
    try:
        return model.load(os.environ, {name: value for name, value in options.items() if value is not None})
    except WrongSettings as error:
        _fail(str(error), Exit.USAGE)


def _fail(message: str, code: int) -> NoReturn:
    typer.echo(message, err=True)
    raise typer.Exit(code)


def main() -> None:
    """Run the command `tubeherd`."""
    streams.open_closed()
    app()
