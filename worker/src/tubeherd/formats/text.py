"""A format in which people write a value, the same in an option, a variable and a pool's field; and short texts."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeGuard

NAMED_MOST: Final = 10
"""So many names of a list a message has."""
REASON_MAX: Final = 500
"""The length of the reason why a job failed, in characters."""
TRACEBACK_MAX: Final = 4096
"""The length of a traceback as text, in bytes of UTF-8 where it is made, in characters where others made it."""


@dataclass(frozen=True, slots=True)
class TextFormat:
    """How one kind of value is written. A type has it as metadata: `Annotated[float, DURATION]`."""

    name: str
    """The kind of value in one word, such as `duration`."""
    pattern: str
    """A regular expression for the whole text. It must mean the same in Python and in the schema of a CRD."""
    max_length: int
    """The most characters that the text may have."""
    examples: str
    """Examples for help and errors, such as `90s or 10m`."""

    def matches(self, text: object) -> TypeGuard[str]:
        """Return whether this is a text, and written in the format."""
        return isinstance(text, str) and len(text) <= self.max_length and re.fullmatch(self.pattern, text) is not None


def shortened(text: str, most: int) -> str:
    """Return a text of at most `most` characters: the beginning of one that is longer, with … for the rest."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def words_of(words: Sequence[str]) -> Callable[[str], list[str]]:
    """Return what completes one of these words in a shell."""
    return lambda incomplete: [word for word in words if word.startswith(incomplete)]


def some_of(names: Sequence[str]) -> str:
    """Return names with commas between them: the first NAMED_MOST, and how many more there are."""
    more = len(names) - NAMED_MOST
    return ", ".join(names[:NAMED_MOST]) + (f" and {more} more" if more > 0 else "")
