"""Which tubes a pool serves: names and globs, without those that are excluded."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final, NamedTuple

from tubeherd.formats.globs import TubeSet, is_glob

COUNTED_MOST: Final = 2000
"""So many tubes of a pool are counted."""


class Chosen(NamedTuple):
    """The tubes of a pool that are counted, kicked and discarded."""

    tubes: tuple[str, ...]
    """Those with names first, in the order of the spec, then those that globs match, by name."""
    matching: int
    """How many there would be without the bound."""


@dataclass(frozen=True, slots=True)
class PoolTubes:
    """The tubes of a pool."""

    wanted: tuple[str, ...]
    """Names and globs."""
    excluded: tuple[str, ...] = ()
    """Names and globs that win over those."""
    within: str = "*"
    """A name or glob: only those of them are meant that it matches too."""

    def __contains__(self, tube: str) -> bool:
        return tube in _set(self.wanted) and tube not in _set(self.excluded) and tube in _set((self.within,))

    def __str__(self) -> str:
        without = f" without {', '.join(self.excluded)}" if self.excluded else ""
        return f"{', '.join(self.wanted)}{without}"

    @property
    def in_words(self) -> str:
        """The same as alternatives."""
        return str(self) if self.excluded else " or ".join(self.wanted)

    @property
    def named(self) -> tuple[str, ...]:
        """Those that have their very names here, whether or not they exist."""
        return tuple(tube for tube in self.wanted if not is_glob(tube) and tube in self)

    @property
    def has_globs(self) -> bool:
        """Whether it depends on the server which tubes they are."""
        return is_glob(self.within) and any(map(is_glob, self.wanted))

    def only(self, tube: str) -> "PoolTubes":
        """Return those of the tubes that have this name, or that this glob matches."""
        return replace(self, within=tube) if is_glob(tube) else PoolTubes((tube,) if tube in self else ())

    def among(self, names: Iterable[str]) -> Chosen:
        """Return the tubes, if the server has tubes of these names."""
        named = self.named
        found = sorted({name for name in names if name in self}.difference(named)) if self.has_globs else []
        tubes = (*named, *found)
        return Chosen(tubes[:COUNTED_MOST], len(tubes))


@lru_cache(maxsize=4096)
def _set(tubes: tuple[str, ...]) -> TubeSet:
    return TubeSet(tubes)
