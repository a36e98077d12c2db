"""Templates of a pool's pods: one with all that a template is for, and those that are refused."""

from typing import Any, NamedTuple

Object = dict[str, Any]

WRITES = {"name": "scratch", "mountPath": "/scratch"}


def rich(image: str) -> Object:
    """Return a template that has everything that users are shown, and runs; `image` is one that has `sleep`."""
    return {
        "metadata": {
            "labels": {"team": "mail", "app.kubernetes.io/part-of": "shop"},
            "annotations": {"example.com/scrape": "true", "example.com/empty": ""},
        },
        "spec": {
            "affinity": {
                "podAntiAffinity": {
                    "preferredDuringSchedulingIgnoredDuringExecution": [
                        {
                            "weight": 1,
                            "podAffinityTerm": {
                                "topologyKey": "kubernetes.io/hostname",
                                "labelSelector": {"matchLabels": {"team": "mail"}, "matchExpressions": []},
                                "namespaceSelector": {},
                            },
                        }
                    ]
                }
            },
            "nodeSelector": {"kubernetes.io/os": "linux"},
            "tolerations": [{"key": "batch", "operator": "Exists", "effect": "NoSchedule"}],
            "topologySpreadConstraints": [
                {
                    "maxSkew": 2,
                    "topologyKey": "example.com/rack",
                    "whenUnsatisfiable": "ScheduleAnyway",
                    "labelSelector": {"matchLabels": {"team": "mail"}},
                }
            ],
            "hostAliases": [{"ip": "198.51.100.7", "hostnames": ["smtp.example.com"]}],
            "dnsConfig": {"options": [{"name": "ndots", "value": "2"}]},
            "hostNetwork": False,
            "terminationGracePeriodSeconds": 90,
            "securityContext": {"runAsUser": 1000, "fsGroup": 1000, "supplementalGroups": [2000]},
            "initContainers": [
                {
                    "name": "prepare",
                    "image": image,
                    "command": ["sh", "-c", "echo ready >/scratch/prepared"],
                    "volumeMounts": [WRITES],
                },
                {
                    "name": "proxy",
                    "image": image,
                    "restartPolicy": "Always",
                    "command": ["sh", "-c", "trap exit TERM; sleep 86400 & wait"],
                    "startupProbe": {"exec": {"command": ["true"]}, "initialDelaySeconds": 0, "failureThreshold": 30},
                },
            ],
            "containers": [
                {
                    "name": "worker",
                    "imagePullPolicy": "IfNotPresent",
                    "env": [
                        {"name": "REGION", "value": "eu"},
                        {"name": "EMPTY", "value": ""},
                        {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
                    ],
                    "ports": [{"name": "extra", "containerPort": 9090}],
                    "resources": {
                        "requests": {"cpu": 0.01, "memory": "1024Ki"},
                        "limits": {"cpu": "1000m", "ephemeral-storage": "1024Mi"},
                    },
                    "volumeMounts": [WRITES, {"name": "scratch", "mountPath": "/app/cache", "subPath": "cache"}],
                },
                {
                    "name": "sidecar",
                    "image": image,
                    "command": ["sh", "-c", "trap exit TERM; sleep 86400 & wait"],
                    "tty": False,
                    "args": [],
                    "env": [{"name": "LEVEL", "value": "info"}],
                    "resources": {"requests": {"cpu": "10m"}, "limits": {"memory": "64Mi"}},
                    "securityContext": {"runAsUser": 1001, "capabilities": {"add": [], "drop": ["ALL"]}},
                    "volumeMounts": [{**WRITES, "readOnly": False}],
                },
            ],
            "volumes": [
                {"name": "scratch", "emptyDir": {}},
                {"name": "tmp", "emptyDir": {"sizeLimit": "1024Mi"}},
                {
                    "name": "about",
                    "projected": {
                        "sources": [
                            {"downwardAPI": {"items": [{"path": "name", "fieldRef": {"fieldPath": "metadata.name"}}]}},
                            {"configMap": {"name": "missing", "optional": True}},
                        ]
                    },
                },
            ],
        },
    }


def rewritten() -> Object:
    """Return a template with much that the API server stores in another way than it is sent; it makes no pod."""
    probe = {
        "httpGet": {"port": "web", "httpHeaders": [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]},
        "timeoutSeconds": 0,
        "periodSeconds": 0,
    }
    container = {
        "name": "http",
        "image": "http:1",
        "livenessProbe": probe,
        "ports": [
            {"containerPort": 53, "protocol": "UDP", "name": "dns"},
            {"containerPort": 53, "protocol": "TCP"},
            {"containerPort": 80, "name": "web", "hostPort": 0},
        ],
        "env": [{"name": "A", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu", "divisor": "1000m"}}}],
    }
    claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1024Mi"}}}
    return {
        "spec": {
            "containers": [
                {"name": "worker", "resources": {"limits": {"cpu": "9.5m"}}, "stdin": False, "tty": None},
                container,
            ],
            "volumes": [
                {"name": "a", "secret": {"secretName": "x", "defaultMode": 256, "optional": False}},
                {"name": "b", "persistentVolumeClaim": {"claimName": "x", "readOnly": False}},
                {"name": "c", "ephemeral": {"volumeClaimTemplate": {"spec": claim}}},
                {"name": "d", "csi": {"driver": "d.example.com", "readOnly": False, "volumeAttributes": {}}},
            ],
            "topologySpreadConstraints": [
                {"topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "DoNotSchedule", "minDomains": 1}
            ],
            "tolerations": [{"key": "a", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 0}],
            "affinity": {"podAntiAffinity": {}, "nodeAffinity": None},
            "dnsPolicy": "None",
            "dnsConfig": {"nameservers": ["192.0.2.1"], "searches": [], "options": [{"name": "a", "value": ""}]},
            "imagePullSecrets": [{"name": "b"}, {"name": "a"}],
            "overhead": {},
            "subdomain": "",
            "setHostnameAsFQDN": False,
        }
    }


class Refused(NamedTuple):
    """A template that is refused: where, in which words, and whether already at admission."""

    template: Object
    field: str
    """As the API server names it, below spec.template; a rule about several fields names what they are fields of."""
    words: str
    at_admission: bool = True


def of_pod(**spec: Any) -> Object:
    """Return a template with a spec."""
    return {"spec": spec}


def of_worker(**fields: Any) -> Object:
    """Return a template that adds to the worker's container."""
    return of_pod(containers=[{"name": "worker", **fields}])


def of_sidecar(**fields: Any) -> Object:
    """Return a template that has another container."""
    return of_pod(containers=[{"name": "sidecar", "image": "proxy:1", **fields}])


def of_init(**fields: Any) -> Object:
    """Return a template that has an init container."""
    return of_pod(initContainers=[{"name": "first", "image": "proxy:1", **fields}])


def of_volume(**source: Any) -> Object:
    """Return a template that has a volume."""
    return of_pod(volumes=[{"name": "data", **source}])


_WORKER = "spec.containers[0]"
_TREE: Object = {"a": {}}
for _ in range(40):
    _TREE = {"a": _TREE}

REFUSED = {
    # whose the pods are
    "label of the selector": Refused(
        {"metadata": {"labels": {"tubeherd.io/pool": "x"}}}, "metadata.labels", "operator's"
    ),
    "label of the operator": Refused(
        {"metadata": {"labels": {"app.kubernetes.io/managed-by": "me"}}}, "metadata.labels", "operator's"
    ),
    "label's value illegal": Refused({"metadata": {"labels": {"a": "b c"}}}, "metadata.labels.a", "should match"),
    "annotation of the operator": Refused(
        {"metadata": {"annotations": {"tubeherd.io/executors": "x"}}}, "metadata.annotations", "operator's"
    ),
    "AppArmor by annotation": Refused(
        {"metadata": {"annotations": {"container.apparmor.security.beta.kubernetes.io/worker": "unconfined"}}},
        "metadata.annotations",
        "appArmorProfile",
    ),
    # the container of the worker
    "image": Refused(of_worker(image="other:1"), f"{_WORKER}.image", "spec.image"),
    "command": Refused(of_worker(command=["sh"]), f"{_WORKER}.command", "leave it out"),
    "args": Refused(of_worker(args=["list"]), f"{_WORKER}.args", "the fields of the spec"),
    "envFrom": Refused(of_worker(envFrom=[{"secretRef": {"name": "a"}}]), f"{_WORKER}.envFrom", "spec.envFrom"),
    "workingDir": Refused(of_worker(workingDir="/srv"), f"{_WORKER}.workingDir", "executors"),
    "liveness probe": Refused(of_worker(livenessProbe={"httpGet": {}}), f"{_WORKER}.livenessProbe", "probes"),
    "readiness probe": Refused(of_worker(readinessProbe={"exec": {}}), f"{_WORKER}.readinessProbe", "probes"),
    "startup probe": Refused(of_worker(startupProbe={"exec": {}}), f"{_WORKER}.startupProbe", "probes"),
    "lifecycle": Refused(of_worker(lifecycle={"preStop": {}}), f"{_WORKER}.lifecycle", "hook"),
    "restart policy of worker": Refused(of_worker(restartPolicy="Never"), f"{_WORKER}.restartPolicy", "restarted"),
    "restart rules of worker": Refused(
        of_worker(restartPolicyRules=[{"action": "Restart"}]), f"{_WORKER}.restartPolicyRules", "restarted"
    ),
    "last words' path": Refused(
        of_worker(terminationMessagePath="/x"), f"{_WORKER}.terminationMessagePath", "why a worker ended"
    ),
    "last words' policy": Refused(
        of_worker(terminationMessagePolicy="File"), f"{_WORKER}.terminationMessagePolicy", "why a worker ended"
    ),
    "memory limit": Refused(
        of_worker(resources={"limits": {"memory": "1Gi"}}), f"{_WORKER}.resources.limits.memory", "spec.memoryLimit"
    ),
    "setting as a variable": Refused(
        of_worker(env=[{"name": "TUBEHERD_INCLUDE", "value": "x"}]), _WORKER, "set the field instead"
    ),
    "mount over /tmp": Refused(of_worker(volumeMounts=[{"name": "data", "mountPath": "/tmp/"}]), _WORKER, "elsewhere"),
    "read-only /tmp": Refused(
        of_worker(volumeMounts=[{"name": "tmp", "mountPath": "tmp", "readOnly": True}]), _WORKER, "elsewhere"
    ),
    "mount over /tmp in disguise": Refused(
        of_worker(volumeMounts=[{"name": "data", "mountPath": "/./tmp/x/.."}]), _WORKER, "elsewhere", False
    ),
    "init container named worker": Refused(
        of_pod(initContainers=[{"name": "worker"}]), "spec.initContainers[0].name", "choose another name"
    ),
    # ports
    "port health": Refused(
        of_sidecar(ports=[{"containerPort": 1, "name": "health"}]), f"{_WORKER}.ports[0].name", "the worker's"
    ),
    "port 8080": Refused(of_sidecar(ports=[{"containerPort": 8080}]), f"{_WORKER}.ports[0].containerPort", "8080"),
    "host port": Refused(
        of_worker(ports=[{"containerPort": 81, "hostPort": 81}]), f"{_WORKER}.ports[0].hostPort", "Service"
    ),
    "host IP": Refused(
        of_init(ports=[{"containerPort": 81, "hostIP": "1.2.3.4"}]), "spec.initContainers[0].ports[0].hostIP", "Service"
    ),
    # rights
    "privileged": Refused(
        of_sidecar(securityContext={"privileged": True}), f"{_WORKER}.securityContext.privileged", "privileged"
    ),
    "privilege escalation": Refused(
        of_init(securityContext={"allowPrivilegeEscalation": True}),
        "spec.initContainers[0].securityContext.allowPrivilegeEscalation",
        "more rights",
    ),
    "writable root": Refused(
        of_worker(securityContext={"readOnlyRootFilesystem": False}),
        f"{_WORKER}.securityContext.readOnlyRootFilesystem",
        "emptyDir",
    ),
    "container as root": Refused(
        of_sidecar(securityContext={"runAsUser": 0}), f"{_WORKER}.securityContext.runAsUser", "root"
    ),
    "container may be root": Refused(
        of_sidecar(securityContext={"runAsNonRoot": False}), f"{_WORKER}.securityContext.runAsNonRoot", "root"
    ),
    "pod as root": Refused(of_pod(securityContext={"runAsUser": 0}), "spec.securityContext.runAsUser", "root"),
    "pod may be root": Refused(
        of_pod(securityContext={"runAsNonRoot": False}), "spec.securityContext.runAsNonRoot", "root"
    ),
    "capability": Refused(
        of_sidecar(securityContext={"capabilities": {"add": ["NET_BIND_SERVICE"]}}),
        f"{_WORKER}.securityContext.capabilities.add",
        "capabilities",
    ),
    "capabilities kept": Refused(
        of_sidecar(securityContext={"capabilities": {"drop": ["NET_RAW"]}}),
        f"{_WORKER}.securityContext.capabilities.drop",
        "drops all",
    ),
    "seccomp of the pod": Refused(
        of_pod(securityContext={"seccompProfile": {"type": "Unconfined"}}),
        "spec.securityContext.seccompProfile.type",
        "restricted",
    ),
    "seccomp of a container": Refused(
        of_worker(securityContext={"seccompProfile": {"type": "Unconfined"}}),
        f"{_WORKER}.securityContext.seccompProfile.type",
        "restricted",
    ),
    "AppArmor": Refused(
        of_pod(securityContext={"appArmorProfile": {"type": "Unconfined"}}),
        "spec.securityContext.appArmorProfile.type",
        "restricted",
    ),
    "SELinux type": Refused(
        of_sidecar(securityContext={"seLinuxOptions": {"type": "spc_t"}}),
        f"{_WORKER}.securityContext.seLinuxOptions.type",
        "restricted",
    ),
    "SELinux user": Refused(
        of_pod(securityContext={"seLinuxOptions": {"user": "root"}}),
        "spec.securityContext.seLinuxOptions.user",
        "restricted",
    ),
    "proc mount": Refused(
        of_sidecar(securityContext={"procMount": "Unmasked"}), f"{_WORKER}.securityContext.procMount", "restricted"
    ),
    "Windows": Refused(
        of_pod(securityContext={"windowsOptions": {"hostProcess": True}}),
        "spec.securityContext.windowsOptions",
        "Linux",
    ),
    "sysctl": Refused(
        of_pod(securityContext={"sysctls": [{"name": "kernel.msgmax", "value": "1"}]}),
        "spec.securityContext.sysctls[0].name",
        "safe sysctls",
    ),
    "probe of another host": Refused(
        of_sidecar(livenessProbe={"httpGet": {"host": "1.2.3.4", "port": 80}}),
        f"{_WORKER}.livenessProbe.httpGet.host",
        "their own pod",
    ),
    "hook of another host": Refused(
        of_sidecar(lifecycle={"preStop": {"tcpSocket": {"host": "1.2.3.4", "port": 80}}}),
        f"{_WORKER}.lifecycle.preStop.tcpSocket.host",
        "their own pod",
    ),
    # the pod
    "host network": Refused(of_pod(hostNetwork=True), "spec.hostNetwork", "restricted"),
    "host PIDs": Refused(of_pod(hostPID=True), "spec.hostPID", "restricted"),
    "host IPC": Refused(of_pod(hostIPC=True), "spec.hostIPC", "restricted"),
    "shared processes": Refused(of_pod(shareProcessNamespace=True), "spec.shareProcessNamespace", "first process"),
    "service links": Refused(of_pod(enableServiceLinks=True), "spec.enableServiceLinks", "variables"),
    "restart policy": Refused(of_pod(restartPolicy="OnFailure"), "spec.restartPolicy", "until they are stopped"),
    "deadline of the pod": Refused(of_pod(activeDeadlineSeconds=60), "spec.activeDeadlineSeconds", "spec.jobTimeout"),
    "node": Refused(of_pod(nodeName="node-1"), "spec.nodeName", "nodeSelector"),
    "service account by its old name": Refused(
        of_pod(serviceAccount="me"), "spec.serviceAccount", "serviceAccountName"
    ),
    "token of the default account": Refused(of_pod(automountServiceAccountToken=True), "spec", "serviceAccountName"),
    "ephemeral container": Refused(of_pod(ephemeralContainers=[{"name": "a"}]), "spec.ephemeralContainers", "kubectl"),
    "resources of the pod": Refused(of_pod(resources={"limits": {"cpu": 1}}), "spec.resources", "each container"),
    "operating system": Refused(of_pod(os={"name": "windows"}), "spec.os.name", "Linux"),
    # volumes
    "host path": Refused(of_volume(hostPath={"path": "/"}), "spec.volumes[0].hostPath", "files of its node"),
    "NFS": Refused(of_volume(nfs={"server": "a", "path": "/"}), "spec.volumes[0].nfs", "PersistentVolumeClaim"),
    "volume executors": Refused(
        of_pod(volumes=[{"name": "executors", "emptyDir": {}}]), "spec.volumes[0].name", "spec.executors"
    ),
    "volume tmp of another source": Refused(
        of_pod(volumes=[{"name": "tmp", "persistentVolumeClaim": {"claimName": "a"}}]), "spec.volumes[0]", "sizeLimit"
    ),
    "volume tmp of two sources": Refused(
        of_pod(volumes=[{"name": "tmp", "emptyDir": {}, "secret": {"secretName": "a"}}]),
        "spec.volumes[0]",
        "sizeLimit",
        False,
    ),
    # directives of patches
    "directive for the pod": Refused(of_pod(**{"$patch": "replace"}), "spec.$patch", "directives", False),
    "directive for a container": Refused(of_worker(**{"$patch": "delete"}), f"{_WORKER}.$patch", "directives", False),
    "directive for a volume": Refused(of_volume(**{"$patch": "delete"}), "spec.volumes[0].$patch", "directives", False),
    "keys to retain": Refused(
        of_volume(**{"$retainKeys": ["name"]}), "spec.volumes[0].$retainKeys", "directives", False
    ),
    "directive for a variable": Refused(
        of_worker(env=[{"name": "A", "$patch": "delete"}]), f"{_WORKER}.env[0].$patch", "directives", False
    ),
    "order of elements": Refused(
        of_pod(**{"$setElementOrder/containers": [{"name": "worker"}]}),
        "spec.$setElementOrder/containers",
        "directives",
        False,
    ),
    "deletion from a list": Refused(
        of_sidecar(**{"$deleteFromPrimitiveList/args": ["a"]}),
        f"{_WORKER}.$deleteFromPrimitiveList/args",
        "directives",
        False,
    ),
    "directive further down": Refused(
        of_pod(affinity={"nodeAffinity": {"$patch": "replace"}}),
        "spec.affinity.nodeAffinity.$patch",
        "directives",
        False,
    ),
    # bounds and shapes
    "11 containers": Refused(
        of_pod(containers=[{"name": f"c{n}"} for n in range(11)]), "spec.containers", "at most 10 items"
    ),
    "11 init containers": Refused(
        of_pod(initContainers=[{"name": f"c{n}"} for n in range(11)]), "spec.initContainers", "at most 10 items"
    ),
    "51 volumes": Refused(of_pod(volumes=[{"name": f"v{n}"} for n in range(51)]), "spec.volumes", "at most 50 items"),
    "101 variables": Refused(
        of_sidecar(env=[{"name": f"V{n}"} for n in range(101)]), f"{_WORKER}.env", "at most 100 items"
    ),
    "container twice": Refused(of_pod(containers=[{"name": "a"}, {"name": "a"}]), "spec.containers[1]", "uplicate"),
    "volume twice": Refused(of_pod(volumes=[{"name": "a"}, {"name": "a"}]), "spec.volumes[1]", "uplicate"),
    "variable twice": Refused(of_worker(env=[{"name": "A"}, {"name": "A"}]), f"{_WORKER}.env[1]", "uplicate"),
    "mount twice": Refused(
        of_sidecar(volumeMounts=[{"name": "a", "mountPath": "/a"}, {"name": "b", "mountPath": "/a"}]),
        f"{_WORKER}.volumeMounts[1]",
        "uplicate",
    ),
    "container without a name": Refused(of_pod(containers=[{"image": "a:1"}]), f"{_WORKER}.name", "equired"),
    "container's name illegal": Refused(of_pod(containers=[{"name": "No_Name"}]), f"{_WORKER}.name", "should match"),
    "containers as a text": Refused(of_pod(containers="a"), "spec.containers", "array"),
    "spec as a list": Refused({"spec": []}, "spec", "object"),
    "nested too deep": Refused(of_pod(affinity=_TREE), "spec.affinity.a.a.a", "nested deeper", False),
}
