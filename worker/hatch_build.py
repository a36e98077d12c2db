"""Compiles the modules of the hot path with mypyc while a wheel is built, if it is asked for as `pyproject.toml` says.

Nothing is written beside the sources: an extension module there would be imported in place of a module that was edited.
A C compiler takes half a minute, so what it made is kept in `build`, and used for as long as the C code is the same.
"""

import hashlib
import os
import platform
import shutil
import sysconfig
from contextlib import chdir
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

_TYPES = ("--strict", "--untyped-calls-exclude=prometheus_client")
"""How types are checked, as by the project's own configuration of mypy, which is not in the package's folder."""


class CompilingHook(BuildHookInterface[Any]):
    """Puts extension modules into the wheel, beside the modules of which they are made."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile, and have the wheel be one for this platform and this version of Python."""
        if version == "editable":
            raise ValueError("an editable worker is not compiled: leave HATCH_BUILD_HOOK_ENABLE_CUSTOM out")
        modules = [f"tubeherd/{name}.py" for name in self.config["compiled"]]
        folder = Path(self.root, "build", str(sysconfig.get_config_var("SOABI")))
        sources = Path(self.root, "src")
        compiled_of = _contents(sources)
        libraries = _compile(sources, modules, folder)
        if _contents(sources) != compiled_of:  # the wheel would hold the edited source beside code of the older one
            raise RuntimeError("a file in src was changed while it was compiled: build again")
        build_data["force_include"] |= {str(path): str(path.relative_to(libraries)) for path in libraries.rglob("*.so")}
        build_data |= {"pure_python": False, "infer_tag": True}


def _contents(sources: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in sources.rglob("*.py")}


def _compile(sources: Path, modules: list[str], folder: Path) -> Path:
    """Compile modules, given by their paths in `sources`; return a folder of extension modules, kept in `folder`."""
    import mypyc
    import setuptools  # before mypyc.build, which otherwise asks for the distutils of older Pythons
    from mypyc.build import mypycify

    code = folder / "code"
    with chdir(sources):  # the paths are shown in tracebacks, and must not depend on where the wheel was built
        extensions = mypycify(
            ["--config-file=", "--cache-dir=/dev/null", *_TYPES, *modules],
            opt_level="2",
            debug_level="0",
            target_dir=str(code),
            group_name="tubeherd",
        )
    made_from = [
        Path(__file__),
        *sorted(code.rglob("*.[ch]")),
        *sorted(Path(mypyc.__file__).parent.joinpath("lib-rt").rglob("*.[ch]")),
    ]
    made_by = f"{os.environ.get('CC')} {os.environ.get('CFLAGS')} {platform.libc_ver()}"
    made = b"".join(path.read_bytes() for path in made_from) + made_by.encode()
    libraries = folder / hashlib.sha256(made).hexdigest()[:16]
    if libraries.exists():
        return libraries
    for older in set(folder.iterdir()) - {code}:
        shutil.rmtree(older)
    build = setuptools.Distribution({"name": "tubeherd", "ext_modules": extensions}).get_command_obj("build_ext")
    build.build_lib, build.build_temp = str(folder / "new"), str(folder / "objects")
    build.ensure_finalized()
    build.run()
    return (folder / "new").rename(libraries)
