"""Markdown tables with a verdict on each target, and the page that shows them."""

from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median, quantiles
from typing import Final, NamedTuple

_END: Final = "<!-- end of what was measured -->\n"


class Verdict(NamedTuple):
    """A target as the table shows it, and whether it was met."""

    target: str
    met: str


NO_TARGET: Final = Verdict("", "")


def at_least(value: float, bound: float, unit: str) -> Verdict:
    """Judge a figure that should reach a bound."""
    return Verdict(f"≥ {bound:g} {unit}", "met" if value >= bound else "not met")


def both(one: Verdict, other: Verdict) -> Verdict:
    """Show two targets in one line."""
    return Verdict(f"{one.target}; {other.target}", f"{one.met}; {other.met}")


def figure(
    name: str,
    samples: Sequence[float],
    unit: str,
    most: float | None = None,
    judged: Callable[[Sequence[float]], float] = median,
) -> list[str]:
    """Return a line of the table of figures; the 99th percentile only where there are samples enough for one.

    `most` is what the median, or what `judged` names, should not pass.
    """
    cells = [f"{value:.3g}" for value in (median(samples), min(samples), max(samples))]
    last = f"{p99(samples):.3g}" if len(samples) >= 100 else ""
    verdict = NO_TARGET
    if most is not None:
        verdict = Verdict(f"{judged.__name__} ≤ {most:g} {unit}", "met" if judged(samples) <= most else "not met")
    return [name, unit, *cells, last, str(len(samples)), *verdict]


def p99(samples: Sequence[float]) -> float:
    """Return the 99th percentile, of at least 100 samples; of 100 it is about the second largest."""
    return quantiles(samples, n=100, method="inclusive")[98]


def figures(lines: Sequence[Sequence[str]]) -> str:
    """Return the table of what `figure` made."""
    return table(["figure", "unit", "median", "min", "max", "p99", "samples", "target", "met"], lines)


def table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table."""
    rule = ["---"] * len(head)
    return "".join(f"| {' | '.join(cells)} |\n" for cells in (head, rule, *lines))


def write(page: Path, measured: str, command: str) -> None:
    """Replace what the page shows between its two markers, of which the first names the command.

    Raises ValueError if it has none, or if another section stands between them.
    """
    first = f"<!-- measured: `{command}` replaces what follows -->\n"
    before, begin, rest = page.read_text().partition(first)
    replaced, end, after = rest.partition(_END)
    if not (begin and end) or "<!-- measured:" in replaced:
        raise ValueError(f"{page.name} has lost a marker: {(_END if begin else first).strip()}")
    page.write_text(f"{before}{begin}\n{measured}\n{end}{after}")
