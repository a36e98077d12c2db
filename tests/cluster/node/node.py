#!/usr/bin/env python3
"""Boots and stops a real single-node Kubernetes from the project's own files; see the README beside it."""

import argparse
import json
import os
import platform
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import binaries
import images
import parts
from place import CACHE, CONTAINERD_SOCKET, KUBECONFIG, LOGS, RUN, STATE, NodeError, fail, run, say, wait_for

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
}
_PIDS = STATE / "pids.json"
_FORWARDING = Path("/proc/sys/net/ipv4/ip_forward")


def up() -> None:
    """Boot the node, unless it is up; what an earlier run left half dead is removed first."""
    _check_machine()
    if _is_healthy():
        _renew_volumes()
        say(f"the node is up; KUBECONFIG={KUBECONFIG}")
        return
    _install_packages()
    programs = binaries.build_all()
    if STATE.exists():
        say("removing what an earlier node left")
        _tear_down()
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
    """Say whether the node is up; the exit code tells too."""
    if not _is_healthy():
        raise NodeError("the node is not up; boot it with `make node`")
    say(f"the node is up; KUBECONFIG={KUBECONFIG}")


def print_environment() -> None:
    """Print what a shell has to evaluate to reach the node with kubectl and helm."""
    print(f"export KUBECONFIG={KUBECONFIG}")
    print(f'export PATH="{CACHE / "bin"}:$PATH"')


def _check_machine() -> None:
    missing = []
    if platform.system() != "Linux":
        missing.append("Linux")
    elif os.geteuid() != 0:
        missing.append("root: run it as root, it makes a bridge, mounts and control groups")
    if shutil.which("apt-get") is None:
        missing.append("Debian or a system like it: apt-get is how the container runtime is installed")
    if missing:
        raise NodeError("the node needs " + "; ".join(missing))


def _install_packages() -> None:
    missing = [package for program, package in _PACKAGES.items() if shutil.which(program) is None]
    if missing:
        say(f"installing {' '.join(missing)}")
        quiet = {"DEBIAN_FRONTEND": "noninteractive"}
        run(["apt-get", "update", "-qq"], env=quiet)
        run(["apt-get", "install", "-y", "-qq", "--no-install-recommends", *missing], env=quiet)


# Booting


def _boot(programs: Path) -> None:
    for folder in (STATE, RUN, LOGS, parts.VOLUMES):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    STATE.chmod(0o711)  # volumes are reached by pods of other users
    parts.write_secrets()
    parts.write_configuration()
    _make_bridge()
    say("starting containerd and etcd")
    _start(parts.containerd())
    _start(parts.etcd(programs))
    wait_for("containerd answers", _containerd_answers, 30)
    images.import_pause(programs / "pause")
    say("starting the API server")
    _start(parts.api_server(programs))
    wait_for("the API server has its certificate", (STATE / "certs" / "apiserver.crt").exists, 30)
    parts.write_kubeconfig()
    wait_for("the API server is ready", _api_is_ready, 90)
    say("starting controllers, kubelet, proxy and DNS")
    for part in parts.controllers(programs):
        _start(part)
    wait_for("the node is ready", _node_is_ready, 90)
    wait_for("the cluster's DNS answers", _dns_answers, 30)
    _renew_volumes()


def _start(part: parts.Part) -> None:
    with (LOGS / f"{part.name}.log").open("ab") as log:
        process = subprocess.Popen(
            part.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, cwd="/"
        )
    pids = _recorded() | {part.name: [process.pid, _birth(process.pid)]}
    _PIDS.write_text(json.dumps(pids))


def _make_bridge() -> None:
    previous = _FORWARDING.read_text()
    (STATE / "ip_forward").write_text(previous)
    _FORWARDING.write_text("1")
    run(["ip", "link", "add", parts.BRIDGE, "type", "bridge"])
    run(["ip", "address", "add", f"{parts.NODE_ADDRESS}/24", "dev", parts.BRIDGE])
    run(["ip", "link", "set", parts.BRIDGE, "up"])


def _renew_volumes() -> None:
    """Make every volume that no claim holds fresh again."""
    listed = json.loads(_kubectl("get", "persistentvolumes", "-o", "json"))["items"]
    in_use = {item["metadata"]["name"] for item in listed if item["status"].get("phase") == "Bound"}
    used = [item["metadata"]["name"] for item in listed if item["status"].get("phase") in ("Released", "Failed")]
    if used:
        _kubectl("delete", "persistentvolume", *used)
    for number in range(parts.VOLUME_COUNT):
        folder = parts.VOLUMES / f"local-{number}"
        if folder.name not in in_use:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
    parts.VOLUMES.chmod(0o711)
    with (RUN / "volumes.json").open("w") as file:
        file.write(parts.volumes())
    _kubectl("apply", "-f", str(RUN / "volumes.json"))


def _kubectl(*arguments: str) -> str:
    return run([CACHE / "bin" / "kubectl", f"--kubeconfig={KUBECONFIG}", "--request-timeout=10s", *arguments])


def _containerd_answers() -> bool:
    with suppress(NodeError):
        run(["ctr", "-a", CONTAINERD_SOCKET, "version"])
        return True
    _check_alive("containerd")
    return False


def _api_is_ready() -> bool:
    with suppress(NodeError):
        return _kubectl("get", "--raw", "/readyz").strip() == "ok"
    _check_alive("kube-apiserver")
    return False


