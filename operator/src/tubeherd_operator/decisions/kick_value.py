"""What the value of the annotation `kick` asks for."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

_COUNT: Final = re.compile(r"all|[1-9][0-9]{0,17}")


class BadKick(ValueError):
    """The annotation's value is not understood, or names a wrong tube; the message says what to write instead."""


@dataclass(frozen=True, slots=True)
class Kick:
    """Which buried jobs to put back."""

    tubes: tuple[str, ...]
    """Their tubes, in the order in which they are kicked."""
    most: int | None
    """How many to put back at most in all tubes together; None: every one."""


def parse_kick(value: str, tubes: Sequence[str]) -> Kick:
    """Return what `all`, `25`, `mail:all` or `mail:25` asks of a pool with these tubes; raises BadKick."""
    tube, colon, count = value.strip().rpartition(":")
    if not _COUNT.fullmatch(count):
        raise BadKick(f"kick={value[:80]!r} is not understood: write kick=all, kick=25, kick=TUBE:all or kick=TUBE:25")
    if colon and tube not in tubes:
        raise BadKick(f"kick={value[:80]!r} names a tube that is not the pool's: it has {', '.join(tubes)}")
    return Kick((tube,) if colon else tuple(tubes), None if count == "all" else int(count))


def has_bound(value: str) -> bool:
    """Return whether an understood value says how many jobs are put back at most."""
    return not value.strip().endswith("all")
