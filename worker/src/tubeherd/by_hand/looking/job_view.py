"""Shows jobs as text for a terminal: some lines for each of many, or all that is known of one. Pure.

Whoever puts or fails a job chooses what its payload and its record contain, so all that could control a terminal is
replaced.
"""

import json
import re
import textwrap
from base64 import b64encode
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final

from pydantic_core import from_json

from tubeherd.burials.table import details
from tubeherd.by_hand.looking.looked_jobs import InspectedJob
from tubeherd.formats.columns import columns_of, counted, cut, left, plain, span
from tubeherd.queue.answers import JobCounters

_INDENT: Final = "  "
_NARROWEST: Final = 8
"""If a terminal has fewer columns than this, lines are laid out for so many."""
_PAYLOAD_LINES: Final = 8
"""So many lines of a payload are shown of each of many jobs."""
_REASON_LINES: Final = 2
_PRETTY_MOST: Final = 1 << 20
"""A body of more bytes is shown as it is, because to lay it out would take long."""
_SHOWN_BYTES: Final = 32
"""So many bytes are shown of a body that is no text."""
_PART: Final = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\],:]|[^\s{}\[\],:"]+')


def summary(job: InspectedJob, now: datetime, width: int) -> list[str]:
    """Return some lines for a job: id, age, attempts and reason, and the beginning of its payload."""
    width = max(_NARROWEST, width)
    counters = job.counters
    facts = [f"job {counters.id}", *_since(job, now), f"put {span(counters.age)} ago", _attempts(job)]
    lines = textwrap.wrap(", ".join(facts), width)
    if job.record is not None:
        place = f" ({job.record.place})" if job.record.place else ""
        reason = plain(" ".join(f"{job.record.message}{place}".split()))
        lines += textwrap.wrap(
            reason, width, initial_indent=_INDENT, subsequent_indent=_INDENT, max_lines=_REASON_LINES, placeholder=" …"
        )
    payload = payload_lines(job.body, width - len(_INDENT))
    if len(payload) > _PAYLOAD_LINES:
        more = len(payload) - _PAYLOAD_LINES + 1
        payload[_PAYLOAD_LINES - 1 :] = [f"… {counted(more, 'more line')}"]
    return lines + [_INDENT + cut(line, width - len(_INDENT)) for line in payload]


def everything(job: InspectedJob, now: datetime, width: int) -> list[str]:
    """Return all that is known of one job; of payload and traceback every line."""
    counters = job.counters
    lines = [f"{name:<10} {text}" for name, text in _fields(counters, job.body).items()]
    lines += ["", *payload_lines(job.body, width)]
    if job.record is not None:
        lines += ["", *details(job.record, now).split("\n")]
    elif counters.state == "buried":
        lines += ["", "No record says why it is buried."]
    return lines


def payload_lines(body: bytes | None, width: int) -> list[str]:
    """Return a body as lines: JSON laid out if it does not fit into one line, other text as it is, bytes as numbers."""
    if body is None:
        return ["beanstalkd lost the body in a crash."]
    try:
        text = body.decode()
    except UnicodeDecodeError:
        more = " …" if len(body) > _SHOWN_BYTES else ""
        return [f"{counted(len(body), 'byte')}, no text: {body[:_SHOWN_BYTES].hex(' ')}{more}"]
    if len(body) > _PRETTY_MOST or not _is_json(text):
        return [plain(line) for line in text.split("\n")]
    short = "".join(_parts(text, ": ", ", "))
    return [plain(short)] if columns_of(short) <= width else [plain(line) for line in _laid_out(text)]


def as_json(job: InspectedJob) -> dict[str, Any]:
    """Return all that is known of a job as what JSON can hold.

    `payload` is the value of a body that workers take as JSON: not if it has half a surrogate pair, or is nested more
    than 200 deep, because it could not be written as JSON again. `body` is the text of a body that is text;
    `body_base64` any other.
    """
    found: dict[str, Any] = {**job.counters._asdict(), "payload": None, "body": None, "body_base64": None}
    if job.body is not None:
        try:
            found["body"] = job.body.decode()
            found["payload"] = from_json(job.body)
        except UnicodeDecodeError:
            found["body_base64"] = b64encode(job.body).decode()
        except ValueError:
            pass
    found["record"] = None if job.record is None else job.record._asdict()
    return found


def _since(job: InspectedJob, now: datetime) -> list[str]:
    counters = job.counters
    if job.record is not None:
        return [f"buried {span((now.astimezone(UTC) - job.record.time).total_seconds())} ago"]
    if counters.state in ("reserved", "delayed"):
        return [f"{counters.state} for {left(counters.time_left)} more"]
    return [counters.state]


def _attempts(job: InspectedJob) -> str:
    if job.record is not None:
        return counted(job.record.attempts, "attempt")
    return f"reserved {counted(job.counters.reserves, 'time')}"


def _fields(counters: JobCounters, body: bytes | None) -> dict[str, str]:
    more = f", {left(counters.time_left)} left" if counters.state in ("reserved", "delayed") else ""
    return {
        "job": str(counters.id),
        "tube": counters.tube,
        "state": counters.state + more,
        "put": f"{span(counters.age)} ago",
        "priority": f"{counters.priority:,}",
        "delay": f"{counters.delay:,} s, {'at its last release' if counters.releases else 'when it was put'}",
        "TTR": f"{counters.ttr:,} s",
        "reserved": f"{counted(counters.reserves, 'time')}; the TTR passed {counted(counters.timeouts, 'time')}",
        "released": counted(counters.releases, "time"),
        "buried": counted(counters.buries, "time"),
        "kicked": counted(counters.kicks, "time"),
        "payload": "lost" if body is None else counted(len(body), "byte"),
    }


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _parts(text: str, colon: str, comma: str) -> Iterator[str]:
    """Yield the parts of a JSON text, with strings readable. Numbers stay as they were written."""
    for part in _PART.findall(text):
        if part.startswith('"'):
            yield json.dumps(json.loads(part), ensure_ascii=False)
        else:
            yield {":": colon, ",": comma}.get(part, part)


def _laid_out(text: str) -> Iterator[str]:
    """Yield a JSON text in lines, a line for each item."""
    line, depth = "", 0
    for part in _parts(text, ": ", ","):
        if part in ("{", "["):
            depth += 1
            yield line + part
            line = _INDENT * depth
        elif part in ("}", "]"):
            depth -= 1
            if line.strip():
                yield line
            line = _INDENT * depth + part
        elif part == ",":
            yield line + part
            line = _INDENT * depth
        else:
            line += part
    yield line
