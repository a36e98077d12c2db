#!/usr/bin/env python3
"""Boots and stops a real single-node Kubernetes from the project's own files; see the README beside it."""

import argparse
import importlib.util
import os
import platform
import shutil
import socket
import sys
from contextlib import suppress
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import binaries
import images
import leftovers
import parts
import processes
from place import CACHE, CONTAINERD_SOCKET, KUBECONFIG, LOGS, RUN, STATE, NodeError, alone, fail, run, say, wait_for

# A program or file, and the Debian package that has it.
_PACKAGES = {
    "containerd": "containerd",
    "runc": "runc",
    "buildah": "buildah",
    "/usr/lib/cni/bridge": "containernetworking-plugins",
    "iptables": "iptables",
    "conntrack": "conntrack",
    "debootstrap": "debootstrap",
    "ip": "iproute2",
    "openssl": "openssl",
    "git": "git",
    "gcc": "gcc",
    "/usr/include/stdlib.h": "libc6-dev",
}
_CLIENTS = ("kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy", "coredns")
_PART_COUNT = 8


def up() -> None:
    """Boot the node, unless it is up; what an earlier run left half dead is removed first."""
    if _is_healthy():
        _renew_volumes()
        say(f"the node is up; KUBECONFIG={KUBECONFIG}")
        return
    _install_packages()
    programs = binaries.build_all()
    if STATE.exists() or RUN.exists():
        say("removing what an earlier node left")
        _tear_down()
    if leftovers.pod_processes():
        raise NodeError("another Kubernetes node runs on this machine: its pods are in the control group kubepods")
    _boot(programs)
    say(f"the node is up; KUBECONFIG={KUBECONFIG}")


def down() -> None:
    """Stop the node and remove everything but the cache of programs and base image."""
    if not STATE.exists() and not RUN.exists():
        say("the node is not up")
        return
    _tear_down()
    say("the node is gone")


def status() -> None:
    """Print whether the node is up; raises NodeError if it is not."""
    if not _is_healthy():
        raise NodeError("the node is not up; boot it with `make node`")
    say(f"the node is up; KUBECONFIG={KUBECONFIG}")


def print_environment() -> None:
    """Print what a shell has to evaluate to reach the node with kubectl and helm."""
    print(f"export KUBECONFIG={KUBECONFIG}")
    print(f'export PATH="{CACHE / "bin"}:$PATH"')


def build_image(tag: str, dockerfile: Path, context: Path, arguments: list[str]) -> None:
    """Build an image and hand it to the node."""
    if not _containerd_answers():
        raise NodeError("the node is not up; boot it with `make node`")
    images.build_and_import(tag, dockerfile, context, arguments)


def _check_machine() -> None:
    missing = []
    if platform.system() != "Linux":
        missing.append("Linux")
    elif os.geteuid() != 0:
        missing.append("root: it makes a bridge, mounts and control groups")
    if shutil.which("apt-get") is None:
        missing.append("Debian or a system like it: apt-get is how the container runtime is installed")
    if missing:
        raise NodeError("the node needs\n" + "\n".join(f"- {need}" for need in missing))


def _install_packages() -> None:
    wanted = _PACKAGES.items()
    missing = [package for program, package in wanted if not (shutil.which(program) or Path(program).is_file())]
    if importlib.util.find_spec("ensurepip") is None:
        missing.append("python3-venv")  # Debian parts it from Python; Go may have to come from a Python package
    if missing:
        say(f"installing {' '.join(missing)}")
        quiet = {"DEBIAN_FRONTEND": "noninteractive"}
        run(["apt-get", "update", "-qq"], env=quiet)
        run(["apt-get", "install", "-y", "-qq", "--no-install-recommends", *missing], env=quiet)


# Booting


def _boot(programs: Path) -> None:
    for folder in (STATE, RUN, LOGS, parts.VOLUMES):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    for folder in (STATE, parts.VOLUMES):
        folder.chmod(0o711)  # volumes are reached by pods of other users
    parts.write_secrets()
    parts.write_configuration()
    leftovers.save_kernel_settings()
    _make_bridge()
    say("starting containerd and etcd")
    processes.start(parts.containerd())
    processes.start(parts.etcd(programs))
    wait_for("containerd answers", _containerd_answers, 30, "containerd")
    images.import_pause(programs / "pause")
    say("starting the API server")
    processes.start(parts.api_server(programs))
    wait_for("the API server has its certificate", _api_has_certificate, 60, "kube-apiserver")
    parts.write_kubeconfig()
    wait_for("the API server is ready", _api_is_ready, 120, "kube-apiserver")
    say("starting controllers, kubelet, proxy and DNS")
    for part in parts.controllers(programs):
        processes.start(part)
    wait_for("the node is ready", _node_is_ready, 120, "kubelet")
    wait_for("the cluster's DNS answers", _dns_answers, 60, "coredns")
    _make_volumes(range(parts.VOLUME_COUNT))
    wait_for("pods can be made", _service_account_is_there, 60, "kube-controller-manager")


def _make_bridge() -> None:
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
    run(["ip", "link", "add", parts.BRIDGE, "type", "bridge"])
    run(["ip", "address", "add", f"{parts.NODE_ADDRESS}/24", "dev", parts.BRIDGE])
    run(["ip", "link", "set", parts.BRIDGE, "up"])


