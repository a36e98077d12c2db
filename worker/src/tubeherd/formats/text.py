"""A format in which people write a value. It is the same in an option, an environment variable and a pool's field."""

import re
from dataclasses import dataclass
from typing import TypeGuard


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
