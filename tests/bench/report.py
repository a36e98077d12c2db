"""Markdown tables with a verdict on each target."""

from collections.abc import Sequence
from typing import NamedTuple, Self


class Verdict(NamedTuple):
    """A target as the table shows it, and whether it was met."""

    target: str
    met: str

    def __add__(self, other: Self) -> Self:  # type: ignore[override]
        return type(self)(f"{self.target}, {other.target}", f"{self.met}, {other.met}")


def at_least(value: float, bound: float, unit: str) -> Verdict:
    """Judge a figure that should reach a bound."""
    return Verdict(f"≥ {bound:g} {unit}", "met" if value >= bound else "not met")


def at_most(value: float, bound: float, unit: str) -> Verdict:
    """Judge a figure that should stay below a bound."""
    return Verdict(f"≤ {bound:g} {unit}", "met" if value <= bound else "not met")


def table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table."""
    rule = ["---"] * len(head)
    return "".join(f"| {' | '.join(cells)} |\n" for cells in (head, rule, *lines))
