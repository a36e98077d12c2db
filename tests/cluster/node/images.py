"""Builds container images without a registry: a base of Debian's packages, and the project's Dockerfiles on it."""

import ast
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from place import CACHE, CONTAINERD_SOCKET, RUN, STATE, NodeError, alone, run, say

PAUSE = "localhost/tubeherd-pause:1"
_BASE = "localhost/tubeherd-base"
_SUITE = "trixie"
_PACKAGES = "python3-minimal,python3-venv,python3-pip,ca-certificates"
_CA_BUNDLE = Path("/etc/ssl/certs/ca-certificates.crt")
# What a Dockerfile keeps between builds is kept in TMPDIR.
_SETTINGS = {"BUILDAH_ISOLATION": "chroot", "TMPDIR": str(CACHE)}


def import_pause(program: Path) -> None:
    """Make the image that holds a pod's namespaces open and hand it to the node."""
    if _is_imported(PAUSE, key := _digest(program.read_bytes())):
        return
    container = _buildah("from", "scratch").strip()
    _buildah("copy", container, str(program.resolve()), "/pause")
    _buildah("config", "--entrypoint", '["/pause"]', "--user", "65535:65535", container)
    _buildah("commit", "--rm", container, PAUSE)
    _import(PAUSE, key)


def build_and_import(tag: str, dockerfile: Path, context: Path, arguments: Sequence[str]) -> None:
    """Build a Dockerfile on the local base and hand the image to the node, unless both are as they were."""
    if not dockerfile.is_file():
        raise NodeError(f"there is no {dockerfile}")
    base = f"{_BASE}:{_digest(repr((_SUITE, _PACKAGES, os.uname().machine)).encode())}"
    files = _context(context, _copied(dockerfile.read_text()))
    key = _digest(dockerfile.read_bytes(), base.encode(), repr(arguments).encode(), *files)
    if _is_imported(tag, key):
        say(f"image {tag} is up to date")
        return
    with alone():
        if not _is_imported(tag, key):
            _build(tag, key, base, dockerfile, context, arguments)
    say(f"image {tag} is on the node")


def _build(tag: str, key: str, base: str, dockerfile: Path, context: Path, arguments: Sequence[str]) -> None:
    _buildah("rm", "--all")  # what a build that was killed has left
    _make_base(base)
    say(f"building image {tag}")
    with tempfile.TemporaryDirectory() as folder:
        options = ["--build-arg", f"BASE={base}", *(part for arg in arguments for part in ("--build-arg", arg))]
        options += [part for volume in _pip_settings(Path(folder)) for part in ("--volume", volume)]
        _buildah("build", "--layers=false", "--tag", tag, "--file", str(dockerfile), *options, str(context))
    _import(tag, key)


def _make_base(tag: str) -> None:
    """Make the local base image if it is missing: Debian with Python, like the public image of the Dockerfiles."""
    bases = _buildah("images", "--format", "{{.Name}}:{{.Tag}}", "--filter", f"reference={_BASE}").split()
    if tag in bases:
        return
    if bases:
        _buildah("rmi", "--force", *bases)
    say(f"making the base image: Debian {_SUITE} with Python (about a minute)")
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as folder:
        tree = Path(folder) / "tree"
        run(["debootstrap", "--variant=minbase", f"--include={_PACKAGES}", _SUITE, tree])
        shutil.rmtree(tree / "var/cache/apt/archives")
        (tree / "usr/local/bin").mkdir(parents=True, exist_ok=True)
        (tree / "usr/local/bin/python").symlink_to("/usr/bin/python3")
        container = _buildah("from", "scratch").strip()
        _buildah("add", container, str(tree), "/")
        _buildah("config", "--cmd", "/bin/bash", container)
        _buildah("commit", "--rm", container, tag)