def _node_is_ready() -> bool:
    with suppress(NodeError):
        path = '{.status.conditions[?(@.type=="Ready")].status}'
        return _kubectl("get", "node", parts.NODE_NAME, "-o", f"jsonpath={path}") == "True"
    _check_alive("kubelet")
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
    _check_alive("coredns")
    return False


def _check_alive(name: str) -> None:
    if name not in _alive():
        tail = "\n".join((LOGS / f"{name}.log").read_text(errors="replace").splitlines()[-15:])
        raise NodeError(f"{name} ended; its last words:\n{tail}")


def _is_healthy() -> bool:
    if not KUBECONFIG.exists() or not _PIDS.exists() or set(_alive()) != set(_recorded()) or len(_recorded()) < 8:
        return False
    return _api_is_ready() and _node_is_ready() and _dns_answers()


# Processes: a recycled pid has another time of birth and is never touched


def _recorded() -> dict[str, list[int]]:
    with suppress(FileNotFoundError, ValueError):
        pids: dict[str, list[int]] = json.loads(_PIDS.read_text())
        return pids
    return {}


def _alive() -> dict[str, int]:
    return {name: pid for name, (pid, birth) in _recorded().items() if _birth(pid) == birth}


def _birth(pid: int) -> int:
    """Return when a process began, in clock ticks since boot; 0 where there is none, or only its zombie."""
    with suppress(OSError, IndexError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return 0 if fields[0] == "Z" else int(fields[19])
    return 0


# Stopping


def _tear_down() -> None:
    if "kube-apiserver" in _alive() and KUBECONFIG.exists():
        say("deleting the pods")
        _stop(["kube-controller-manager", "kube-scheduler"])
        with suppress(NodeError):
            _kubectl("delete", "pods", "--all", "--all-namespaces", "--grace-period=1", "--wait=false")
            wait_for("the pods are gone", lambda: not _pods_left(), 20)
    say("stopping the node's processes")
    _stop(["kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy", "coredns", "kube-apiserver", "etcd"])
    _kill_containers()
    _stop(["containerd"])
    _remove_network()
    _remove_files()


def _pods_left() -> bool:
    return bool(_kubectl("get", "pods", "--all-namespaces", "-o", "name").strip())


def _stop(names: Iterable[str]) -> None:
    for number, seconds in ((signal.SIGTERM, 20), (signal.SIGKILL, 5)):
        pids = [pid for name, pid in _alive().items() if name in names]
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, number)
        deadline = time.monotonic() + seconds
        while any(name in names for name in _alive()) and time.monotonic() < deadline:
            time.sleep(0.05)


def _kill_containers() -> None:
    """End the shims of our containerd, and with them every container they keep."""
    shims = [
        int(entry.name)
        for entry in Path("/proc").iterdir()
        if entry.name.isdigit() and str(CONTAINERD_SOCKET) in _command_line(entry) and "shim" in _command_line(entry)
    ]
    children = [child for shim in shims for child in _descendants(shim)]
    for pid in (*shims, *children):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _command_line(entry: Path) -> str:
    with suppress(OSError):
        return (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    return ""


def _descendants(pid: int) -> list[int]:
    with suppress(OSError):
        children = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
        return [found for child in children for found in (child, *_descendants(child))]
    return []


def _remove_network() -> None:
    for family in ("iptables", "ip6tables"):
        with suppress(NodeError):
            rules = run([f"{family}-save"])
            # Chains and rules of kube-proxy, kubelet and the CNI plugins all bear these names.
            kept = [line for line in rules.splitlines() if not re.search(r"KUBE-|CNI-|tubeherd", line)]
            if len(kept) != len(rules.splitlines()):
                subprocess.run([f"{family}-restore"], input="\n".join(kept) + "\n", text=True, check=False)
    for namespace in Path("/run/netns").glob("cni-*") if Path("/run/netns").exists() else []:
        with suppress(NodeError):
            run(["ip", "netns", "delete", namespace.name])
    with suppress(NodeError):
        run(["ip", "link", "delete", parts.BRIDGE])
    if (STATE / "ip_forward").exists():
        _FORWARDING.write_text((STATE / "ip_forward").read_text())


def _remove_files() -> None:
    mounted = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    ours = (f"{STATE}/", f"{RUN}/")
    for path in sorted((path for path in mounted if path.startswith(ours)), reverse=True):
        subprocess.run(["umount", "--lazy", path], check=False)
    _remove_cgroups()
    for link in Path("/var/log/containers").glob("*.log") if Path("/var/log/containers").exists() else []:
        if link.is_symlink() and str(link.readlink()).startswith(str(STATE)):
            link.unlink()
    for folder in (STATE, RUN):
        shutil.rmtree(folder, ignore_errors=True)
        if folder.exists():
            raise NodeError(f"{folder} cannot be removed: something still uses it")


def _remove_cgroups() -> None:
    tops = [*Path("/sys/fs/cgroup").glob("*/kubepods"), *Path("/sys/fs/cgroup").glob("kubepods")]
    for top in tops:
        for folder in sorted((path for path in top.rglob("*") if path.is_dir()), reverse=True):
            with suppress(OSError):
                folder.rmdir()
        with suppress(OSError):
            top.rmdir()


def main() -> None:
    """Run the command."""
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
    given = parser.parse_args()
    try:
        match given.command:
            case "up":
                up()
            case "down":
                down()
            case "status":
                status()
            case "env":
                print_environment()
            case "image":
                images.build_and_import(given.tag, given.dockerfile, given.context, given.build_arg)
    except NodeError as error:
        fail(error)


if __name__ == "__main__":
    main()
