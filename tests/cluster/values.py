"""Sets of values with which the chart is rendered, each for what a cluster or its owner may demand."""

from typing import Any, Final

_BUNDLED: Final[dict[str, Any]] = {"enabled": True}
_TOLERATION: Final = {"key": "dedicated", "operator": "Equal", "value": "queue", "effect": "NoSchedule"}
_AFFINITY: Final[dict[str, Any]] = {
    "nodeAffinity": {
        "requiredDuringSchedulingIgnoredDuringExecution": {
            "nodeSelectorTerms": [{"matchExpressions": [{"key": "disk", "operator": "In", "values": ["ssd"]}]}]
        }
    }
}
_SPREAD: Final[dict[str, Any]] = {
    "maxSkew": 1,
    "topologyKey": "kubernetes.io/hostname",
    "whenUnsatisfiable": "ScheduleAnyway",
    "labelSelector": {"matchLabels": {"app.kubernetes.io/component": "operator"}},
}
_EVERYTHING_OF_A_POD: Final[dict[str, Any]] = {
    "annotations": {"example.com/reload": "true"},
    "podAnnotations": {"example.com/scrape": "false"},
    "podLabels": {"team": "platform", "app.kubernetes.io/component": "not-this"},
    "nodeSelector": {"kubernetes.io/os": "linux"},
    "tolerations": [_TOLERATION],
    "affinity": _AFFINITY,
    "priorityClassName": "system-cluster-critical",
    "podSecurityContext": {"fsGroupChangePolicy": "OnRootMismatch"},
    "containerSecurityContext": {"seccompProfile": {"type": "RuntimeDefault"}},
    "serviceAccount": {"create": True, "name": "queue-people", "annotations": {"example.com/role": "none"}},
    "podDisruptionBudget": {"maxUnavailable": 1, "unhealthyPodEvictionPolicy": "AlwaysAllow"},
    "resources": {"requests": {"cpu": 1, "memory": "64Mi"}, "limits": {"memory": "512Mi", "cpu": "2"}},
}
DIGEST: Final = "sha256:" + "0123456789abcdef" * 4

SETS: Final[dict[str, dict[str, Any]]] = {
    "defaults": {},
    "bundled": {"beanstalkd": _BUNDLED},
    "own server": {"server": "jobs.queue.svc:11300"},
    "allowed servers": {"allowedServers": ["jobs.queue.svc:11300", "*.queues.svc"]},
    "three operators": {"operator": {"replicas": 3, "podDisruptionBudget": {"minAvailable": 2}}},
    "server at an IPv6 address": {"server": "[fd00::7]:11300"},
    "own server beside bundled": {"server": "jobs.queue.svc:11300", "beanstalkd": _BUNDLED},
    "registry": {"imageRegistry": "registry.example.com:5000/team", "beanstalkd": _BUNDLED},
    "registries, tags and pull policies apart": {
        "imageRegistry": "registry.example.com",
        "worker": {"image": {"repository": "team/worker", "tag": "7"}},
        "operator": {"image": {"registry": "mirror.example.com", "tag": "8", "pullPolicy": "Always"}},
        "beanstalkd": {"enabled": True, "image": {"registry": "localhost", "tag": "9", "pullPolicy": "Never"}},
    },
    "digests": {
        "worker": {"image": {"digest": DIGEST}},
        "operator": {"image": {"digest": DIGEST, "tag": "1"}},
        "beanstalkd": {"enabled": True, "image": {"digest": DIGEST}},
    },
    "pull secrets": {"imagePullSecrets": [{"name": "one"}, {"name": "two"}], "beanstalkd": _BUNDLED},
    "OpenShift": {"fixedUser": False, "beanstalkd": _BUNDLED},
    "another user": {"operator": {"podSecurityContext": {"runAsUser": 1000, "runAsGroup": 1000, "fsGroup": 1000}}},
    "everything of the operator's pod": {
        "operator": {
            **_EVERYTHING_OF_A_POD,
            "topologySpreadConstraints": [_SPREAD],
            "env": [
                {"name": "HTTPS_PROXY", "value": "http://proxy:3128"},
                {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
            ],
        }
    },
    "everything of beanstalkd's pod": {
        "beanstalkd": {
            **_EVERYTHING_OF_A_POD,
            **_BUNDLED,
            "storage": "20Gi",
            "storageClass": "fast",
            "fsyncInterval": 0,
            "maxJobSize": 1073741824,
        }
    },
    "common labels and annotations": {
        "commonLabels": {"team": "platform", "app.kubernetes.io/name": "not-this", "app.kubernetes.io/component": "no"},
        "commonAnnotations": {"example.com/owner": "platform"},
        "beanstalkd": _BUNDLED,
    },
    "service accounts that exist": {
        "operator": {"serviceAccount": {"create": False, "name": "given"}},
        "beanstalkd": {"enabled": True, "serviceAccount": {"create": False, "name": "given-too"}},
    },
    "default service account": {"operator": {"serviceAccount": {"create": False}}},
    "no network policies": {
        "operator": {"networkPolicy": None},
        "beanstalkd": {"enabled": True, "networkPolicy": None},
    },
    "narrow network policies": {
        "operator": {
            "networkPolicy": {
                "ingress": [{"from": [{"namespaceSelector": {}}], "ports": [{"port": "health"}]}],
                "egress": [{"ports": [{"port": 443}, {"port": 53, "protocol": "UDP"}, {"port": 11300}]}],
            }
        },
        "beanstalkd": {"enabled": True, "networkPolicy": {"team": "shop"}},
    },
    "CRD by hand": {"crds": {"enabled": False}},
    "CRD that goes with the release": {"crds": {"keep": False}},
    "no roles for users": {"rbac": {"aggregateRoles": False}},
    "chosen namespaces": {"watchNamespaces": ["shop", "queue"], "crds": {"enabled": False}, "server": "jobs:11300"},
    "full name": {"fullnameOverride": "jobs", "beanstalkd": _BUNDLED},
    "longest full name": {"fullnameOverride": "j" * 63, "beanstalkd": _BUNDLED},
    "name": {"nameOverride": "jobs", "beanstalkd": _BUNDLED},
    "name that the release has": {"nameOverride": "herd", "beanstalkd": _BUNDLED},
    "all of monitoring": {
        "metrics": {
            "readers": ["monitoring", "other"],
            "labels": {"release": "kube-prometheus-stack", "app.kubernetes.io/name": "not-this"},
            "interval": "30s",
            "serviceMonitor": {"enabled": True},
            "podMonitor": {"enabled": True},
            "prometheusRule": {"enabled": True, "runbooks": "https://docs.example.com/monitoring"},
            "alerts": {
                "TubeherdJobsBuried": {"threshold": 7, "for": "1h", "severity": "page"},
                "TubeherdBinlogLarge": {"threshold": 5_000_000_000},
                "TubeherdSlotsDie": {"enabled": False},
                "TubeherdPassesFail": None,
            },
            "dashboard": {
                "enabled": True,
                "labels": {"grafana_dashboard": "yes"},
                "annotations": {"grafana_folder": "Queues"},
            },
        },
    },
    "monitoring of chosen namespaces": {
        "watchNamespaces": ["shop", "queue"],
        "crds": {"enabled": False},
        "operator": {"networkPolicy": None},
        "metrics": {"serviceMonitor": {"enabled": True}, "podMonitor": {"enabled": True}},
    },
    "helm's global values": {"global": {"anything": "of an umbrella chart"}},
}
