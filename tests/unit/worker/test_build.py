"""What is compiled: all that the wheel's build lists in the one build, and nothing in the other."""

import os
import subprocess
import sys
import tomllib
import zipfile
from importlib.machinery import EXTENSION_SUFFIXES
from importlib.util import find_spec, module_from_spec, spec_from_file_location

import pytest

from tests.support import installed
from tests.support.project import ROOT

HOOK = tomllib.loads((ROOT / "worker/pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"][
    "hooks"
]
HOT = {f"tubeherd.{name.replace('/', '.')}" for name in HOOK["custom"]["compiled"]}


def is_extension(module):
    return find_spec(module).origin.endswith(tuple(EXTENSION_SUFFIXES))


def test_a_worker_that_is_installed_as_compiled_is_so_wherever_it_says_so_and_any_other_nowhere():
    files = [path.removesuffix(".py").removesuffix("/__init__") for path in installed.python_files(installed.SOURCE)]
    modules = {f"tubeherd.{file.replace('/', '.')}" for file in files if file != "__init__"}
    assert {module for module in modules if is_extension(module)} == (HOT if installed.is_compiled() else set())


def test_no_extension_module_lies_beside_the_sources():
    assert list(installed.SOURCE.parent.rglob("*.so")) == []


def test_a_wheel_that_is_built_without_a_word_holds_the_sources_and_no_binary(tmp_path):
    plain = {name: value for name, value in os.environ.items() if not name.startswith("HATCH_")}
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=ROOT / "worker", env=plain, check=True, capture_output=True)
    (wheel,) = tmp_path.iterdir()
    assert wheel.name.endswith("-py3-none-any.whl")
    with zipfile.ZipFile(wheel) as archive:
        held = {name: archive.read(name) for name in archive.namelist() if ".dist-info/" not in name}
    assert held.pop("tubeherd/py.typed") == b""
    assert held == {f"tubeherd/{path}": data for path, data in installed.python_files(installed.SOURCE).items()}


def test_no_wheel_is_made_of_a_source_that_was_edited_while_it_was_compiled(tmp_path, monkeypatch):
    spec = spec_from_file_location("hatch_build", ROOT / "worker/hatch_build.py")
    hatch_build = module_from_spec(spec)
    spec.loader.exec_module(hatch_build)
    source = tmp_path / "src/tubeherd/job.py"
    source.parent.mkdir(parents=True)
    source.write_text("old = 1")

    def edit_and_compile(*_):
        source.write_text("new = 1")
        return tmp_path / "build"

    monkeypatch.setattr(hatch_build, "_compile", edit_and_compile)
    hook = hatch_build.CompilingHook(str(tmp_path), {"compiled": ["job"]}, None, None, str(tmp_path), "wheel")
    with pytest.raises(RuntimeError, match="was changed while it was compiled"):
        hook.initialize("standard", {"force_include": {}})
