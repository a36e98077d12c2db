"""Finds the modules of executors that the arguments of `tubeherd run` name, without importing any of them.

An argument is a file (`jobs/mail.py`), a folder (`.` or `jobs`) or a module (`mail` or `package.module`). What is
written with a slash or with `.py` is a path. A file in folders with `__init__.py` is a module of that package; any
other file is looked for in its own folder, as if Python ran it. The current folder counts as no package, so that
`mail.py` is the module `mail` there, whatever else the folder has.
"""

import importlib.util
import os
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NoReturn

from tubeherd.sources import EXECUTORS_FOLDER, Source, Sources
from tubeherd.starting.hints import files_with_executors, has_executors, is_name, nearest, typed


class WrongSource(ValueError):
    """An argument names no module of executors; the message says why, and what may be meant."""


def find_sources(arguments: Sequence[str]) -> Sources:
    """Return the modules that the arguments name, and where the slots are to look for them; raises WrongSource.

    Without arguments there are no modules, but a hint for the case that nothing else has executors either.
    """
    here = _current_folder()
    if not arguments:
        return Sources((), (), "" if any(EXECUTORS_FOLDER.glob("*.py")) else _hint())
    found: dict[str, Source] = {}
    folders: list[str] = []
    for argument in arguments:
        for source in _find(argument, here):
            other = found.setdefault(source.module, source)
            if other.file != source.file:
                _refuse_two(other, source, here)
            if source.folder is not None:
                folders.append(source.folder)
    sources = tuple(found.values())
    has_some = any(source.file is None or has_executors(Path(source.file)) for source in sources)
    return Sources(sources, tuple(dict.fromkeys([*folders, here])), "" if has_some else _hint())


def _current_folder() -> str:
    try:
        return os.getcwd()
    except OSError:
        raise WrongSource("the current folder does not exist any more: go to another one with cd") from None


def _find(argument: str, here: str) -> Iterator[Source]:
    """Yield the modules that one argument names."""
    if not argument.strip():
        raise WrongSource("an argument is empty: write a file, a folder or a module, such as mail.py")
    path = Path(argument)
    try:
        if os.sep in argument or argument in (".", "..") or argument.endswith(".py"):
            yield from _from_path(argument, path, here)
        else:
            yield from _from_word(argument, here)
    except OSError as error:  # such as a name that is too long, or a folder that may not be read
        raise WrongSource(f"{argument[:200]}: {error.strerror or error}") from None


def _from_path(argument: str, path: Path, here: str) -> Iterator[Source]:
    if path.is_dir():
        yield from _in_folder(argument, path, here)
    elif path.is_file():
        yield _file(argument, path, here)
    elif path.exists():
        raise WrongSource(f"{argument} is neither a file nor a folder")
    else:
        _refuse_missing(argument)


def _from_word(argument: str, here: str) -> Iterator[Source]:
    """Yield what a word without a slash names: a module of the current folder, a folder, or an installed module."""
    parts = argument.split(".")
    if not all(parts):  # such as a..b
        _refuse_other_file(Path(argument)) if Path(argument).exists() else _refuse_missing(argument)
    path = Path(*parts)
    file = path.with_name(f"{path.name}.py")
    if file.is_file() and not (path / "__init__.py").is_file():
        _check_names(parts, file)
        yield Source(argument, os.path.abspath(file), here, argument)
    elif path.is_dir() and not _is_installed(argument):
        yield from _in_folder(argument, path, here)
    elif Path(argument).exists():
        _refuse_other_file(Path(argument))
    elif _is_installed(argument):
        yield Source(argument, None, None, argument)
    else:
        _refuse_missing(argument)


def _file(argument: str, path: Path, here: str) -> Source:
    if path.suffix != ".py":
        _refuse_other_file(path)
    file = Path(os.path.abspath(path))
    folder, parts = file.parent, [path.stem]
    if path.name == "__init__.py":
        parts = []
    while _is_package(folder, here):
        parts.insert(0, folder.name)
        folder = folder.parent
    parts = parts or [path.stem]
    _check_names(parts, path)
    return Source(".".join(parts), str(file), str(folder), argument)


