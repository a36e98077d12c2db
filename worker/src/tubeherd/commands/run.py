"""`tubeherd run`: a worker."""

import os
from collections.abc import Sequence
from typing import Annotated, Final

import typer

from tubeherd.commands.terminal import fail, load
from tubeherd.exits import Exit
from tubeherd.logs import log
from tubeherd.options import takes_options
from tubeherd.settings import WorkerSettings
from tubeherd.sources import NO_SOURCES, Sources
from tubeherd.streams import streams

EXAMPLES: Final = (
    "tubeherd run mail.py",
    "tubeherd run . --concurrency 4 --retry-delays 10s,10m",
    "tubeherd run jobs/mail.py jobs.report --server queue:11300",
)


@takes_options(WorkerSettings)
def run(
    what: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[FILE|FOLDER|MODULE]...",
            help="Where the executors are, such as mail.py, jobs.mail or . for the files of the current folder",
            show_default=False,
        ),
    ] = None,
    **options: str | bool | None,
) -> None:
    """Run a worker: reserve jobs, execute them, delete, retry or bury them.

    Every option can be given as a variable too: TUBEHERD_MAX_JOBS for --max-jobs.

    Exit codes: 0 SIGTERM, or a limit was reached; 1 Abort, or a flush failed; 2 wrong settings; 3 unusable executors.
    """
    settings = load(WorkerSettings, options)
    if what and options["executors"] is not None:
        fail("name the executors either as arguments or with --executors, not both", Exit.USAGE)
    log.write_to(streams.keep())
    log.configure(settings.log_format, settings.log_level)
    sources = _sources(what or (), settings)
    for message in WorkerSettings.misspelt(os.environ):
        log.warning(message)
    from tubeherd.supervisor.health import CannotListen
    from tubeherd.supervisor.supervisor import Supervisor

    try:
        raise typer.Exit(Supervisor(settings, sources).run())
    except CannotListen as error:
        fail(f"{WorkerSettings.named('health')}: {error}", Exit.USAGE)


def _sources(what: Sequence[str], settings: WorkerSettings) -> Sources:
    """Return the modules that the arguments name, which win over a variable. Nothing is imported for a container."""
    if not what and (settings.executors is not None or os.path.isdir("/app/executors")):
        return NO_SOURCES
    from tubeherd.starting.arguments import WrongSource, find_sources

    try:
        return find_sources(what)
    except WrongSource as error:
        log.error(str(error))
        raise typer.Exit(Exit.EXECUTORS) from None
