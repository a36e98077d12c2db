"""Files that another process is writing."""

from pathlib import Path


def read_lines(path: Path) -> list[str]:
    """Return the lines of a file, none if there is no file.

    What follows the last line's end is left out: a long line that is being written is seen in parts.
    """
    try:
        return path.read_text(errors="replace").split("\n")[:-1]
    except FileNotFoundError:
        return []