def _make_volumes(numbers: range | list[int]) -> None:
    for number in numbers:
        (parts.VOLUMES / f"local-{number}").mkdir()
    (RUN / "volumes.json").write_text(parts.volumes(numbers))
    _kubectl("apply", "--server-side", "-f", str(RUN / "volumes.json"))


def _renew_volumes() -> None:
    """Make the volumes fresh again whose claim is gone."""
    shown = 'jsonpath={range .items[*]}{.status.phase} {.metadata.name}{"\\n"}{end}'
    lines = [line.split() for line in _kubectl("get", "persistentvolumes", "-o", shown).splitlines()]
    used = [name for phase, name in lines if phase in ("Released", "Failed") and name.startswith("local-")]
    if used:
        say(f"renewing {len(used)} used volumes")
        _kubectl("delete", "persistentvolume", *used)
        for name in used:
            shutil.rmtree(parts.VOLUMES / name)
        _make_volumes([int(name.removeprefix("local-")) for name in used])


def _kubectl(*arguments: str) -> str:
    return run([CACHE / "bin" / "kubectl", f"--kubeconfig={KUBECONFIG}", "--request-timeout=10s", *arguments])


# Conditions


def _containerd_answers() -> bool:
    with suppress(NodeError):
        run(["ctr", "-a", CONTAINERD_SOCKET, "version"])
        return True
    processes.check_alive()
    return False


def _api_has_certificate() -> bool:
    processes.check_alive()
    return (STATE / "certs" / "apiserver.crt").exists()


def _api_is_ready() -> bool:
    with suppress(NodeError):
        return _kubectl("get", "--raw", "/readyz").strip() == "ok"
    processes.check_alive()
    return False


def _node_is_ready() -> bool:
    with suppress(NodeError):
        path = '{.status.conditions[?(@.type=="Ready")].status}'
        return _kubectl("get", "node", parts.NODE_NAME, "-o", f"jsonpath={path}") == "True"
    processes.check_alive()
    return False


def _dns_answers() -> bool:
    """Ask for the API server's own name, as a pod would."""
    name = b"".join(bytes([len(part)]) + part for part in b"kubernetes.default.svc.cluster.local".split(b".")) + b"\0"
    query = b"\x12\x34\x01\x00\x00\x01" + b"\0" * 6 + name + b"\x00\x01\x00\x01"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(1)
        with suppress(OSError):
            sock.sendto(query, (parts.NODE_ADDRESS, 53))
            answer = sock.recv(512)
            return answer[3] & 0x0F == 0 and answer[7] > 0
    processes.check_alive()
    return False


def _service_account_is_there() -> bool:
    with suppress(NodeError):
        return bool(_kubectl("get", "serviceaccount", "default", "-o", "name"))
    processes.check_alive()
    return False


def _is_healthy() -> bool:
    if len(processes.alive()) != _PART_COUNT or not KUBECONFIG.exists():
        return False
    with suppress(NodeError):
        return _api_is_ready() and _node_is_ready() and _dns_answers()
    return False


# Stopping


def _tear_down() -> None:
    alive = set(processes.alive())
    if {"etcd", "kube-apiserver", "kubelet", "containerd"} <= alive and KUBECONFIG.exists():
        say("deleting the pods")
        processes.stop(("kube-controller-manager", "kube-scheduler"))
        with suppress(NodeError):
            _kubectl("delete", "pods", "--all", "--all-namespaces", "--grace-period=1", "--wait=false")
            wait_for("the pods are gone", lambda: not _pods_left(), 20)
    say("stopping the node's processes")
    # Clients end before the API server, which waits for their watches, and the API server before its store.
    processes.stop(_CLIENTS)
    processes.stop(("kube-apiserver",), 20 if "etcd" in alive else 0)
    processes.stop(("etcd",))
    leftovers.kill_containers()
    processes.stop(("containerd",))
    leftovers.remove_network()
    leftovers.restore_kernel_settings()
    leftovers.remove_files()


def _pods_left() -> bool:
    return bool(_kubectl("get", "pods", "--all-namespaces", "-o", "name").strip())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("up", help="boot the node, unless it is up")
    commands.add_parser("down", help="stop it and leave nothing behind but the cache")
    commands.add_parser("status", help="say whether it is up")
    commands.add_parser("env", help="print the variables that kubectl and helm need")
    image = commands.add_parser("image", help="build a Dockerfile and hand the image to the node")
    image.add_argument("tag")
    image.add_argument("dockerfile", type=Path)
    image.add_argument("context", type=Path, nargs="?", default=Path())
    image.add_argument("--build-arg", action="append", default=[], metavar="NAME=VALUE")
    return parser


def main() -> None:
    """Run the command."""
    given = _parser().parse_args()
    try:
        match given.command:
            case "status":
                status()
            case "env":
                print_environment()
            case "up":
                _check_machine()
                with alone():
                    up()
            case "down":
                with alone():
                    down()
            case "image":
                build_image(given.tag, given.dockerfile, given.context, given.build_arg)
    except NodeError as error:
        fail(error)
    except PermissionError as error:
        fail(NodeError(f"{error}; run it as root"))


if __name__ == "__main__":
    main()
