"""`tubeherd run`: a worker."""

import os
from typing import Final

import typer

from tubeherd.commands.terminal import fail, load
from tubeherd.exits import Exit
from tubeherd.logs import log
from tubeherd.options import takes_options
from tubeherd.settings import WorkerSettings
from tubeherd.streams import streams

EXAMPLES: Final = (
    "tubeherd run --executors mail",
    "tubeherd run --executors mail --concurrency 4 --retry-delays 10s,10m",
)


@takes_options(WorkerSettings)
def run(**options: str | bool | None) -> None:
    """Run a worker: reserve jobs, execute them, delete, retry or bury them.

    Every option can be given as a variable too: TUBEHERD_MAX_JOBS for --max-jobs.

    Exit codes: 0 SIGTERM, or a limit was reached; 1 Abort, or a flush failed; 2 wrong settings; 3 unusable executors.
    """
    settings = load(WorkerSettings, options)
    log.write_to(streams.keep())
    log.configure(settings.log_format, settings.log_level)
    for message in WorkerSettings.misspelt(os.environ):
        log.warning(message)
    from tubeherd.supervisor.health import CannotListen
    from tubeherd.supervisor.supervisor import Supervisor

    try:
        raise typer.Exit(Supervisor(settings).run())
    except CannotListen as error:
        fail(f"{WorkerSettings.named('health')}: {error}", Exit.USAGE)