def _pip_settings(folder: Path) -> list[str]:
    """Return mounts that give a build this machine's way to its package index, and leave no trace in the image."""
    settings = _pip_configuration()
    volumes, lines = [], ["[global]", "disable-pip-version-check = true"]
    given = ("index-url", "extra-index-url", "trusted-host", "timeout", "default-timeout")
    lines += [f"{name} = {' '.join(settings[name].split())}" for name in given if name in settings]
    bundle = Path(settings.get("cert", _CA_BUNDLE))
    if bundle.is_file():
        volumes.append(f"{bundle}:/run/build/ca.pem:ro")
        lines.append("cert = /run/build/ca.pem")
    wheels = [place for place in settings.get("find-links", "").split() if Path(place).is_dir()]
    for number, place in enumerate(wheels):
        volumes.append(f"{place}:/run/build/wheels{number}:ro")
    if wheels:
        lines.append("find-links = " + " ".join(f"/run/build/wheels{number}" for number in range(len(wheels))))
    (folder / "pip.conf").write_text("\n".join(lines) + "\n")
    return [*volumes, f"{folder}/pip.conf:/etc/pip.conf:ro"]


def _pip_configuration() -> dict[str, str]:
    """Return pip's settings on this machine, of whatever file or variable."""
    listed = ""
    with suppress(NodeError):
        listed = run(["python3", "-m", "pip", "config", "list"])
    pairs = [line.partition("=") for line in listed.splitlines() if "=" in line]
    return {name.rsplit(".", 1)[-1].strip("'"): str(ast.literal_eval(value)) for name, _, value in pairs}


def _copied(dockerfile: str) -> list[str]:
    """Return what a Dockerfile takes from its context."""
    lines = re.findall(r"^\s*(?:COPY|ADD)\s+(.*)$", dockerfile.replace("\\\n", " "), re.MULTILINE | re.IGNORECASE)
    sources = [word for line in lines if "--from=" not in line for word in line.split()[:-1]]
    return [source for source in sources if not source.startswith("--")]


def _context(context: Path, sources: Sequence[str]) -> list[bytes]:
    """Return names and contents of the files that a build copies from its context, those that git would keep."""
    if not sources:
        return []
    listed = run(["git", "-C", context, "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *sources])
    files = [(name, context / name) for name in sorted(set(filter(None, listed.split("\0"))))]
    there = [(name, path) for name, path in files if path.is_file()]
    return [part for name, path in there for part in (f"{name} {path.stat().st_mode}".encode(), path.read_bytes())]


def _import(tag: str, key: str) -> None:
    with tempfile.TemporaryDirectory(dir=RUN) as folder:
        archive = f"{folder}/image.tar"
        _buildah("push", tag, f"oci-archive:{archive}:{tag}")
        _ctr("import", archive)
    _buildah("rmi", "--force", tag)
    _forget_unnamed()
    _key_file(tag).parent.mkdir(parents=True, exist_ok=True)
    _key_file(tag).write_text(key)


def _is_imported(tag: str, key: str) -> bool:
    if not _key_file(tag).exists() or _key_file(tag).read_text() != key:
        return False
    return tag in _ctr("ls", "-q").split()


def _forget_unnamed() -> None:
    """Remove the images that lost their tag to a newer build; containers that run keep their files."""
    digests: dict[str, set[str]] = {}
    for name, _, digest, *_ in (line.split() for line in _ctr("ls").splitlines()[1:]):
        digests.setdefault(digest, set()).add(name)
    unnamed = [name for names in digests.values() for name in names if all(n.startswith("sha256:") for n in names)]
    if unnamed:
        _ctr("rm", *unnamed)


def _ctr(*arguments: str) -> str:
    return run(["ctr", "-a", CONTAINERD_SOCKET, "-n", "k8s.io", "images", *arguments])


def _key_file(tag: str) -> Path:
    return STATE / "images" / tag.replace("/", "_")


def _buildah(*arguments: str) -> str:
    # vfs makes no mounts that a killed build could leave; with --root the variable that names the driver is ignored.
    storage = ["--root", str(CACHE / "buildah"), "--runroot", str(RUN / "buildah"), "--storage-driver", "vfs"]
    # Progress and warnings go to standard error, and are only of use if the command fails.
    done = subprocess.run(
        ["buildah", *storage, *arguments],
        env=os.environ | _SETTINGS,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
    )
    if done.returncode:
        raise NodeError(f"buildah {arguments[0]} failed:\n{(done.stdout + done.stderr)[-4000:]}")
    return done.stdout


def _digest(*parts: bytes) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(hashlib.sha256(part).digest())
    return digest.hexdigest()[:16]
