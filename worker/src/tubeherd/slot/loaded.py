"""From which folders a slot has imported modules of the user. With `--reload` the supervisor watches them."""

import os
import sys
from collections.abc import Iterator


def loaded_folders(error: BaseException | None) -> set[str]:
    """Return the folders of all modules that are not installed; of those too whose import failed by this error."""
    files = {os.path.abspath(file) for file in (*_of_modules(), *_of_error(error)) if file.endswith(".py")}
    return {os.path.dirname(file) for file in files if not _is_installed(file)}


def _of_modules() -> Iterator[str]:
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if isinstance(file, str) and name.partition(".")[0] not in ("tubeherd", "__main__"):
            yield file


def _of_error(error: BaseException | None) -> Iterator[str]:
    """Yield the files in the tracebacks of an error and its causes, and the one that is no Python."""
    seen = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if isinstance(error, SyntaxError) and error.filename:
            yield error.filename
        trace = error.__traceback__
        while trace is not None:
            if trace.tb_frame.f_globals.get("__name__", "").partition(".")[0] != "tubeherd":
                yield trace.tb_frame.f_code.co_filename
            trace = trace.tb_next
        error = error.__cause__


def _is_installed(file: str) -> bool:
    parts = ("/site-packages/", "/dist-packages/")
    return file.startswith(os.path.dirname(os.__file__) + os.sep) or any(part in file for part in parts)
