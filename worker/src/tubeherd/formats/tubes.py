"""The names of tubes, as beanstalkd's protocol allows them."""

import re
from typing import Annotated, Final

from pydantic import AfterValidator

TUBE_MAX_LENGTH: Final = 200
TUBE_PATTERN: Final = r"^[A-Za-z0-9+/;.$_()][A-Za-z0-9+/;.$_()-]{0,199}$"
"""The regular expression of a tube's name (beanstalkd's doc/protocol.txt: 200 bytes at most, no leading hyphen)."""

_WHOLE: Final = re.compile(TUBE_PATTERN)


def check_tube(name: str) -> str:
    """Return the name of a tube as it is; raises ValueError where beanstalkd would refuse it."""
    if not _WHOLE.match(name) or name.endswith("\n"):
        raise ValueError(
            f"{name[:60]!r} is no tube name: it takes 1 to {TUBE_MAX_LENGTH} of A-Z a-z 0-9 - + / ; . $ _ ( ) "
            "and does not begin with -"
        )
    return name


TubeName = Annotated[str, AfterValidator(check_tube)]
"""A pydantic field that holds the name of a tube."""
