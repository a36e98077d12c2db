"""Globs, which are patterns for the names of tubes, such as `reports.*`.

In a glob, `*` is any text, also none, and `?` is any one character. No tube has either of them in its name.
"""

import re
from collections.abc import Iterable, Sequence
from fnmatch import translate
from functools import lru_cache
from typing import Final

from tubeherd.formats.text import TextFormat
from tubeherd.formats.tubes import RESERVED, TUBE, check_tube

GLOB: Final = TextFormat(
    name="tube",
    pattern=TUBE.pattern.replace("_()", "_()*?"),
    max_length=TUBE.max_length,
    examples="mail or reports.*",
)
"""The name of a tube, or a glob."""


def is_glob(text: str) -> bool:
    """Return whether a text has a `*` or `?` in it, so that it is the name of no tube."""
    return "*" in text or "?" in text


def check_tube_or_glob(text: str) -> str:
    """Return the name of a user's tube, or a glob, as it is; raises ValueError for what is neither."""
    if not isinstance(text, str) or not is_glob(text):
        return check_tube(text)
    if not GLOB.matches(text):
        raise ValueError(
            f"{text[:60]!r} matches no tube: a glob takes 1 to {GLOB.max_length} of A-Z a-z 0-9 - + / ; . $ _ ( ) and "
            "* for any text, ? for any character, and does not begin with -"
        )
    if text.startswith(RESERVED):
        raise ValueError(f"{text[:60]!r} is reserved: names that begin with {RESERVED} are Tubeherd's own tubes")
    return text


class TubeSet:
    """Names of tubes and globs, and whether a tube is among them. Tubeherd's own tubes match no glob."""

    def __init__(self, tubes: Iterable[str]) -> None:
        """Take names and globs."""
        given = frozenset(tubes)
        globs = frozenset(filter(is_glob, given))
        self._names: Final = given - globs
        self._globs: Final = _regex(sorted(globs))

    def __contains__(self, tube: str) -> bool:
        """Return whether a tube has one of the names or matches one of the globs."""
        if tube in self._names:
            return True
        return self._globs is not None and not tube.startswith(RESERVED) and self._globs.match(tube) is not None


def best_match(names: Iterable[str], tube: str) -> str | None:
    """Return which of these names and globs is meant for a tube; None if none is.

    That is its own name, otherwise the longest glob that matches, and of equally long ones that which is last in
    alphabetical order.
    """
    best = ""
    for name in names:
        if name == tube:
            return name
        if (len(name), name) > (len(best), best) and is_glob(name) and tube in _alone(name):
            best = name
    return best or None


@lru_cache(maxsize=1024)
def _alone(glob: str) -> TubeSet:
    return TubeSet((glob,))


def _regex(globs: Sequence[str]) -> re.Pattern[str] | None:
    """Return what matches any of these globs; None if there is none.

    What Python makes of a glob tries no text twice, however many stars there are.
    """
    return re.compile("|".join(map(translate, globs))) if globs else None
