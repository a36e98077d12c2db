"""Structured logs on standard error: text on a terminal, JSON elsewhere."""

import json
import logging
import os
import sys
import time
from typing import Literal

import structlog
from pydantic_core import to_json

LogFormat = Literal["auto", "text", "json"]
LogLevel = Literal["debug", "info", "warning", "error"]


def configure(log_format: LogFormat, level: LogLevel) -> None:
    """Set up structlog for this process and those forked from it."""
    text = log_format == "text" or (log_format == "auto" and sys.stderr.isatty())
    structlog.configure(
        processors=_text_processors() if text else [_Json()],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=lambda *_: _StandardError(),
        cache_logger_on_first_use=True,
    )


def _text_processors() -> list[structlog.typing.Processor]:
    console = structlog.dev.ConsoleRenderer()
    return [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="%H:%M:%S", utc=False),
        _drop_empty,
        lambda logger, method, event: f"{console(logger, method, event)}\n".encode(errors="backslashreplace"),
    ]


class _Json:
    """Renders a line of JSON at a tenth of what structlog's own parts cost: a worker writes one for each job."""

    def __init__(self) -> None:
        self._second = 0
        self._date = ""

    def __call__(self, _logger: object, method: str, event: structlog.typing.EventDict) -> bytes:
        line = {key: value for key, value in event.items() if value is not None}
        line["level"] = method
        line["timestamp"] = self._now()
        try:
            return to_json(line, fallback=repr) + b"\n"
        except ValueError:  # half a surrogate pair
            return json.dumps(line, default=repr).encode() + b"\n"

    def _now(self) -> str:
        now = time.time()
        second = int(now)
        if second != self._second:
            self._second = second
            self._date = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        return f"{self._date}.{int((now - second) * 1e6):06d}Z"


class _StandardError:
    """Standard error, where a line is lost rather than a job: it may be closed, or its disk full."""

    def msg(self, line: bytes) -> None:
        try:  # noqa: SIM105 - suppress would cost as much as the write
            os.write(2, line)
        except OSError:
            pass

    debug = info = warning = error = critical = exception = msg


def _drop_empty(_logger: object, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    return {key: value for key, value in event.items() if value is not None}
