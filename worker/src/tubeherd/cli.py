"""The command `tubeherd`."""

import sys
from collections.abc import Iterator
from typing import Annotated, Any, NoReturn, TypeVar

import typer
from pydantic import ValidationError

from tubeherd.exits import Exit
from tubeherd.logs import log
from tubeherd.queue.connection import DEFAULT_PRIORITY, DEFAULT_TTR
from tubeherd.queue.server import DEFAULT_SERVER
from tubeherd.settings import ServerSettings, WorkerSettings, explain

Model = TypeVar("Model", bound=ServerSettings)

app = typer.Typer(
    help="Workers for beanstalkd that do the whole job loop.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Server = Annotated[str | None, typer.Option(help=f"beanstalkd's host:port (default: {DEFAULT_SERVER})")]
LogFormat = Annotated[str | None, typer.Option(help="auto (text on a terminal), text or json")]
LogLevel = Annotated[str | None, typer.Option(help="debug, info, warning or error")]


@app.callback()
def _app() -> None:
    """Keep `tubeherd` a command with subcommands."""


@app.command()
def run(
    executors: Annotated[str | None, typer.Option(help="Modules to import (default: all in /app/executors)")] = None,
    include: Annotated[str | None, typer.Option(help="Tubes to watch, with commas (default: all executors')")] = None,
    exclude: Annotated[str | None, typer.Option(help="Tubes not to watch, with commas")] = None,
    concurrency: Annotated[int | None, typer.Option(help="Jobs to run at a time, a process each (default: 1)")] = None,
    max_jobs: Annotated[int | None, typer.Option(help="Recycle a slot after this many jobs")] = None,
    max_time: Annotated[str | None, typer.Option(help="Recycle a slot after this time, like 1h")] = None,
    max_memory: Annotated[str | None, typer.Option(help="What all slots may use together, like 256Mi")] = None,
    on_limit: Annotated[str | None, typer.Option(help="At max-…: recycle the slot, or stop with exit code 0")] = None,
    job_timeout: Annotated[str | None, typer.Option(help="How long a job may run (default: its own TTR)")] = None,
    retry_delays: Annotated[
        str | None, typer.Option(help="Delays between attempts, like 10s,10m, or none (default: 10m)")
    ] = None,
    max_lost_deliveries: Annotated[
        int | None, typer.Option(help="Bury a job lost this often; 0: never (default: 3)")
    ] = None,
    batch_size: Annotated[int | None, typer.Option(help="Jobs between two worker.flush events (default: 15)")] = None,
    ack_after_flush: Annotated[
        bool | None, typer.Option("--ack-after-flush", help="Delete jobs only after worker.flush listeners returned")
    ] = None,
    async_concurrency: Annotated[
        int | None, typer.Option(help="Coroutines that each process runs at a time (default: 1)")
    ] = None,
    grace_period: Annotated[
        str | None, typer.Option(help="How long jobs may finish after SIGTERM (default: 70s)")
    ] = None,
    health: Annotated[
        str | None, typer.Option(help="host:port to serve /healthz, /readyz and /metrics on (default: off)")
    ] = None,
    server: Server = None,
    log_format: LogFormat = None,
    log_level: LogLevel = None,
) -> None:
    """Run a worker: reserve jobs, execute them, delete, retry or bury them.

    Every option can be given as a variable too: TUBEHERD_MAX_JOBS for --max-jobs.

    Exit codes: 0 stopped as asked, 1 a job aborted the worker or a flush failed, 2 settings wrong, 3 bad executors.
    """
    settings = _settings(WorkerSettings, {name: value for name, value in locals().items() if value is not None})
    log.configure(settings.log_format, settings.log_level)
    # Imported late, so that help and mistakes answer at once.
    from tubeherd.supervisor.health import CannotListen
    from tubeherd.supervisor.supervisor import Supervisor

    try:
        raise typer.Exit(Supervisor(settings).run())
    except CannotListen as error:
        _fail(f"--health (TUBEHERD_HEALTH): {error}", Exit.USAGE)


@app.command()
def schedule(
    tube: Annotated[str, typer.Argument(help="The tube to put into")],
    payload: Annotated[str | None, typer.Argument(help="JSON; without it, one JSON text a line on stdin")] = None,
    delay: Annotated[str, typer.Option(help="Wait before the job is ready, like '10 minutes'")] = "0",
    priority: Annotated[int, typer.Option(help="0 is the most urgent")] = DEFAULT_PRIORITY,
    ttr: Annotated[
        str, typer.Option(help="How long a worker may hold the job without a sign of life")
    ] = f"{DEFAULT_TTR}s",
    server: Server = None,
) -> None:
    """Put a job into a tube, or one for each line of stdin."""
    from tubeherd.manager import QueueManager
    from tubeherd.queue.answers import QueueUnavailable, RefusedError

    settings = _settings(ServerSettings, {"server": server} if server else {})
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


def _lines() -> Iterator[bytes]:
    for number, line in enumerate(sys.stdin.buffer, 1):
        if text := line.strip():
            yield _json(text, f"line {number}")


def _json(text: str | bytes, what: str) -> bytes:
    from pydantic_core import from_json

    body = text.encode(errors="surrogateescape") if isinstance(text, str) else text
    try:
        from_json(body)
    except ValueError as error:
        raise ValueError(f"{what} is no JSON: {error}") from error
    return body


def _queued(count: int) -> str:
    return f"; {count} jobs before it were put" if count else ""


def _settings(model: type[Model], given: dict[str, Any]) -> Model:
    try:
        return model(**given)
    except ValidationError as error:
        _fail(explain(error), Exit.USAGE)


def _fail(message: str, code: int) -> NoReturn:
    typer.echo(message, err=True)
    raise typer.Exit(code)


def main() -> None:
    """Run the command `tubeherd`."""
    app()
