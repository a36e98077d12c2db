"""Durations as people write them: `90` (seconds), `90s`, `10m`, `1h30m`, `10 minutes`."""

import re
from datetime import timedelta
from typing import Final

from tubeherd.formats.text import TextFormat

_UNITS: Final = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_NUMBER: Final = r"[0-9]{1,9}(\.[0-9]{1,3})?"
_UNIT: Final = r"(ms|s|secs?|seconds?|m|mins?|minutes?|h|hours?|d|days?|w|weeks?)"
_PART: Final = re.compile(r"([0-9.]+) ?([a-z]+)")
DURATION: Final = TextFormat(
    name="duration",
    pattern=rf"^{_NUMBER}$|^({_NUMBER} ?{_UNIT} ?)+$",
    max_length=40,
    examples="90s, 10m, 1h30m or '10 minutes'",
)


def parse_duration(text: str | float | timedelta) -> float:
    """Return the seconds of a duration: a number of seconds, a timedelta, or text such as `1h30m` or `10 minutes`.

    Raises ValueError for anything else, and for a negative duration.
    """
    if isinstance(text, timedelta):
        text = text.total_seconds()
    if isinstance(text, (int, float)) and not isinstance(text, bool):
        if not 0 <= text < 1e12:
            raise ValueError(f"a duration is from 0 to 1e12 seconds, not {str(text)[:60]}")
        return float(text)
    if not DURATION.matches(text):
        raise ValueError(f"{str(text)[:60]!r} is no duration: write it like {DURATION.examples}")
    if text[-1].isdigit():
        return float(text)
    return sum(float(number) * _UNITS[_short(unit)] for number, unit in _PART.findall(text))


def format_duration(seconds: float) -> str:
    """Return whole seconds in the largest unit that needs no fraction, such as `10m` for 600."""
    for unit in ("w", "d", "h", "m"):
        if seconds and seconds % _UNITS[unit] == 0:
            return f"{seconds / _UNITS[unit]:.0f}{unit}"
    return f"{seconds:.0f}s"


def _short(unit: str) -> str:
    return unit if unit == "ms" else unit[0]
