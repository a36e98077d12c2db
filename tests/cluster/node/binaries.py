"""Builds the node's programs from their Go modules, into a cache keyed by everything that goes in."""

import hashlib
import os
import shutil
from pathlib import Path
from typing import NamedTuple

from place import CACHE, SOURCE, NodeError, run, say


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
    Module("pause", ("./main.go",)),
)


def build_all() -> Path:
    """Build what is missing and return the folder with all programs: kubelet, kubectl, helm, coredns, …"""
    if shutil.which("go") is None:
        raise NodeError(
            "go is not installed: the node is built from source and needs Go 1.26 or newer (https://go.dev)"
        )
    folders = [_build(module) for module in MODULES]
    together = CACHE / "bin"
    together.mkdir(parents=True, exist_ok=True)
    for program in (program for folder in folders for program in folder.iterdir()):
        name = {"server": "etcd", "main": "pause"}.get(program.name, program.name)
        link = together / name
        if not link.is_symlink() or link.readlink() != program:
            link.unlink(missing_ok=True)
            link.symlink_to(program)
    return together


def _build(module: Module) -> Path:
    folder = CACHE / "builds" / f"{module.folder}-{_key(module)}"
    if folder.is_dir():
        return folder
    say(f"building {module.folder} (minutes the first time, seconds with Go's build cache)")
    partial = folder.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    flags = ["-trimpath", "-ldflags", f"-s -w {module.definitions}".strip(), "-o", f"{partial}/"]
    run(
        ["go", "build", *flags, *module.packages],
        env={"CGO_ENABLED": "0", "GOFLAGS": "-buildvcs=false"},
        cwd=SOURCE / module.folder,
    )
    for old in folder.parent.glob(f"{module.folder}-*"):
        if old != partial:
            shutil.rmtree(old)
    partial.rename(folder)
    return folder


def _key(module: Module) -> str:
    digest = hashlib.sha256(repr((module, os.uname().machine, run(["go", "env", "GOVERSION"]))).encode())
    for source in sorted((SOURCE / module.folder).iterdir()):
        digest.update(source.read_bytes())
    return digest.hexdigest()[:16]
