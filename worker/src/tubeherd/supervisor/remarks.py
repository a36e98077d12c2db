"""Logs what slots find out that concerns the whole worker: each remark once, whichever slots make it."""

from typing import Final

from tubeherd.logs import log
from tubeherd.shared_memory.control import Remark

_MOST: Final = 100
"""So many remarks are logged in the life of a worker."""


class Remarks:
    """The remarks of all slots of a worker."""

    def __init__(self) -> None:
        self._logged: set[str] = set()

    def log(self, remark: Remark) -> None:
        """Log a remark, unless one about the same was logged before."""
        if remark.about not in self._logged and len(self._logged) < _MOST:
            self._logged.add(remark.about)
            log.write("warning" if remark.is_warning else "info", remark.event)
