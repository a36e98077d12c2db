"""The parts of the node: their configuration files and command lines."""

import json
import secrets
from collections.abc import Iterable
from pathlib import Path
from typing import Final, NamedTuple

from images import PAUSE
from place import AUDIT, CONTAINERD_SOCKET, KUBECONFIG, RUN, STATE, run

# RFC 2544's benchmarking range, which collides with nobody's network.
NODE_ADDRESS: Final = "198.18.0.1"
POD_RANGE: Final = "198.18.0.0/24"
SERVICE_RANGE: Final = "198.19.0.0/24"
BRIDGE: Final = "tubeherd0"
CNI_NETWORK: Final = "tubeherd"
NODE_NAME: Final = "tubeherd-node"
API_SERVER: Final = f"https://{NODE_ADDRESS}:6443"
_ETCD: Final = "http://127.0.0.1:12379"
_ETCD_PEER: Final = "http://127.0.0.1:12380"
VOLUMES: Final = STATE / "volumes"
# Claims leave their volume used, and the next `up` renews it: enough for the tests between.
VOLUME_COUNT: Final = 64


class Part(NamedTuple):
    """One process of the node."""

    name: str
    command: list[str]


def write_secrets() -> None:
    """Make the keys and the token of a new node."""
    STATE.mkdir(parents=True, exist_ok=True, mode=0o700)
    _private(STATE / "token", token := secrets.token_hex(24))
    _private(STATE / "tokens.csv", f'{token},admin,admin,"system:masters"\n')
    run(["openssl", "genrsa", "-out", STATE / "service-account.key", "2048"])
    # The API server's client certificate for the kubelet, and its own authority.
    request = ["-x509", "-newkey", "rsa:2048", "-nodes", "-days", "365", "-subj", "/O=system:masters/CN=kube-apiserver"]
    run(["openssl", "req", *request, "-keyout", STATE / "kubelet-client.key", "-out", STATE / "kubelet-client.crt"])


def write_configuration() -> None:
    """Write the configuration files of every part."""
    _private(STATE / "containerd.toml", _containerd())
    _private(STATE / "cni" / "10-bridge.conflist", json.dumps(_cni(), indent=1))
    _private(STATE / "kubelet.json", json.dumps(_kubelet(), indent=1))
    _private(STATE / "kube-proxy.json", json.dumps(_proxy(), indent=1))
    _private(STATE / "Corefile", _corefile())
    _private(STATE / "audit.json", json.dumps(_audit(), indent=1))


def write_kubeconfig() -> None:
    """Write the administrator's kubeconfig, once the API server has made its certificate."""
    cluster = {"server": API_SERVER, "certificate-authority": str(STATE / "certs" / "apiserver.crt")}
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "tubeherd-node", "cluster": cluster}],
        "users": [{"name": "admin", "user": {"token": (STATE / "token").read_text()}}],
        "contexts": [{"name": "tubeherd-node", "context": {"cluster": "tubeherd-node", "user": "admin"}}],
        "current-context": "tubeherd-node",
    }
    _private(KUBECONFIG, json.dumps(config, indent=1))


def containerd() -> Part:
    """Return the container runtime."""
    return Part("containerd", ["containerd", "--config", f"{STATE}/containerd.toml"])


def etcd(programs: Path) -> Part:
    """Return the store."""
    urls = [f"--listen-client-urls={_ETCD}", f"--advertise-client-urls={_ETCD}", f"--listen-peer-urls={_ETCD_PEER}"]
    peers = [f"--initial-advertise-peer-urls={_ETCD_PEER}", f"--initial-cluster=default={_ETCD_PEER}"]
    return Part("etcd", [f"{programs}/etcd", f"--data-dir={STATE}/etcd", "--unsafe-no-fsync", *urls, *peers])


def api_server(programs: Path) -> Part:
    """Return the API server."""
    return Part(
        "kube-apiserver",
        [
            f"{programs}/kube-apiserver",
            f"--etcd-servers={_ETCD}",
            f"--bind-address={NODE_ADDRESS}",
            f"--advertise-address={NODE_ADDRESS}",
            f"--cert-dir={STATE}/certs",
            f"--service-cluster-ip-range={SERVICE_RANGE}",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={STATE}/service-account.key",
            f"--service-account-signing-key-file={STATE}/service-account.key",
            f"--token-auth-file={STATE}/tokens.csv",
            "--authorization-mode=Node,RBAC",
            "--allow-privileged=true",
            "--kubelet-preferred-address-types=InternalIP",
            f"--kubelet-client-certificate={STATE}/kubelet-client.crt",
            f"--kubelet-client-key={STATE}/kubelet-client.key",
            f"--audit-policy-file={STATE}/audit.json",
            f"--audit-log-path={AUDIT}",
            "--audit-log-maxsize=500",
            "--audit-log-maxbackup=1",
        ],
    )


