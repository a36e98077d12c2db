"""Finds the entry points by which installed packages name modules of executors, and imports none of these modules."""

import importlib.metadata
import sys
from collections.abc import Sequence
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Final

from tubeherd.executors import ExecutorError
from tubeherd.sources import EXECUTORS_FOLDER, NO_SOURCES, Sources, add_folders

ENTRY_POINT_GROUP: Final = "tubeherd.executors"


def find_entry_points(
    modules: Sequence[str] | None, sources: Sources = NO_SOURCES, folder: Path = EXECUTORS_FOLDER
) -> Sequence[EntryPoint]:
    """Return the entry points of all installed packages, also of those in the folders of the executors.

    The parameters are those of `discovery.load`. The metadata of each package is read. The supervisor does that once,
    for all its slots. Raises ExecutorError if the metadata of a package cannot be read.
    """
    path = sys.path.copy()
    add_folders(sources)
    if modules is None and not sources.modules:
        sys.path.append(str(folder))
    try:
        return tuple(importlib.metadata.entry_points(group=ENTRY_POINT_GROUP))
    except Exception as error:  # whatever a package has in its files
        raise ExecutorError(
            f"the metadata of an installed package cannot be read, so its executors cannot be found: {error!r}"
        ) from error
    finally:
        sys.path[:] = path
