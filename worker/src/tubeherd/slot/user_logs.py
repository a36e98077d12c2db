"""Writes what user code logs with Python's `logging` as log lines of the worker, with job, tube and attempt.

User code may configure `logging` at any time, and take away or add any handler. So no handler is installed here, but
the method of `logging.Logger` is replaced that hands each record to the handlers. In place of the handlers that write
to standard output or standard error, one line of the worker is written; all other handlers are called as ever.
"""

import logging
import sys
import threading
from typing import Final

from tubeherd.formats.text import TRACEBACK_MAX
from tubeherd.job import current_job
from tubeherd.logs import ErrorDetail, LogLevel, log
from tubeherd.processing.reasons import describe, source_line, traceback_text

_MESSAGE_MAX: Final = 8192
"""The length of a message, in characters."""
_NESTED_MOST: Final = 3
"""A message may log when it is made into text, and that message again; only so many are written in one another."""


class UserLogs:
    """Writes the records of `logging` to the log of this process."""

    def __init__(self, detail: ErrorDetail) -> None:
        """`detail` is what is shown of an exception that is logged."""
        self._detail: ErrorDetail = detail
        self._nested = threading.local()

    def install(self, level: LogLevel) -> None:
        """Take all records of this process from now on; until user code sets another level, those of `level` and above.

        The level of the log itself holds in any case.
        """

        def call_handlers(logger: logging.Logger, record: logging.LogRecord) -> None:
            self.handle(logger, record)

        logging.root.setLevel(level.upper())
        logging.Logger.callHandlers = call_handlers  # type: ignore[assignment,method-assign]

    def handle(self, logger: logging.Logger, record: logging.LogRecord) -> None:
        """Call the handlers of a record, and write it if it would have reached standard output or standard error."""
        depth = getattr(self._nested, "depth", 0)
        if depth >= _NESTED_MOST:
            return
        self._nested.depth = depth + 1
        try:
            wanted = _call_other_handlers(logger, record)
            if wanted is not None:
                self._write(wanted)
        finally:
            self._nested.depth = depth

    def _write(self, record: logging.LogRecord) -> None:
        job = current_job.get()
        fields: dict[str, object] = {"logger": record.name}
        if job is not None:
            fields |= {"job": job.id, "tube": job.tube, "attempt": job.attempt}
        try:
            # A message may be of a subclass of str, whose methods are user code too.
            event = str.__getitem__(record.getMessage(), slice(_MESSAGE_MAX))
        except Exception as error:
            event = f"a log message cannot be made into text: {describe(error, self._detail)}"
            fields["at"] = f"{record.filename}:{record.lineno}"
        if self._detail == "place" and record.name == "asyncio":  # its further lines quote tasks with their exceptions
            event = event.partition("\n")[0]
        log.write(_level(record), event, **(self._error(record) | fields))

    def _error(self, record: logging.LogRecord) -> dict[str, str | None]:
        """Return the fields of a record that was logged with an exception or with its stack."""
        # A record that came from another process may hold anything.
        error = record.exc_info[1] if isinstance(record.exc_info, tuple) else None
        if error is not None:
            shown = describe(error, self._detail) if self._detail == "place" else None
            return {"error": shown, "at": source_line(error), "traceback": traceback_text(error, self._detail)}
        text = record.exc_text or record.stack_info
        return {"traceback": str(text)[-TRACEBACK_MAX:]} if text and self._detail == "full" else {}


def _call_other_handlers(logger: logging.Logger, record: logging.LogRecord) -> logging.LogRecord | None:
    """Call the handlers of a record that write elsewhere than to standard output and standard error.

    Return the record if a handler for those would have written it, with what its filters made of it. If the root
    logger has no such handler, a record that gets there is returned too; and so is a warning that no handler gets,
    which Python itself writes to standard error.
    """
    wanted = None
    handled = False
    current: logging.Logger | None = logger
    while current is not None:
        replaced = False
        for handler in current.handlers:
            handled = True
            if _writes_to_standard_streams(handler):
                replaced = True
                wanted = wanted or _filtered(handler, record)
            elif record.levelno >= handler.level:
                handler.handle(record)
        if current.parent is None and not replaced:
            wanted = wanted or record
        current = current.parent if current.propagate else None
    last_resort = logging.lastResort
    if not handled and last_resort is not None and record.levelno >= last_resort.level:
        return record
    return wanted


def _writes_to_standard_streams(handler: logging.Handler) -> bool:
    return isinstance(handler, logging.StreamHandler) and any(
        handler.stream is stream for stream in (sys.stderr, sys.stdout, sys.__stderr__, sys.__stdout__)
    )


def _filtered(handler: logging.Handler, record: logging.LogRecord) -> logging.LogRecord | None:
    """Return the record, or what a filter of the handler put in its place; None if the handler would not write it."""
    if record.levelno < handler.level:
        return None
    kept = handler.filter(record)
    return kept if isinstance(kept, logging.LogRecord) else record if kept else None


def _level(record: logging.LogRecord) -> LogLevel:
    if record.levelno >= logging.ERROR:
        return "error"
    if record.levelno >= logging.WARNING:
        return "warning"
    return "info" if record.levelno >= logging.INFO else "debug"
