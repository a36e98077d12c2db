"""Which modules of executors the arguments of `tubeherd run` name; `starting.arguments` finds them out."""

import sys
from pathlib import Path
from typing import Final, NamedTuple

EXECUTORS_FOLDER: Final = Path("/app/executors")
"""Where the modules of executors are if nothing names any."""
_INSTALLED: Final = ("site-packages", "dist-packages")


class Source(NamedTuple):
    """A module of executors that an argument of `tubeherd run` names."""

    module: str
    file: str | None
    """The path of the file that the module has to come from; None for an installed module."""
    folder: str | None
    """The folder from which Python finds the module; None for an installed module."""
    named: str
    """The module as the user wrote it."""


class Sources(NamedTuple):
    """The modules that the arguments of `tubeherd run` name."""

    modules: tuple[Source, ...]
    folders: tuple[str, ...]
    """Where Python looks for modules after its own ones and before the installed ones."""
    hint: str
    """What else the user may have meant, if the modules have no executors; the end of a message, or empty."""


NO_SOURCES: Final = Sources((), (), "")


def add_folders(sources: Sources) -> None:
    """Have Python find modules in the folders of the sources, after its own modules and before installed ones."""
    installed = next((at for at, path in enumerate(sys.path) if path.endswith(_INSTALLED)), len(sys.path))
    sys.path[installed:installed] = [folder for folder in sources.folders if folder not in sys.path]
