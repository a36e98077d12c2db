"""The cache of what was built: one folder a result, named by everything that goes into it."""

import hashlib
import os
import shutil
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from place import CACHE

_BUILDS = CACHE / "builds"


def cached(name: str, key: str, build: Callable[[Path], None]) -> Path:
    """Return the folder of the result with this key; `build` fills it if it is missing."""
    folder = _BUILDS / f"{name}-{key}"
    if folder.is_dir():
        return folder
    partial = folder.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    build(partial)
    partial.rename(folder)
    return folder


def key_of(sources: Sequence[Path], *settings: object) -> str:
    """Return a short digest of these files, these settings and the machine's architecture."""
    digest = hashlib.sha256(repr((settings, os.uname().machine)).encode())
    for source in sources:
        digest.update(source.read_bytes())
    return digest.hexdigest()[:16]


def remove_all_but(folders: Collection[Path]) -> None:
    """Remove the results of earlier versions of the sources."""
    for old in set(_BUILDS.iterdir()) - set(folders):
        shutil.rmtree(old)
