"""`tubeherd schedule`: put jobs into a tube."""

import os
import sys
import time
from typing import TYPE_CHECKING, Annotated, Final

import typer

from tubeherd.commands.terminal import (
    Server,
    fail,
    failing_in_words,
    print_error,
    print_last,
    server_of,
    warn_of_misspelt,
)
from tubeherd.exits import Exit
from tubeherd.queue.answers import QueueUnavailable
from tubeherd.queue.connection import DEFAULT_PRIORITY, DEFAULT_TTR

if TYPE_CHECKING:
    from tubeherd.by_hand.putting.scheduling import Schedule

EXAMPLES: Final = (
    'tubeherd schedule mail \'{"to": "ann@example.com"}\'',
    "tubeherd schedule mail '{}' --delay '10 minutes'",
    "tubeherd schedule mail < mails.jsonl",
    "tubeherd schedule mail --file mails.jsonl --dry-run",
)


def schedule(
    tube: Annotated[str, typer.Argument(help="The tube to put into")],
    payload: Annotated[
        str | None, typer.Argument(help="JSON; if left out, each line of stdin is a payload", show_default=False)
    ] = None,
    file: Annotated[
        str | None, typer.Option(help="Put a job for each line of this file; - is stdin", metavar="<path>")
    ] = None,
    skip: Annotated[int, typer.Option(min=0, metavar="<lines>", help="Leave out so many lines at the beginning")] = 0,
    delay: Annotated[
        str, typer.Option(help="Wait before the job is ready, like '10 minutes'", metavar="<duration>")
    ] = "0",
    priority: Annotated[int, typer.Option(help="0 is the most urgent", metavar="<number>")] = DEFAULT_PRIORITY,
    ttr: Annotated[
        str, typer.Option(help="How long a worker may hold the job without touching it", metavar="<duration>")
    ] = f"{DEFAULT_TTR}s",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check everything, put nothing")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON")] = False,
    server: Server = None,
) -> None:
    """Put a job into a tube, or one for each line of a file or of stdin.

    If it is stopped, it prints how many jobs were put, and the --skip with which to go on.
    """
    from tubeherd.by_hand.putting.lines import checked_json
    from tubeherd.by_hand.putting.scheduling import Schedule

    address = server_of(server)
    if payload is not None and (file is not None or skip):
        fail("give either a payload or lines, to which alone --file and --skip belong", Exit.USAGE)
    warn_of_misspelt()
    fd = _open(file)
    if payload is None and os.isatty(fd):
        typer.echo("Type a payload as JSON on each line; Ctrl-D ends, Ctrl-C stops.", err=True)
    with failing_in_words("when jobs were to be put"):
        body = None if payload is None else checked_json(payload.encode(errors="surrogateescape"), "the payload")
        made = Schedule(address, tube, delay=delay, priority=priority, ttr=ttr, skip=skip, dry_run=dry_run)
    if made.warning is not None:
        print_error(f"warning: {made.warning}")
    stopped, code = _put(made, body, fd)
    if json:
        from pydantic_core import to_json

        print_last(to_json(made.as_json(stopped), indent=2).decode())
    elif stopped is None:
        print_last(made.done())
    if stopped is not None:
        fail(f"{stopped}; {made.rest()}", code)


def _put(made: "Schedule", body: bytes | None, fd: int) -> tuple[str | None, int]:
    """Put the jobs; return what stopped that, or None, and the exit code."""
    from tubeherd.by_hand.putting.lines import Stopped
    from tubeherd.commands.progress import ProgressBar
    from tubeherd.commands.stopping import Stopping

    size = os.fstat(fd).st_size
    began = time.monotonic()
    bar = ProgressBar("jobs put", hidden=body is None and os.isatty(fd))

    def show(read: int) -> None:
        rate = made.put / max(0.001, time.monotonic() - began)
        bar.show(made.put, None, f", {rate:,.0f}/s", share=read / size if size else None)

    with Stopping() as stopping:
        try:
            if body is not None:
                made.put_one(body)
            else:
                made.put_lines(fd, stopping.fd, show)
        except (Stopped, KeyboardInterrupt):
            return f"stopped by {stopping.name}", stopping.exit_code
        except (QueueUnavailable, ValueError) as error:
            return str(error), Exit.FAILED
        finally:
            bar.end()
    return made.refused(), Exit.FAILED


def _open(file: str | None) -> int:
    """Return a descriptor of the file, or of standard input."""
    if file is None or file == "-":
        return sys.stdin.fileno()
    try:
        return os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        fail(f"--file {file}: {getattr(error, 'strerror', None) or error}", Exit.USAGE)
