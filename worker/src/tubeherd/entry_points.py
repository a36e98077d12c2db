"""Finds the entry points by which installed packages name modules of executors, and imports none of these modules."""

import importlib.metadata
import sys
from collections.abc import Sequence
from importlib.metadata import EntryPoint
from typing import Final

from tubeherd.sources import NO_SOURCES, Sources, add_folders

ENTRY_POINT_GROUP: Final = "tubeherd.executors"


def find_entry_points(sources: Sources = NO_SOURCES) -> Sequence[EntryPoint]:
    """Return the entry points of all installed packages, those in the folders of the sources too.

    The metadata of each package is read for it. The supervisor does that once, for all its slots.
    """
    path = sys.path.copy()
    add_folders(sources)
    try:
        return tuple(importlib.metadata.entry_points(group=ENTRY_POINT_GROUP))
    finally:
        sys.path[:] = path
