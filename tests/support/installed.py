"""The worker that is installed in this environment; to import this module raises if it is not that of worker/src."""

import importlib.util
from importlib.metadata import distribution
from pathlib import Path

from tests.support.project import ROOT

SOURCE = ROOT / "worker" / "src" / "tubeherd"


def folder() -> Path:
    """Return the folder from which `tubeherd` is imported."""
    spec = importlib.util.find_spec("tubeherd")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent


def is_compiled() -> bool:
    """Return whether the installed wheel is one for a platform; otherwise nothing of the worker may be compiled."""
    return "Root-Is-Purelib: false" in (distribution("tubeherd").read_text("WHEEL") or "")


def python_files(package: Path) -> dict[str, bytes]:
    """Return the Python files in the folder of a package: their contents by their paths in it."""
    return {str(path.relative_to(package)): path.read_bytes() for path in package.rglob("*.py")}


if folder() != SOURCE and python_files(folder()) != python_files(SOURCE):
    raise ImportError(f"the worker in {folder()} is not that of {SOURCE}: run `make setup`, or use `make … PURE=1`")
