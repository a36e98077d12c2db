"""What a worker on a terminal shows first: which tubes it serves with which executors, and where its metrics are.

Only a slot can write this, because the supervisor does not import the executors. A slot is a process that runs jobs.
"""

from collections.abc import Mapping
from typing import Final

from tubeherd.executors import Executor
from tubeherd.formats.addresses import parse_listener
from tubeherd.formats.durations import format_duration
from tubeherd.formats.text import shortened
from tubeherd.settings import WorkerSettings
from tubeherd.version import version

_TUBES_MOST: Final = 20
"""So many tubes are shown."""
_NAME_MOST: Final = 30
"""The widest column for the names of tubes, or of executors, in characters."""


def banner(settings: WorkerSettings, executors: Mapping[str, Executor], columns: int) -> str:
    """Return the lines, each of at most `columns` characters, about the executors of these tubes."""
    lines = [f"tubeherd {version()}", f"  server   {settings.server}"]
    shown = dict(list(executors.items())[:_TUBES_MOST])
    tubes = _column(list(shown))
    names = _column([executor.source for executor in shown.values()])
    for tube, name, executor in zip(tubes, names, shown.values(), strict=True):
        lines.append(f"  tube     {tube}  {name}  {_retries(executor.policy(settings.policy()).schedule.delays)}")
    if len(executors) > _TUBES_MOST:
        lines.append(f"           and {len(executors) - _TUBES_MOST} more tubes")
    lines += [f"  slots    {_slots(settings)}", f"  metrics  {_metrics(settings.health)}"]
    most = format_duration(settings.grace_period)
    lines.append(f"Ctrl-C stops the worker after its running jobs, in {most} at most.")
    lines.append("A second Ctrl-C ends these jobs at once and puts them back.")
    return "\n".join(shortened(line.rstrip(), columns) for line in lines)


def _column(words: list[str]) -> list[str]:
    width = min(max(map(len, words), default=0), _NAME_MOST)
    return [shortened(word, _NAME_MOST).ljust(width) for word in words]


def _retries(delays: tuple[int, ...]) -> str:
    if not delays:
        return "buried at the first failure"
    return f"retried after {', '.join(map(format_duration, delays))}"


def _slots(settings: WorkerSettings) -> str:
    if settings.async_concurrency > 1:
        return f"{settings.concurrency}, each with up to {settings.async_concurrency} coroutines at a time"
    return f"{settings.concurrency}, {'each ' if settings.concurrency > 1 else ''}with one job at a time"


def _metrics(health: str | None) -> str:
    if health is None:
        return "off; --health 127.0.0.1:8080 would serve them"
    host, port = parse_listener(health)
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/metrics"
