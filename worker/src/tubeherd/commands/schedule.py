"""`tubeherd schedule`: put jobs into a tube."""

import os
import sys
from collections.abc import Iterator
from typing import Annotated, Final

import typer

from tubeherd.commands.terminal import fail, load
from tubeherd.options import takes_options
from tubeherd.queue.connection import DEFAULT_PRIORITY, DEFAULT_TTR
from tubeherd.settings import ServerSettings, WorkerSettings

EXAMPLES: Final = (
    'tubeherd schedule mail \'{"to": "ann@example.com"}\'',
    "tubeherd schedule mail '{}' --delay '10 minutes'",
    "tubeherd schedule mail < mails.jsonl",
)


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

    settings = load(ServerSettings, {name: value for name, value in options.items() if value != ""})
    for message in WorkerSettings.misspelt(os.environ):
        typer.echo(message, err=True)
    count = 0
    try:
        with QueueManager(settings.server) as queue:
            for body in [_json(payload, "the payload")] if payload is not None else _lines():
                job = queue.put(tube, body, delay=delay, priority=priority, ttr=ttr)
                count += 1
    except RefusedError as error:
        fail(f"beanstalkd refused job {count + 1}: {type(error).__name__}{_queued(count)}")
    except (QueueUnavailable, ValueError) as error:
        fail(f"{error}{_queued(count)}")
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
        from_json(body, allow_inf_nan=False)
    except ValueError as error:
        raise ValueError(f"{what} is no JSON: {error}") from error
    return body


def _queued(count: int) -> str:
    return f"; {count} jobs before it were put" if count else ""
