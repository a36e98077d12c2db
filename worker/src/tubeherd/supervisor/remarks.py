"""Logs what slots find out that concerns the whole worker: each remark once, whichever slots make it."""

from collections import Counter
from typing import Final

from tubeherd.logs import log
from tubeherd.shared_memory.control import Remark

_MOST: Final = 100
"""So many remarks of each kind are logged in the life of a worker."""
_KINDS_MOST: Final = 10
"""There are three, but code of a user could send others."""


class Remarks:
    """The remarks of all slots of a worker."""

    def __init__(self) -> None:
        self._logged: set[str] = set()
        self._of_kind: Counter[str] = Counter()

    def log(self, remark: Remark) -> None:
        """Log a remark, unless one about the same was logged before."""
        kind = remark.about.partition(" ")[0]
        is_new = remark.about not in self._logged and len(self._of_kind) < _KINDS_MOST
        if is_new and self._of_kind[kind] < _MOST:
            self._logged.add(remark.about)
            self._of_kind[kind] += 1
            log.write("warning" if remark.is_warning else "info", remark.event)
