"""Looks for the file that somebody may have meant, among the Python files of a folder and of the folders in it.

Files are read as text and never imported.
"""

import ast
import keyword
import os
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_FILES_MOST: Final = 500
"""So many Python files are looked at, because the folder may be a home directory."""
_FOLDERS_MOST: Final = 200
_DEPTH_MOST: Final = 3
_BYTES_MOST: Final = 1 << 20
"""So much of a file is read."""
_EXECUTORS: Final = re.compile(rb"^\s*@[\w.]*\bexecutor\b|\bexecutor\s*\(|\bimport\b[^\n#]*\bexecutor\b", re.MULTILINE)
_NOT_OURS: Final = ("__pycache__", "node_modules", "site-packages", "build", "dist")


def has_executors(path: Path) -> bool:
    """Return whether a Python file looks as if it defined executors, outside of the texts in it."""
    try:
        with path.open("rb") as file:
            text = file.read(_BYTES_MOST)
    except OSError:
        return False
    if _EXECUTORS.search(text) is None:
        return False
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):  # whoever imports the file says what is wrong
        return True
    return any(map(_names_executor, ast.walk(tree)))


def _names_executor(node: ast.AST) -> bool:
    match node:
        case ast.Name(id="executor") | ast.Attribute(attr="executor"):
            return True
        case ast.Import(names=names) | ast.ImportFrom(names=names):
            return any("executor" in name.name.split(".") for name in names)
    return False


def files_with_executors(folder: Path) -> list[Path]:
    """Return the files in a folder, and in the folders in it, that look as if they defined executors."""
    return [path for path in _python_files(folder) if _can_be_imported(path) and has_executors(path)]


def _can_be_imported(path: Path) -> bool:
    return is_name(path.stem) and path.stem not in sys.stdlib_module_names


def is_name(part: str) -> bool:
    """Return whether a module can have this name."""
    return part.isidentifier() and not keyword.iskeyword(part) and part != "__main__"


def nearest(argument: str) -> Path | None:
    """Return the file that a wrong argument may mean: one with this name elsewhere, or with nearly this name."""
    from difflib import get_close_matches  # imported only if something is wrong

    wanted = argument.partition(":")[0].rstrip(os.sep)
    wanted = wanted if os.sep in wanted or wanted.endswith(".py") else wanted.replace(".", os.sep)
    wanted = wanted.removesuffix(".py")
    by_path = {str(path.with_suffix("")): path for path in _python_files(Path())}
    by_name = {path.stem: path for path in reversed(by_path.values())}
    path, name = os.path.normpath(wanted), os.path.basename(wanted)
    attribute = os.path.dirname(path)  # of mail.send, where mail.py has a function send
    for key, among in ((path, by_path), (attribute, by_path), (name, by_name)):
        if key in among:
            return among[key]
    for key, among in ((path, by_path), (name, by_name), (name.replace("-", "_"), by_name)):
        if close := get_close_matches(key, among, 1, 0.7):
            return among[close[0]]
    return None


def typed(path: Path) -> str:
    """Return a file as somebody types it in a shell, as an argument of `tubeherd run` or `tubeherd execute`."""
    return shlex.quote(os.path.normpath(path))


def _python_files(folder: Path) -> Iterator[Path]:
    """Yield Python files, those of the folder itself first, and none of what is installed or hidden."""
    folders, seen, files = [(folder, 0)], 0, 0
    while folders and seen < _FOLDERS_MOST and files < _FILES_MOST:
        here, depth = folders.pop(0)
        seen += 1
        try:
            entries = sorted(os.scandir(here), key=lambda entry: entry.name)
        except OSError:
            continue
        for entry in entries:
            if entry.name.startswith(".") or entry.name in _NOT_OURS:
                continue
            if entry.name.endswith(".py") and entry.is_file():
                files += 1
                yield here / entry.name
            elif depth < _DEPTH_MOST and entry.is_dir(follow_symlinks=False) and not _is_environment(entry.path):
                folders.append((here / entry.name, depth + 1))


def _is_environment(folder: str) -> bool:
    return os.path.exists(os.path.join(folder, "pyvenv.cfg"))
