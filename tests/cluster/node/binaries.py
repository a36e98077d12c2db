"""Builds the node's programs from their Go modules, into a cache keyed by everything that goes in."""

from pathlib import Path
from typing import NamedTuple

from builds import cached, key_of, remove_all_but
from golang import Go, find_go
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
    go = find_go()
    folders = [*(build_module(module, go) for module in MODULES), _build_pause()]
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
    remove_all_but([*folders, *([go.folder] if go.folder else [])])
    return together


def build_module(module: Module, go: Go) -> Path:
    """Build the programs of one module, unless they are in the cache, and return their folder."""
    flags = ["-trimpath", "-ldflags", f"-s -w {module.definitions}".strip()]

    def build(target: Path) -> None:
        say(f"building {module.folder} (minutes the first time, seconds with Go's build cache)")
        command = [go.command, "build", *flags, "-o", f"{target}/", *module.packages]
        variables = {**go.variables, "CGO_ENABLED": "0", "GOFLAGS": "-buildvcs=false"}
        run(command, env=variables, cwd=SOURCE / module.folder)

    sources = [SOURCE / module.folder / name for name in ("go.mod", "go.sum")]
    return cached(module.folder, key_of(sources, module.packages, flags, go.version), build)


def _build_pause() -> Path:
    source, flags = SOURCE / "pause.c", ["-Os", "-Wall", "-Werror", "-static", "-s"]
    return cached("pause", key_of([source], flags), lambda target: _compile(source, flags, target / "pause"))


def _compile(source: Path, flags: list[str], target: Path) -> None:
    run(["gcc", *flags, "-o", target, source])
