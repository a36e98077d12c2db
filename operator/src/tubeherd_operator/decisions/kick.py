"""What the annotation `kick` asks for."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

ANNOTATION: Final = "kick"
_COUNT: Final = re.compile(r"all|[1-9][0-9]{0,8}")


class BadKick(ValueError):
    """The value of the annotation is none that is understood; the message says what is."""


@dataclass(frozen=True, slots=True)
class Kick:
    """Buried jobs to put back: of these tubes, in that order, at most so many in all (None: every one)."""

    tubes: tuple[str, ...]
    most: int | None


def parse_kick(value: str, tubes: Sequence[str]) -> Kick:
    """Return what `all`, `25`, `mail:all` or `mail:25` asks of a pool with these tubes; raises BadKick."""
    tube, colon, count = value.strip().rpartition(":")
    if not _COUNT.fullmatch(count):
        raise BadKick(f"kick={value[:80]!r} is not understood: write kick=all, kick=25, kick=TUBE:all or kick=TUBE:25")
    if colon and tube not in tubes:
        raise BadKick(f"kick={value[:80]!r} names a tube that is not the pool's: it has {', '.join(tubes)}")
    return Kick((tube,) if colon else tuple(tubes), None if count == "all" else int(count))
