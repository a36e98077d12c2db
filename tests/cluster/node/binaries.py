"""Builds the node's programs from their Go modules, into a cache keyed by everything that goes in."""

import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from place import CACHE, SOURCE, run, say


class Module(NamedTuple):
    """A folder with a go.mod, the packages to build from it, and the linker's definitions."""

    folder: str
    packages: tuple[str, ...]
    definitions: str = ""


_KUBERNETES_VERSION = (
    "-X k8s.io/component-base/version.gitVersion=v1.35.4 "
    "-X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=35"
)
_COMMANDS = ("kube-apiserver", "kube-controller-manager", "kube-proxy", "kube-scheduler", "kubectl", "kubelet")
MODULES = (
    Module(
        "kubernetes",
        ("go.etcd.io/etcd/server/v3", *(f"k8s.io/kubernetes/cmd/{command}" for command in _COMMANDS)),
        _KUBERNETES_VERSION,
    ),
    Module("coredns", ("github.com/coredns/coredns",)),
    Module("helm", ("helm.sh/helm/v4/cmd/helm",)),
)


def build_all() -> Path:
    """Build what is missing and return the folder with all programs: kubelet, kubectl, helm, coredns, …"""
    folders = [_build_module(module) for module in MODULES]
    folders.append(_build_pause())
    together = CACHE / "bin"
    together.mkdir(parents=True, exist_ok=True)
    for program in (program for folder in folders for program in folder.iterdir()):
        name = {"server": "etcd"}.get(program.name, program.name)
        link = together / name
        if not link.is_symlink() or link.readlink() != program:
            partial = together / f".{name}"
            partial.unlink(missing_ok=True)
            partial.symlink_to(program)
            partial.rename(link)
    for old in set((CACHE / "builds").iterdir()) - set(folders):
        shutil.rmtree(old)
    return together


def _build_module(module: Module) -> Path:
    flags = ["-trimpath", "-ldflags", f"-s -w {module.definitions}".strip()]

    def build(target: Path) -> None:
        say(f"building {module.folder} (minutes the first time, seconds with Go's build cache)")
        command = ["go", "build", *flags, "-o", f"{target}/", *module.packages]
        run(command, env={"CGO_ENABLED": "0", "GOFLAGS": "-buildvcs=false"}, cwd=SOURCE / module.folder)

    sources = [SOURCE / module.folder / name for name in ("go.mod", "go.sum")]
    return _cached(module.folder, _key(sources, module.packages, flags, run(["go", "env", "GOVERSION"])), build)


def _build_pause() -> Path:
    source, flags = SOURCE / "pause.c", ["-Os", "-Wall", "-Werror", "-static", "-s"]
    return _cached("pause", _key([source], flags), lambda target: _compile(source, flags, target / "pause"))


def _compile(source: Path, flags: list[str], target: Path) -> None:
    run(["gcc", *flags, "-o", target, source])


def _cached(name: str, key: str, build: Callable[[Path], None]) -> Path:
    """Return the folder of what has this key, built where it is missing."""
    folder = CACHE / "builds" / f"{name}-{key}"
    if folder.is_dir():
        return folder
    partial = folder.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    build(partial)
    partial.rename(folder)
    return folder


def _key(sources: list[Path], *settings: object) -> str:
    digest = hashlib.sha256(repr((settings, os.uname().machine)).encode())
    for source in sources:
        digest.update(source.read_bytes())
    return digest.hexdigest()[:16]
