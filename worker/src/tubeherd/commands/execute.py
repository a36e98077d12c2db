"""`tubeherd execute`: run one payload without a queue."""

import logging
import sys
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from tubeherd.commands.run import sources_of
from tubeherd.commands.terminal import fail, for_terminal, load
from tubeherd.exits import Exit
from tubeherd.formats.columns import plain
from tubeherd.options import takes_options
from tubeherd.settings import WorkerSettings

if TYPE_CHECKING:
    from tubeherd.by_hand.executing import JobRun

EXAMPLES: Final = (
    'tubeherd execute mail \'{"to": "ann@example.com"}\' mail.py',
    "tubeherd execute mail - mail.py --attempt 2 < mail.json",
    "tubeherd execute mail '{}' --command 'mail=php mail.php'",
)
_EXITS: Final = {
    "done": Exit.OK,
    "failed": Exit.FAILED,
    "aborted": Exit.FAILED,
    "rescheduled": Exit.RESCHEDULED,
    "rejected": Exit.REJECTED,
    "invalid": Exit.REJECTED,
}
_RESULT_MAX: Final = 2000


@takes_options(WorkerSettings, "executors", "command", "http", "http_ca", "reschedule_delay", "retry_delays")
def execute(
    tube: Annotated[str, typer.Argument(help="The tube whose executor is to run")],
    payload: Annotated[str, typer.Argument(help="JSON, or what the executor takes as bytes; - reads it from stdin")],
    what: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="FILE|FOLDER|MODULE", help="Where the executors are, as for tubeherd run", show_default=False
        ),
    ] = None,
    attempt: Annotated[int, typer.Option(min=1, metavar="<number>", help="2 as if the job had failed once")] = 1,
    json: Annotated[bool, typer.Option("--json", help="Print JSON")] = False,
    **options: str | bool | list[str] | None,
) -> None:
    """Run one payload as a worker would, with its executor and all listeners, but without a queue.

    It prints what would become of the job, and a traceback if it fails.

    No time limit holds: Ctrl-C ends it.
    """
    if what and options["executors"] is not None:
        fail("name the executors either as arguments or with --executors, not both", Exit.USAGE)
    settings = load(WorkerSettings, options)
    try:
        sources = sources_of(what or (), settings)
    except ValueError as error:
        fail(str(error), Exit.EXECUTORS)
    from tubeherd.by_hand.executing import execute as execute_payload
    from tubeherd.executors import ExecutorError
    from tubeherd.processing import discovery

    body = sys.stdin.buffer.read() if payload == "-" else payload.encode(errors="surrogateescape")
    try:
        found = discovery.load(settings.executors, sources=sources, built_in=discovery.built_in(settings))
        # Nothing happens here if the modules have configured `logging` themselves.
        logging.basicConfig(level=settings.log_level.upper(), format="%(levelname)s %(name)s: %(message)s")
        run = execute_payload(found, tube, body, attempt=attempt, retry_delays=settings.retry_delays)
    except ExecutorError as error:
        fail(str(error), Exit.EXECUTORS)
    except ValueError as error:
        fail(str(error), Exit.USAGE)
    _print(run, tube, json)
    if isinstance(run.error, KeyboardInterrupt):
        raise typer.Exit(Exit.INTERRUPTED)
    raise typer.Exit(Exit.FAILED if run.flush_error is not None else _EXITS[run.outcome])


def _print(run: "JobRun", tube: str, json: bool) -> None:
    for line in run.log:
        if line["event"].startswith("a listener of"):
            typer.echo(f"{line['event']}: {line['reason']}\n{line['traceback']}", err=True)
    if run.flush_error is not None:
        from tubeherd.processing.reasons import traceback_text

        typer.echo(
            f"a listener of worker.flush raised, which would stop the worker:\n{traceback_text(run.flush_error)}",
            err=True,
        )
    if json:
        from pydantic_core import to_json

        typer.echo(to_json(_as_json(run, tube), indent=2))
        return
    if run.traceback is not None and run.outcome != "rejected":  # it has asked for that, and the reason says why
        typer.echo(_plain_lines(run.traceback), err=True)
    typer.echo(for_terminal(_plain_lines(_in_words(run))))


def _in_words(run: "JobRun") -> str:
    from tubeherd.policy import Bury

    lines = [f"{run.outcome} after {run.seconds:.3f} s" + (f" at {run.place}" if run.place else "")]
    if run.reason is not None:
        lines.append(f"reason: {_printable(run.reason)}")
    if run.result is not None:
        lines.append(f"result: {_shown(run.result)}")
    if run.delay is not None:
        then = f"the job would be ready again after {run.delay} s"
        lines.append(f"{then}, and the worker would stop" if run.outcome == "aborted" else then)
    else:
        lines.append("the job would be buried" if isinstance(run.verdict, Bury) else "the job would be deleted")
    return "\n".join(lines)


def _as_json(run: "JobRun", tube: str) -> dict[str, Any]:
    verdict = type(run.verdict).__name__.lower()
    return {
        "tube": tube,
        "attempt": run.attempt,
        "outcome": run.outcome,
        "verdict": verdict,
        "delay": run.delay,
        "reason": run.reason and _whole(run.reason),
        "result": _result(run.result),
        "seconds": run.seconds,
        "at": run.place,
        "traceback": run.traceback and _whole(run.traceback),
    }


def _result(result: object) -> Any:
    """Return what an executor has returned as what JSON can hold; if it can hold none of it, as text."""
    from pydantic_core import from_json, to_json

    try:
        return from_json(to_json(result, inf_nan_mode="null", fallback=_shown))
    except ValueError:
        return _whole(_shown(result))


def _shown(result: object) -> str:
    """Return the beginning of a result as text, whatever its own code does."""
    try:
        text = repr(result)
    except Exception as error:
        text = f"<{type(result).__name__}, whose repr raises {type(error).__name__}>"
    return text[:_RESULT_MAX]


def _whole(text: str) -> str:
    """Return a text without halves of surrogate pairs, which UTF-8 cannot hold."""
    return text.encode(errors="replace").decode()


def _plain_lines(text: str) -> str:
    return "\n".join(map(plain, text.split("\n")))


def _printable(text: str) -> str:
    return text if text.isprintable() else repr(text)[1:-1]
