"""`tubeherd run`: a worker."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final

import typer

from tubeherd.commands.terminal import fail, load
from tubeherd.exits import Exit
from tubeherd.logs import log
from tubeherd.options import takes_options
from tubeherd.settings import WorkerSettings
from tubeherd.sources import EXECUTORS_FOLDER, NO_SOURCES, Sources
from tubeherd.streams import streams

EXAMPLES: Final = (
    "tubeherd run mail.py",
    "tubeherd run . --concurrency 4 --retry-delays 10s,10m",
    "tubeherd run jobs/mail.py jobs.report --server queue:11300",
    "tubeherd run mail.py --reload",
    "tubeherd run mail.py --until-empty",
    "tubeherd run mail.py --pool workerpool.yaml",
)


@takes_options(WorkerSettings)
def run(
    what: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="FILE|FOLDER|MODULE",
            help="Where the executors are, such as mail.py, jobs.mail or . for the files of the current folder",
            show_default=False,
        ),
    ] = None,
    pool: Annotated[
        Path | None,
        typer.Option(
            metavar="<file>",
            help="Take tubes, limits, retries and variables from a WorkerPool, which is what a cluster would be given. "
            "Options and variables of yours win over it",
            show_default=False,
        ),
    ] = None,
    **options: str | bool | list[str] | None,
) -> None:
    """Run a worker: reserve jobs, execute them, delete, retry or bury them.

    Every option can be given as a variable too: TUBEHERD_MAX_JOBS for --max-jobs.

    Exit codes: 0 SIGTERM, Ctrl-C, a closed terminal, a limit, or nothing is left to do; 1 Abort, or a flush failed; 2
    wrong settings; 3 unusable executors.
    """
    ignored = _set_variables(pool) if pool is not None else []
    settings = load(WorkerSettings, options)
    if what and options["executors"] is not None:
        fail("name the executors either as arguments or with --executors, not both", Exit.USAGE)
    log.write_to(streams.keep())
    log.configure(settings.log_format, settings.log_level)
    try:
        sources = sources_of(what or (), settings)
    except ValueError as error:
        log.error(str(error))
        raise typer.Exit(Exit.EXECUTORS) from None
    for message in (*ignored, *WorkerSettings.misspelt(os.environ)):
        log.warning(message)
    from tubeherd.executors import ExecutorError
    from tubeherd.supervisor.health import CannotListen
    from tubeherd.supervisor.supervisor import Supervisor

    try:
        raise typer.Exit(Supervisor(settings, sources).run())
    except ExecutorError as error:
        log.error(str(error))
        raise typer.Exit(Exit.EXECUTORS) from None
    except CannotListen as error:
        fail(f"{WorkerSettings.named('health')}: {error}", Exit.USAGE)


def _set_variables(pool: Path) -> list[str]:
    """Set the variables that the file of a pool stands for; return messages about what it says in vain."""
    from tubeherd.starting.pool_file import WrongPool, read_pool

    try:
        read = read_pool(pool, os.environ)
    except WrongPool as error:
        fail(str(error), Exit.USAGE)
    os.environ.update(read.variables)
    return [f"pool {read.name}: {message}" for message in read.ignored]


def sources_of(what: Sequence[str], settings: WorkerSettings) -> Sources:
    """Return the modules that the arguments name, which win over a variable; raises WrongSource, a ValueError.

    Nothing is imported for a container.
    """
    needs_none = settings.executors is not None or settings.command or settings.http
    if not what and (needs_none or EXECUTORS_FOLDER.is_dir()):
        return NO_SOURCES
    from tubeherd.starting.arguments import find_sources

    return find_sources(what)
