"""Finds out whether a tube's jobs would wait for ever, because no worker takes them, such as after a typing error."""

from difflib import get_close_matches
from typing import Final

from tubeherd.formats.tubes import RESERVED
from tubeherd.queue.looking import LookingConnection

_COMPARED_MOST: Final = 20_000
"""So many names are compared, which takes less than a second."""
_SHOWN_MOST: Final = 3


def unwatched_in_words(connection: LookingConnection, tube: str) -> str | None:
    """Return a warning if no worker takes jobs from a tube yet and none is known to have done so; otherwise None.

    A worker watches its tubes only a second after it was started, and finds one by a glob only some seconds after its
    first job was put, so it may be on its way. beanstalkd forgets its counters of a tube when the tube has no job and
    is not watched. Raises QueueUnavailable.
    """
    (counters,) = connection.tubes([tube])
    # Every connection watches `default`, so nothing can be known of it.
    if tube == "default" or counters.watching or counters.deleted or counters.reserved or counters.buried:
        return None
    later = "one that was just started, or that finds it by a glob, does within 10 seconds"
    warning = f"no worker takes jobs from tube {tube} yet; {later}"
    near = _near(tube, connection.tube_names())
    return f"{warning}. Did you mean {' or '.join(near)}?" if near else warning


def _near(tube: str, names: list[str]) -> list[str]:
    """Return the names of tubes that are most like this one."""
    length = len(tube)
    likely = [
        name
        for name in names
        if abs(len(name) - length) <= 2 and name != tube and not name.startswith(RESERVED) and name != "default"
    ]
    return get_close_matches(tube, likely[:_COMPARED_MOST], _SHOWN_MOST, 0.75)
