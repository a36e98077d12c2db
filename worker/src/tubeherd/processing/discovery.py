"""Finds the executors, which are the functions that do the jobs of tubes."""

import importlib
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib.metadata import EntryPoint
from pathlib import Path
from types import MappingProxyType

from tubeherd.entry_points import ENTRY_POINT_GROUP, find_entry_points
from tubeherd.executors import Executor, ExecutorError, registry
from tubeherd.formats.text import shortened, some_of
from tubeherd.logs import ErrorDetail
from tubeherd.processing.reasons import describe, source_line
from tubeherd.settings import WorkerSettings
from tubeherd.sources import EXECUTORS_FOLDER, NO_SOURCES, Sources, add_folders


def load(
    modules: Sequence[str] | None,
    folder: Path = EXECUTORS_FOLDER,
    sources: Sources = NO_SOURCES,
    built_in: Mapping[str, Executor] = MappingProxyType({}),
    entry_points: Sequence[EntryPoint] | None = None,
    error_detail: ErrorDetail = "full",
) -> dict[str, Executor]:
    """Import the modules and the entry points, and return the executors by tube, those that are built in too.

    The modules are those of `sources`, if there are any, otherwise `modules`, and if these are None, every module in
    `folder`. If the entry points are None, they are looked for. Raises ExecutorError if an import fails, if a tube has
    two executors, or if there is no executor after all imports. `error_detail` says how much of the exception by which
    an import failed is in its message.
    """
    if sources.modules:
        _import_sources(sources, error_detail)
    elif modules is None:
        _import_folder(folder, error_detail)
    else:
        for name in modules:
            _import(name, partial(importlib.import_module, name), error_detail)
    if entry_points is None:
        entry_points = find_entry_points(modules, sources, folder)
    for entry_point in entry_points:
        _import(entry_point.value, entry_point.load, error_detail)
    if not registry and not built_in:
        named = [source.named for source in sources.modules] or modules
        where = str(folder) if named is None else some_of(named) or f"the entry points {ENTRY_POINT_GROUP}"
        advice = sources.hint or (
            "" if named is not None else "; in a pool, spec.executors names the ConfigMap that has its file"
        )
        raise ExecutorError(f"no executor found in {where}: decorate a function with @executor(TUBE){advice}")
    for tube in built_in:
        if tube in registry:
            raise ExecutorError(
                f"tube {tube!r} has an executor, {registry[tube].source}, and a command or a URL: remove one of them"
            )
    return {**registry, **built_in}


def built_in(settings: WorkerSettings) -> dict[str, Executor]:
    """Return the executors that do jobs by commands and URLs; raises ExecutorError if one cannot work here."""
    if not settings.command and not settings.http:
        return {}
    from tubeherd.builtin.declared import executors_of  # loaded only where it is used

    return executors_of(settings)


def _import_sources(sources: Sources, detail: ErrorDetail) -> None:
    add_folders(sources)
    for source in sources.modules:
        _import(source.named, partial(importlib.import_module, source.module), detail)
        if source.file is not None:
            _check_file(source.module, Path(source.file))
    _check_helpers(sources)


def _import_folder(folder: Path, detail: ErrorDetail) -> None:
    if str(folder) not in sys.path:
        sys.path.append(str(folder))
    for path in sorted(folder.glob("[!.]*.py")):  # without hidden files: editors make such copies
        _import_file(path, detail)


def _import_file(path: Path, detail: ErrorDetail) -> None:
    if path.stem in sys.stdlib_module_names:
        raise ExecutorError(f"{path.name} has the name of a module of Python's own: rename the file")
    _import(str(path), partial(importlib.import_module, path.stem), detail)
    _check_file(path.stem, path)


def _check_file(module: str, path: Path) -> None:
    """Raise ExecutorError if a module that was imported is another one than that of this file."""
    found = getattr(sys.modules.get(module), "__file__", None)
    if found is None or not _are_same(found, path):
        name = module.partition(".")[0]
        raise ExecutorError(f"{path.name} has the name of an installed package, {name}: rename the file")


def _are_same(file: str, path: Path) -> bool:
    try:
        return path.samefile(file)
    except OSError:  # an editor has just put it away, to write another in its place
        return os.path.abspath(file) == os.path.abspath(path)


def _check_helpers(sources: Sources) -> None:
    """Raise ExecutorError if a module was imported that two of the folders have: one of them has got the wrong one."""
    folders = dict.fromkeys(source.folder for source in sources.modules if source.folder is not None)
    having: dict[str, list[str]] = {}
    for folder in folders if len(folders) > 1 else ():
        for path in Path(folder).glob("*.py"):
            having.setdefault(path.stem, []).append(folder)
    for name, places in having.items():
        found = getattr(sys.modules.get(name), "__file__", None)
        if len(places) > 1 and found is not None and os.path.dirname(found) in places:
            raise ExecutorError(
                f"{name}.py is in {' and in '.join(places)}, and a worker can import only one of them: rename one, or "
                "run a worker for each folder"
            )


def _import(name: str, load_it: Callable[[], object], detail: ErrorDetail) -> None:
    name = shortened(name, 200)
    try:
        load_it()
    except ExecutorError as error:
        raise ExecutorError(f"{name}: {error}") from error
    except BaseException as error:
        why = f"{describe(error, detail)}{_source_line(error, detail)}{_advice(name, error)}"
        raise ExecutorError(f"{name} cannot be imported: {why}") from error


def _advice(name: str, error: BaseException) -> str:
    """Return the right command if a name of a module was not found that is a file in the current folder."""
    if not isinstance(error, ModuleNotFoundError) or f"{name}.".partition(f"{error.name}.")[0]:
        return ""
    file = name if name.endswith(".py") else f"{name.replace('.', os.sep)}.py"
    return f"; for the file in the current folder give {file} as an argument instead" if os.path.isfile(file) else ""


def _source_line(error: BaseException, detail: ErrorDetail) -> str:
    if detail == "place":
        at = source_line(error)
        if isinstance(error, SyntaxError) and error.filename:  # its message, which is left out, would say where it is
            at = f"{os.path.basename(error.filename)}:{error.lineno}"
        return f" ({at})" if at else ""
    trace = error.__traceback__
    while trace and trace.tb_next:
        trace = trace.tb_next
    file = "" if trace is None else trace.tb_frame.f_code.co_filename
    if isinstance(error, SyntaxError) or trace is None or file.startswith("<frozen importlib"):
        return ""
    return f" ({Path(file).name}, line {trace.tb_lineno})"
