"""Finds the executors, which are the functions that do the jobs of tubes, and chooses the tubes to watch."""

import importlib
import importlib.metadata
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Final

from tubeherd.executors import Executor, ExecutorError, registry
from tubeherd.formats.text import shortened, some_of
from tubeherd.processing.reasons import describe

EXECUTORS_FOLDER: Final = Path("/app/executors")
ENTRY_POINT_GROUP: Final = "tubeherd.executors"


def load(modules: Sequence[str] | None, folder: Path = EXECUTORS_FOLDER) -> dict[str, Executor]:
    """Import the modules (None: every module in `folder`) and the entry points; return their executors by tube.

    Raises ExecutorError if an import fails, or if there is no executor after all imports.
    """
    if modules is None:
        for path in sorted(folder.glob("[!.]*.py")):  # without hidden files: editors make such copies
            _import_file(path)
    else:
        for name in modules:
            _import(name, partial(importlib.import_module, name))
    for entry_point in importlib.metadata.entry_points(group=ENTRY_POINT_GROUP):
        _import(entry_point.value, entry_point.load)
    if not registry:
        where = str(folder) if modules is None else some_of(modules) or f"the entry points {ENTRY_POINT_GROUP}"
        raise ExecutorError(f"no executor found in {where}: decorate a function with @executor(TUBE)")
    return dict(registry)


def choose_tubes(executors: dict[str, Executor], include: Sequence[str], exclude: Sequence[str]) -> list[str]:
    """Return the tubes to watch: those of `include`, or all that have an executor if it is empty, without `exclude`.

    Raises ExecutorError if a named tube has no executor, or if no tube is left.
    """
    known = some_of(sorted(executors))
    for tube in (*include, *exclude):
        if tube not in executors:
            raise ExecutorError(f"tube {tube!r} has no executor here; the tubes with one are: {known}")
    tubes = [tube for tube in (include or sorted(executors)) if tube not in exclude]
    if not tubes:
        raise ExecutorError(f"no tube is left to watch: every one of {known} is excluded")
    return list(dict.fromkeys(tubes))


def _import_file(path: Path) -> None:
    if path.stem in sys.stdlib_module_names:
        raise ExecutorError(f"{path.name} has the name of a module of Python's own: rename the file")
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))
    _import(str(path), partial(importlib.import_module, path.stem))
    found = getattr(sys.modules[path.stem], "__file__", None)
    if found is None or not Path(found).samefile(path):
        raise ExecutorError(f"{path.name} has the name of an installed package, {path.stem}: rename the file")


def _import(name: str, load_it: Callable[[], object]) -> None:
    name = shortened(name, 200)
    try:
        load_it()
    except ExecutorError as error:
        raise ExecutorError(f"{name}: {error}") from error
    except BaseException as error:
        raise ExecutorError(f"{name} cannot be imported: {describe(error)}{_source_line(error)}") from error


def _source_line(error: BaseException) -> str:
    trace = error.__traceback__
    while trace and trace.tb_next:
        trace = trace.tb_next
    if isinstance(error, SyntaxError) or trace is None:
        return ""
    return f" ({Path(trace.tb_frame.f_code.co_filename).name}, line {trace.tb_lineno})"