def controllers(programs: Path) -> list[Part]:
    """Return what runs against the API server, in the order of starting."""
    kubeconfig = f"--kubeconfig={KUBECONFIG}"
    manager = [
        f"{programs}/kube-controller-manager",
        kubeconfig,
        "--bind-address=127.0.0.1",
        "--leader-elect=false",
        "--use-service-account-credentials",
        # Ten times the default, by which it makes the ReplicaSets of 7 Deployments a second.
        "--kube-api-qps=200",
        "--kube-api-burst=300",
        f"--service-account-private-key-file={STATE}/service-account.key",
        f"--root-ca-file={STATE}/certs/apiserver.crt",
    ]
    scheduler = [f"{programs}/kube-scheduler", kubeconfig, "--bind-address=127.0.0.1", "--leader-elect=false"]
    kubelet = [
        f"{programs}/kubelet",
        kubeconfig,
        f"--config={STATE}/kubelet.json",
        f"--root-dir={STATE}/kubelet",
        f"--cert-dir={STATE}/kubelet-certs",
        f"--node-ip={NODE_ADDRESS}",
        f"--hostname-override={NODE_NAME}",
    ]
    return [
        Part("kube-controller-manager", manager),
        Part("kube-scheduler", scheduler),
        Part("kubelet", kubelet),
        Part("kube-proxy", [f"{programs}/kube-proxy", f"--config={STATE}/kube-proxy.json"]),
        Part("coredns", [f"{programs}/coredns", "-conf", f"{STATE}/Corefile"]),
    ]


def volumes(numbers: Iterable[int]) -> str:
    """Return the default storage class and these of its volumes, folders of this node, as JSON for kubectl."""
    storage_class = {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {"name": "local", "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}},
        "provisioner": "kubernetes.io/no-provisioner",
        "volumeBindingMode": "WaitForFirstConsumer",
    }
    items = [storage_class, *(_volume(f"local-{number}") for number in numbers)]
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": items})


def _volume(name: str) -> dict[str, object]:
    here = {"key": "kubernetes.io/hostname", "operator": "In", "values": [NODE_NAME]}
    spec = {
        "capacity": {"storage": "1Gi"},
        "accessModes": ["ReadWriteOnce"],
        "storageClassName": "local",
        "persistentVolumeReclaimPolicy": "Retain",
        "local": {"path": str(VOLUMES / name)},
        "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [here]}]}},
    }
    return {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name}, "spec": spec}


def _containerd() -> str:
    return f"""version = 2
root = "{STATE}/containerd"
state = "{RUN}/containerd"
disabled_plugins = ["io.containerd.internal.v1.opt"]
[grpc]
address = "{CONTAINERD_SOCKET}"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{PAUSE}"
restrict_oom_score_adj = true
stream_server_address = "127.0.0.1"
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "/usr/lib/cni"
conf_dir = "{STATE}/cni"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
Root = "{RUN}/runc"
"""


def _cni() -> dict[str, object]:
    addresses = {
        "type": "host-local",
        "ranges": [[{"subnet": POD_RANGE, "gateway": NODE_ADDRESS}]],
        "routes": [{"dst": "0.0.0.0/0"}],
        "dataDir": f"{STATE}/cni-addresses",
    }
    bridge = {"type": "bridge", "bridge": BRIDGE, "isGateway": True, "ipMasq": True, "hairpinMode": True}
    ports = {"type": "portmap", "capabilities": {"portMappings": True}}
    return {"cniVersion": "0.4.0", "name": CNI_NETWORK, "plugins": [bridge | {"ipam": addresses}, ports]}


def _kubelet() -> dict[str, object]:
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": NODE_ADDRESS,
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": False},
            "x509": {"clientCAFile": f"{STATE}/kubelet-client.crt"},
        },
        "authorization": {"mode": "AlwaysAllow"},
        "cgroupDriver": "cgroupfs",
        "clusterDNS": [NODE_ADDRESS],
        "clusterDomain": "cluster.local",
        "containerRuntimeEndpoint": f"unix://{CONTAINERD_SOCKET}",
        "enforceNodeAllocatable": [],
        "evictionHard": {
            "memory.available": "50Mi",
            "nodefs.available": "1%",
            "nodefs.inodesFree": "1%",
            "imagefs.available": "1%",
        },
        "failCgroupV1": False,
        "failSwapOn": False,
        "imageGCHighThresholdPercent": 100,
        "nodeStatusUpdateFrequency": "5s",
        "podLogsDir": f"{STATE}/pod-logs",
        "resolvConf": "",
        "serializeImagePulls": False,
        "syncFrequency": "5s",
    }


def _audit() -> dict[str, object]:
    """Return what the API server notes: each request of a pod with a service account, without what is in it."""
    own = {"level": "None", "userGroups": ["system:serviceaccounts:kube-system"]}
    pods = {"level": "Metadata", "userGroups": ["system:serviceaccounts"], "omitStages": ["RequestReceived"]}
    return {"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "rules": [own, pods, {"level": "None"}]}


def _proxy() -> dict[str, object]:
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "bindAddress": NODE_ADDRESS,
        "clientConnection": {"kubeconfig": str(KUBECONFIG)},
        "clusterCIDR": POD_RANGE,
        "conntrack": {"maxPerCore": 0},
        "healthzBindAddress": "127.0.0.1:10256",
        "hostnameOverride": NODE_NAME,
        "metricsBindAddress": "127.0.0.1:10249",
        "mode": "iptables",
    }


def _corefile() -> str:
    return f""".:53 {{
    bind {NODE_ADDRESS}
    errors
    health 127.0.0.1:10180
    kubernetes cluster.local in-addr.arpa {{
        kubeconfig {KUBECONFIG}
        ttl 1
    }}
}}
"""


def _private(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o600)
    path.write_text(text)
