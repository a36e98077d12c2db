"""What the node leaves on the machine beside its processes: containers, network, mounts, control groups and files."""

import json
import os
import re
import shutil
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

from parts import BRIDGE, CNI_NETWORK
from place import CONTAINERD_SOCKET, RUN, STATE, NodeError, run, wait_for

_SETTINGS = STATE / "kernel.json"
# The kernel settings that the kubelet, kube-proxy and the bridge change.
_CHANGED = (
    *("net/ipv4/ip_forward", "net/ipv4/conf/all/route_localnet", "vm/overcommit_memory", "vm/panic_on_oom"),
    *("kernel/panic", "kernel/panic_on_oops", "kernel/keys/root_maxkeys", "kernel/keys/root_maxbytes"),
)
# Paths that the parts have built in; a folder goes only when nothing else is in it.
_LITTER = (
    "/run/containerd/s",
    "/run/containerd",
    "/run/netns",
    "/var/lib/cni/results",
    "/var/lib/cni",
    "/var/lib/kubelet/device-plugins/kubelet.sock",
    "/var/lib/kubelet/device-plugins",
    "/var/lib/kubelet",
    "/var/log/containers",
    "/run/containers/networks",
    "/run/containers",
)
_SHIM_SOCKETS = Path("/run/containerd/s")
_CNI_RESULTS = Path("/var/lib/cni/results")
_BUILDAH_CACHE = Path("/var/lib/containers/cache/blob-info-cache-v1.boltdb")


def save_kernel_settings() -> None:
    """Note the kernel settings that the node changes, for the way back."""
    files = [Path("/proc/sys", name) for name in _CHANGED]
    _SETTINGS.write_text(json.dumps({str(file): file.read_text() for file in files if file.exists()}))


def restore_kernel_settings() -> None:
    """Set the kernel as it was before the node booted."""
    with suppress(FileNotFoundError, ValueError):
        for file, value in json.loads(_SETTINGS.read_text()).items():
            with suppress(OSError):
                Path(file).write_text(value)


def pod_processes() -> set[int]:
    """Return the pids of all containers: the processes in the kubelet's control groups."""
    pids: set[int] = set()
    for top in _pod_groups():
        for file in top.rglob("cgroup.procs"):
            with suppress(OSError):
                pids.update(int(line) for line in file.read_text().split())
    return pids - {0}  # a process of another pid namespace; to kill 0 is to kill oneself


def kill_containers() -> None:
    """End the shims of our containerd, and every container, also those whose shim is gone."""

    def kill() -> bool:
        pids = pod_processes() | _shims()
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return not pids

    wait_for("the containers are gone", kill, 20)


def remove_network() -> None:
    """Remove the packet filter's rules, the pods' network namespaces and the bridge."""
    for family in ("iptables", "ip6tables"):
        with suppress(NodeError):
            rules = run([f"{family}-save"]).splitlines()
            # Chains and rules of kube-proxy, kubelet and the CNI plugins all bear these names.
            kept = [line for line in rules if not re.search(r"KUBE-|CNI-|tubeherd", line)]
            if len(kept) != len(rules):
                run([f"{family}-restore"], stdin="\n".join(kept) + "\n")
    _remove_namespaces()
    with suppress(NodeError):
        run(["ip", "link", "delete", BRIDGE])


def _remove_namespaces() -> None:
    """Remove the network namespaces of our pods, known by what the CNI plugins noted of them."""
    for result in _CNI_RESULTS.glob(f"{CNI_NETWORK}-*"):
        with suppress(OSError, ValueError, NodeError):
            noted = json.loads(result.read_text())
            for sandbox in {interface.get("sandbox", "") for interface in noted["result"]["interfaces"]} - {""}:
                run(["ip", "netns", "delete", Path(sandbox).name])
        for same_pod in _CNI_RESULTS.glob(f"*-{_container(result)}-*"):
            same_pod.unlink()


def _container(result: Path) -> str:
    return result.name.removeprefix(f"{CNI_NETWORK}-").partition("-")[0]


def remove_files() -> None:
    """Undo the mounts and remove all files but the cache."""
    wait_for(f"no mount is left in {STATE} and {RUN}", _unmount, 10)
    for top in _pod_groups():
        for folder in (*sorted((path for path in top.rglob("*") if path.is_dir()), reverse=True), top):
            with suppress(OSError):
                folder.rmdir()
    for link in Path("/var/log/containers").glob("*.log"):
        if link.is_symlink() and str(link.readlink()).startswith(str(STATE)):
            link.unlink()
    for folder in (STATE, RUN):
        shutil.rmtree(folder, ignore_errors=True)
        if folder.exists():
            raise NodeError(f"{folder} cannot be removed: something still uses it")
    _remove_litter()


def _remove_litter() -> None:
    cache = _BUILDAH_CACHE.parent
    if [path.name for path in cache.parent.glob("*")] == [cache.name]:  # nobody but us used buildah or podman
        _BUILDAH_CACHE.unlink(missing_ok=True)
    listening = Path("/proc/net/unix").read_text()
    for file in _SHIM_SOCKETS.glob("*"):
        if str(file) not in listening:
            file.unlink()
    for path in (*map(Path, _LITTER), cache, cache.parent):
        with suppress(OSError):
            path.unlink() if path.is_socket() else path.rmdir()


def _unmount() -> bool:
    mounted = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    ours = sorted({path for path in mounted if path.startswith((f"{STATE}/", f"{RUN}/"))}, reverse=True)
    for path in ours:
        subprocess.run(["umount", "--lazy", path], check=False, capture_output=True)
    return not ours


def _pod_groups() -> list[Path]:
    top = Path("/sys/fs/cgroup")
    return [*top.glob("*/kubepods"), *top.glob("kubepods")]


def _shims() -> set[int]:
    socket = str(CONTAINERD_SOCKET).encode()
    commands = {int(entry.name): _command(entry) for entry in Path("/proc").iterdir() if entry.name.isdigit()}
    return {pid for pid, command in commands.items() if b"containerd-shim" in command and socket in command}


def _command(entry: Path) -> bytes:
    with suppress(OSError):
        return (entry / "cmdline").read_bytes()
    return b""
