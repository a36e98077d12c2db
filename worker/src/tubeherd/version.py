"""The version of this package."""

import re
from importlib.metadata import distribution


def version() -> str:
    """Return the version, as the installed package has it.

    Its line is read here, because `importlib.metadata.version` would import a parser of e-mails.
    """
    metadata = distribution("tubeherd").read_text("METADATA") or ""
    found = re.search(r"^Version: (\S+)", metadata, re.MULTILINE)
    return found[1] if found else "unknown"
