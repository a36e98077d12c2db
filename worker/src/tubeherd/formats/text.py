"""A format in which people write a value: the same for an option, a variable and a pool's field."""

import re
from dataclasses import dataclass
from typing import TypeGuard


@dataclass(frozen=True, slots=True)
class TextFormat:
    """How one kind of value is written; as metadata of a type it says how values of that type are written."""

    name: str
    """In one word, such as `duration`."""
    pattern: str
    """The regular expression of the whole text, in the syntax that Python and a CRD's schema share."""
    max_length: int
    """Characters that a field of a pool may have."""
    examples: str

    def matches(self, text: object) -> TypeGuard[str]:
        """Return whether this is text in the format."""
        return isinstance(text, str) and re.fullmatch(self.pattern, text) is not None