def _is_package(folder: Path, here: str) -> bool:
    return (folder / "__init__.py").is_file() and folder.name.isidentifier() and str(folder) != here


def _in_folder(argument: str, folder: Path, here: str) -> Iterator[Source]:
    """Yield the modules of a folder that have executors, without running any other file, such as setup.py."""
    files = [path for path in sorted(folder.glob("[!.]*.py")) if not path.stem.startswith("__")]
    with_executors = [path for path in files if has_executors(path)]
    resolved = Path(os.path.abspath(folder))
    if _is_package(resolved, here):
        yield _file(argument, resolved / "__init__.py", here)
    elif not with_executors:
        raise WrongSource(f"no .py file in the folder {argument} has an executor{_hint(folder)}")
    for path in with_executors:
        yield _file(str(path), path, here)


def _is_installed(module: str) -> bool:
    """Return whether Python finds a module without the current folder. Nothing is imported for that."""
    top, *rest = module.split(".")
    if not all(map(is_name, (top, *rest))):
        return False
    try:
        spec = importlib.util.find_spec(top)
        for part in rest:
            if spec is None or spec.submodule_search_locations is None:
                return False
            name = f"{spec.name}.{part}"
            spec = importlib.machinery.PathFinder.find_spec(name, spec.submodule_search_locations)
    except (ImportError, ValueError):  # such as for __main__
        return False
    return spec is not None


def _check_names(parts: Sequence[str], path: Path) -> None:
    """Raise WrongSource if a file cannot be imported as the module whose name has these parts."""
    odd = next((part for part in parts if not is_name(part)), None)
    if odd is not None:
        new = re.sub(r"\W", "_", odd)
        new = f"jobs_{new.strip('_')}" if not is_name(new) else new
        what = f"the folder {odd}" if odd != path.stem else path.name
        advice = "rename it"
        if odd == path.stem:
            target = path.with_name(f"{new}.py")
            advice = f"rename it, such as with mv {path} {target}, and then write {typed(target)}"
        raise WrongSource(f"{path}: {odd!r} can be no name of a Python module, so {what} cannot be imported: {advice}")
    if parts[0] in sys.stdlib_module_names:
        raise WrongSource(f"{path}: a module of Python's own is called {parts[0]}: rename the file or its folder")


# What is said of what is wrong


def _refuse_two(one: Source, other: Source, here: str) -> NoReturn:
    dotted = [_dotted(source, here) for source in (one, other)]
    advice = f"or write {' '.join(map(str, dotted))}" if all(dotted) else "or run two workers"
    raise WrongSource(
        f"{one.named} and {other.named} would both be the module {one.module}: rename one of them, {advice}"
    )


def _dotted(source: Source, here: str) -> str | None:
    """Return the name of a module from the current folder on; None if it has none."""
    if source.file is None or not source.file.startswith(here + os.sep):
        return None
    parts = Path(source.file).relative_to(here).with_suffix("").parts
    return ".".join(parts) if all(map(is_name, parts)) else None


def _refuse_other_file(path: Path) -> NoReturn:
    sibling = path.with_suffix(".py")
    raise WrongSource(
        f"{path} is no Python file, whose name would end in .py: "
        + (f"did you mean {typed(sibling)}?" if sibling.is_file() else f"name one that has executors{_hint()}")
    )


def _refuse_missing(argument: str) -> NoReturn:
    what = "file" if argument.endswith(".py") else "folder" if os.sep in argument else "file, folder or module"
    text = f"there is no {what} {argument}"
    if found := nearest(argument):
        raise WrongSource(f"{text}: did you mean {typed(found)}?")
    raise WrongSource(f"{text}{_hint()}")


def _hint(folder: Path = Path()) -> str:
    """Return which files have executors, in a folder and the folders in it, as the end of a message."""
    files = files_with_executors(folder)
    if not files:
        return ""
    return f"; did you mean {typed(files[0])}?" if len(files) == 1 else f"; one of these may be meant: {_list(files)}"


def _list(files: Sequence[Path]) -> str:
    return ", ".join(typed(file) for file in files[:3])
