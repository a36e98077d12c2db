"""What helm makes of the chart, for many sets of values; needs helm and no cluster."""

import json
import re

import pytest
import yaml

from tests.cluster.values import DIGEST, SETS
from tests.support.chart import CHART, EARLIER, helm, refusal, render
from tests.support.monitoring import alerts
from tests.support.project import ROOT

pytestmark = pytest.mark.usefixtures("cluster")

BUNDLED = {"beanstalkd": {"enabled": True}}
LONGEST_RELEASE = "a-release-with-the-longest-name-that-helm-allows-1234"
SELECTOR = "app.kubernetes.io/name", "app.kubernetes.io/instance", "app.kubernetes.io/component"


@pytest.fixture(scope="module", params=SETS, ids=lambda name: name)
def objects(request):
    """What is rendered of one set of values."""
    return render(SETS[request.param])


def pod_templates(objects):
    """Return the pods that the chart makes, by kind and name of what makes them."""
    return {key: thing["spec"]["template"] for key, thing in objects.items() if key[0] in ("Deployment", "StatefulSet")}


def pods(objects):
    """Return the pods that the chart makes, with that of the test."""
    return pod_templates(objects) | {key: thing for key, thing in objects.items() if key[0] == "Pod"}


def operator(objects, release="herd"):
    return objects["Deployment", f"{release}-operator"]["spec"]["template"]["spec"]


def beanstalkd(objects, release="herd"):
    return objects["StatefulSet", f"{release}-beanstalkd"]["spec"]["template"]["spec"]


def variable(objects, name, release="herd"):
    return {entry["name"]: entry.get("value") for entry in operator(objects, release)["containers"][0]["env"]}[name]


def picks(selector, pod):
    return selector["matchLabels"].items() <= pod["metadata"]["labels"].items()


# What holds for every set of values


@pytest.mark.parametrize("name", SETS)
def test_lint(name):
    done = helm("lint", "--strict", CHART, values=SETS[name])
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_object_says_what_it_belongs_to(objects):
    for key, thing in objects.items():
        labels = thing["metadata"]["labels"]
        assert labels["app.kubernetes.io/name"] == "tubeherd", key
        assert labels["app.kubernetes.io/instance"] == "herd", key
        assert labels["app.kubernetes.io/version"], key
        assert labels["app.kubernetes.io/managed-by"] == "Helm", key


def test_selectors_pick_the_pods_that_they_are_for_and_no_others(objects):
    made = pods(objects)
    for key, thing in objects.items():
        spec = thing.get("spec", {})
        if key[0] == "Service":
            selector = {"matchLabels": spec["selector"]}
        elif key[0] in ("Deployment", "StatefulSet", "PodDisruptionBudget"):
            selector = spec["selector"]
        elif key[0] == "NetworkPolicy":
            selector = spec["podSelector"]
        else:
            continue
        assert set(selector["matchLabels"]) == set(SELECTOR), key
        component = thing["metadata"]["labels"]["app.kubernetes.io/component"]
        picked = [name for name, pod in made.items() if picks(selector, pod)]
        assert [made[name]["metadata"]["labels"]["app.kubernetes.io/component"] for name in picked] == [component], key


def test_pods_are_restricted(objects):
    for key, pod in pods(objects).items():
        spec = pod["spec"]
        assert spec["securityContext"]["runAsNonRoot"] is True, key
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, key
        for container in spec["containers"]:
            context = container["securityContext"]
            assert context["allowPrivilegeEscalation"] is False, key
            assert context["readOnlyRootFilesystem"] is True, key
            assert context["capabilities"] == {"drop": ["ALL"]}, key
            assert container["resources"]["limits"]["memory"], key


def test_only_the_operator_has_a_token(objects):
    with_token = {key for key, pod in pods(objects).items() if pod["spec"].get("automountServiceAccountToken", True)}
    assert with_token == {key for key in objects if key[0] == "Deployment"}


def test_accounts_and_roles_that_are_named_are_made_or_given(objects):
    accounts = {name for kind, name in objects if kind == "ServiceAccount"} | {"default", "given", "given-too"}
    used = {pod["spec"].get("serviceAccountName", "default") for pod in pods(objects).values()}
    binding = next(thing for (kind, _), thing in objects.items() if kind in ("ClusterRoleBinding", "RoleBinding"))
    (subject,) = binding["subjects"]
    (deployment,) = (thing for (kind, _), thing in objects.items() if kind == "Deployment")
    assert used <= accounts
    assert (binding["roleRef"]["kind"], binding["roleRef"]["name"]) in objects
    assert subject["name"] == deployment["spec"]["template"]["spec"]["serviceAccountName"]
    assert subject["namespace"] == "queue"


# Names


@pytest.mark.parametrize(
    ("release", "values"),
    [
        (LONGEST_RELEASE, BUNDLED),
        (LONGEST_RELEASE, {**BUNDLED, "nameOverride": "j" * 63}),
        ("herd", SETS["longest full name"]),
    ],
    ids=["release", "name", "full name"],
)
def test_names_are_not_longer_than_kubernetes_allows(release, values):
    objects = render(values, release=release)
    for kind, name in objects:
        limit = {"StatefulSet": 52, "ClusterRole": 253, "ClusterRoleBinding": 253, "CustomResourceDefinition": 253}
        assert len(name) <= limit.get(kind, 63), kind
        assert re.fullmatch(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?", name), name
    for pod in pods(objects).values():
        assert all(len(value) <= 63 for value in pod["metadata"]["labels"].values())


def test_names_that_are_cut_do_not_become_the_same():
    one, other = (render(BUNDLED, release=LONGEST_RELEASE[:-1] + last) for last in "45")
    assert not {key for key in one if key[0] in ("StatefulSet", "Service")} & set(other)


def test_what_is_cut_is_found_by_the_name_that_it_has():
    objects = render(BUNDLED, release=LONGEST_RELEASE)
    (service,) = (name for kind, name in objects if kind == "Service")
    (stateful_set,) = (thing for (kind, _), thing in objects.items() if kind == "StatefulSet")
    assert variable(objects, "TUBEHERD_OPERATOR_DEFAULT_SERVER", LONGEST_RELEASE) == f"{service}.queue.svc:11300"
    assert stateful_set["spec"]["serviceName"] == service


@pytest.mark.parametrize(
    ("values", "beginning"),
    [
        ({"fullnameOverride": "jobs"}, "jobs"),
        ({"nameOverride": "jobs"}, "herd-jobs"),
        ({"nameOverride": "her"}, "herd"),
        ({"fullnameOverride": "jobs", "nameOverride": "other"}, "jobs"),
    ],
)
def test_names_begin_with_what_overrides_the_name_of_the_release(values, beginning):
    objects = render({**BUNDLED, **values})
    assert ("Deployment", f"{beginning}-operator") in objects
    assert ("StatefulSet", f"{beginning}-beanstalkd") in objects
    assert ("ClusterRole", f"queue-{beginning}-operator") in objects


@pytest.mark.parametrize("release", ["herd", "a-release-whose-name-has-41-characters-00"])
def test_releases_of_the_earlier_chart_keep_all_names_and_what_cannot_change(release):
    before, after = (render(BUNDLED, release=release, chart=chart) for chart in (EARLIER, CHART))
    assert set(before) <= set(after)
    deployment = "Deployment", f"{release}-operator"
    assert after[deployment]["spec"]["selector"] == before[deployment]["spec"]["selector"]
    old, new = (objects["StatefulSet", f"{release}-beanstalkd"]["spec"] for objects in (before, after))
    # What the API server would fill in is no change that restarts beanstalkd.
    assert new["template"]["spec"]["containers"][0].pop("imagePullPolicy") == "IfNotPresent"
    assert new == old


def test_release_whose_name_is_a_number_has_it_as_a_text():
    deployment = render(release="7")["Deployment", "7-operator"]
    assert deployment["spec"]["selector"]["matchLabels"]["app.kubernetes.io/instance"] == "7"


def test_name_that_no_service_can_have_is_refused_for_the_bundled_beanstalkd():
    assert "begin fullnameOverride with a letter" in refusal(BUNDLED, release="7")
    assert "begin fullnameOverride with a letter" in refusal(BUNDLED, release="a.b")


# Images


@pytest.mark.parametrize(
    ("values", "worker", "operators", "bundled"),
    [
        ({}, "tubeherd-worker:{v}", "tubeherd-operator:{v}", "tubeherd-beanstalkd:{v}"),
        (
            SETS["registry"],
            "registry.example.com:5000/team/tubeherd-worker:{v}",
            "registry.example.com:5000/team/tubeherd-operator:{v}",
            "registry.example.com:5000/team/tubeherd-beanstalkd:{v}",
        ),
        (
            SETS["registries, tags and pull policies apart"],
            "registry.example.com/team/worker:7",
            "mirror.example.com/tubeherd-operator:8",
            "localhost/tubeherd-beanstalkd:9",
        ),
        (
            SETS["digests"],
            f"tubeherd-worker@{DIGEST}",
            f"tubeherd-operator:1@{DIGEST}",
            f"tubeherd-beanstalkd@{DIGEST}",
        ),
    ],
    ids=["defaults", "registry", "apart", "digests"],
)
def test_images(values, worker, operators, bundled):
    version = yaml.safe_load((CHART / "Chart.yaml").read_text())["appVersion"]
    objects = render({**values, "beanstalkd": {**values.get("beanstalkd", {}), "enabled": True}})
    assert variable(objects, "TUBEHERD_OPERATOR_DEFAULT_IMAGE") == worker.format(v=version)
    assert operator(objects)["containers"][0]["image"] == operators.format(v=version)
    assert beanstalkd(objects)["containers"][0]["image"] == bundled.format(v=version)
    assert objects["Pod", "herd-test"]["spec"]["containers"][0]["image"] == worker.format(v=version)


def test_pull_policies():
    objects = render(SETS["registries, tags and pull policies apart"])
    assert operator(objects)["containers"][0]["imagePullPolicy"] == "Always"
    assert beanstalkd(objects)["containers"][0]["imagePullPolicy"] == "Never"


def test_pull_secrets():
    for pod in pods(render(SETS["pull secrets"])).values():
        assert pod["spec"]["imagePullSecrets"] == [{"name": "one"}, {"name": "two"}]
    assert all("imagePullSecrets" not in pod["spec"] for pod in pods(render(BUNDLED)).values())


# Pods


@pytest.mark.parametrize("part", ["operator", "beanstalkd"])
def test_pod_has_what_its_values_say(part):
    objects = render(SETS[f"everything of {'the operator' if part == 'operator' else part}'s pod"])
    (key,) = (key for key in pod_templates(objects) if key[1] == f"herd-{part}")
    template = objects[key]["spec"]["template"]
    spec, (container,) = template["spec"], template["spec"]["containers"]
    assert objects[key]["metadata"]["annotations"] == {"example.com/reload": "true"}
    assert template["metadata"]["annotations"] == {"example.com/scrape": "false"}
    assert template["metadata"]["labels"]["team"] == "platform"
    assert spec["nodeSelector"] == {"kubernetes.io/os": "linux"}
    assert spec["tolerations"][0]["key"] == "dedicated"
    assert "nodeAffinity" in spec["affinity"]
    assert spec["priorityClassName"] == "system-cluster-critical"
    assert spec["securityContext"]["fsGroupChangePolicy"] == "OnRootMismatch"
    assert spec["securityContext"]["runAsUser"] == 65532
    assert container["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["resources"]["limits"] == {"memory": "512Mi", "cpu": "2"}
    assert spec["serviceAccountName"] == "queue-people"
    assert objects["ServiceAccount", "queue-people"]["metadata"]["annotations"] == {"example.com/role": "none"}
    budget = objects["PodDisruptionBudget", f"herd-{part}"]["spec"]
    assert (budget["maxUnavailable"], budget["unhealthyPodEvictionPolicy"]) == (1, "AlwaysAllow")


@pytest.mark.parametrize(
    ("budget", "numbers"),
    [
        ({}, {"maxUnavailable": 1}),
        ({"maxUnavailable": "50%"}, {"maxUnavailable": "50%"}),
        ({"minAvailable": 0}, {"minAvailable": 0}),
        ({"minAvailable": 1, "maxUnavailable": None}, {"minAvailable": 1}),
        ({"unhealthyPodEvictionPolicy": "IfHealthyBudget"}, {"maxUnavailable": 1}),
        ({"maxUnavailable": None}, None),
        ({"maxUnavailable": None, "unhealthyPodEvictionPolicy": "AlwaysAllow"}, None),
        (None, None),
    ],
    ids=["default", "own maximum", "minimum wins", "minimum alone", "policy", "none", "policy of none", "null"],
)
def test_budget_of_the_operator_has_one_of_the_two_numbers_or_there_is_none(budget, numbers):
    made = render({"operator": {"podDisruptionBudget": budget}}).get(("PodDisruptionBudget", "herd-operator"))
    found = made and {name: value for name, value in made["spec"].items() if name in ("minAvailable", "maxUnavailable")}
    assert found == numbers
    policy = (budget or {}).get("unhealthyPodEvictionPolicy", "AlwaysAllow")
    assert made is None or made["spec"]["unhealthyPodEvictionPolicy"] == policy


def test_beanstalkd_has_a_budget_only_if_a_number_is_given():
    assert ("PodDisruptionBudget", "herd-beanstalkd") not in render(BUNDLED)
    values = {"beanstalkd": {"enabled": True, "podDisruptionBudget": {"maxUnavailable": 0}}}
    assert render(values)["PodDisruptionBudget", "herd-beanstalkd"]["spec"]["maxUnavailable"] == 0


def test_variables_and_spread_of_the_operator():
    spec = operator(render(SETS["everything of the operator's pod"]))
    variables = {entry["name"]: entry for entry in spec["containers"][0]["env"]}
    assert variables["HTTPS_PROXY"]["value"] == "http://proxy:3128"
    assert variables["NODE"]["valueFrom"] == {"fieldRef": {"fieldPath": "spec.nodeName"}}
    assert [spread["topologyKey"] for spread in spec["topologySpreadConstraints"]] == ["kubernetes.io/hostname"]


def test_settings_of_beanstalkd():
    objects = render(SETS["everything of beanstalkd's pod"])
    arguments = beanstalkd(objects)["containers"][0]["args"]
    assert arguments[arguments.index("-f") + 1] == "0"
    assert arguments[arguments.index("-z") + 1] == "1073741824"
    (claim,) = objects["StatefulSet", "herd-beanstalkd"]["spec"]["volumeClaimTemplates"]
    assert claim["spec"]["storageClassName"] == "fast"
    assert claim["spec"]["resources"] == {"requests": {"storage": "20Gi"}}


def test_no_pod_has_a_fixed_user_where_the_cluster_chooses_it():
    objects = render(SETS["OpenShift"])
    for pod in pods(objects).values():
        assert set(pod["spec"]["securityContext"]) == {"runAsNonRoot", "seccompProfile"}
    assert variable(objects, "TUBEHERD_OPERATOR_FIXED_USER") == "false"
    assert variable(render(), "TUBEHERD_OPERATOR_FIXED_USER") == "true"


def test_labels_and_annotations_of_every_object_and_pod():
    objects = render(SETS["common labels and annotations"])
    for thing in [*objects.values(), *pod_templates(objects).values()]:
        assert thing["metadata"]["labels"]["team"] == "platform"
        assert thing["metadata"]["labels"]["app.kubernetes.io/name"] == "tubeherd"
        assert thing["metadata"]["annotations"]["example.com/owner"] == "platform"


# What is made, and for whom


def test_plain_installation_is_an_operator_and_no_beanstalkd():
    assert {kind for kind, _ in render()} == {
        "ClusterRole",
        "ClusterRoleBinding",
        "CustomResourceDefinition",
        "Deployment",
        "NetworkPolicy",
        "PodDisruptionBudget",
        "Role",
        "RoleBinding",
        "ServiceAccount",
    }


@pytest.mark.parametrize(
    ("values", "server"),
    [
        ({}, ""),
        (BUNDLED, "herd-beanstalkd.queue.svc:11300"),
        ({"server": "jobs:11300"}, "jobs:11300"),
        ({**BUNDLED, "server": "jobs:11300"}, "jobs:11300"),
    ],
    ids=["none", "bundled", "own", "own beside bundled"],
)
def test_server_of_pools_that_name_none(values, server):
    assert variable(render(values), "TUBEHERD_OPERATOR_DEFAULT_SERVER") == server


@pytest.mark.parametrize(
    ("values", "annotations"),
    [({}, {"helm.sh/resource-policy": "keep"}), (SETS["CRD that goes with the release"], None)],
    ids=["kept", "not kept"],
)
def test_crd_is_a_template_that_outlives_the_release_unless_told_otherwise(values, annotations):
    crd = render(values)["CustomResourceDefinition", "workerpools.tubeherd.io"]
    assert crd["metadata"].get("annotations") == annotations
    assert crd["spec"] == yaml.safe_load((ROOT / "crds" / "workerpools.tubeherd.io.yaml").read_text())["spec"]


def test_crd_can_be_left_to_somebody_else():
    assert "CustomResourceDefinition" not in {kind for kind, _ in render(SETS["CRD by hand"])}


@pytest.mark.parametrize(
    ("policy", "sources"), [({"team": "shop"}, {"matchLabels": {"team": "shop"}}), ({}, {})], ids=["labels", "default"]
)
def test_who_reaches_beanstalkd(policy, sources):
    objects = render({"beanstalkd": {"enabled": True, "networkPolicy": policy}})
    (rule,) = objects["NetworkPolicy", "herd-beanstalkd"]["spec"]["ingress"]
    ours, test_pool, others = rule["from"]
    assert rule["ports"] == [{"port": "beanstalkd"}]
    assert others == {"namespaceSelector": sources}
    assert ours["podSelector"]["matchExpressions"][0]["values"] == ["operator", "test"]
    pool = objects["WorkerPool", "herd-test"]["metadata"]["name"]
    assert test_pool["podSelector"]["matchLabels"] == {"tubeherd.io/pool": pool}


def test_nobody_reaches_the_operator_and_it_reaches_every_server():
    policy = render()["NetworkPolicy", "herd-operator"]["spec"]
    assert (policy["ingress"], policy["egress"]) == ([], [{}])
    assert policy["policyTypes"] == ["Ingress", "Egress"]


def test_network_policies_can_be_narrowed_or_switched_off():
    narrow = render(SETS["narrow network policies"])["NetworkPolicy", "herd-operator"]["spec"]
    assert [port["port"] for port in narrow["egress"][0]["ports"]] == [443, 53, 11300]
    assert "NetworkPolicy" not in {kind for kind, _ in render(SETS["no network policies"])}


def test_test_is_only_made_where_there_is_a_server():
    assert ("Pod", "herd-test") not in render()
    hooks = [
        thing for thing in render(BUNDLED).values() if thing["metadata"].get("annotations", {}).get("helm.sh/hook")
    ]
    weights = {thing["kind"]: thing["metadata"]["annotations"]["helm.sh/hook-weight"] for thing in hooks}
    assert weights == {"ConfigMap": "0", "WorkerPool": "1", "Pod": "2"}


# Monitoring

MONITORING = SETS["all of monitoring"]


def test_nothing_of_monitoring_is_made_unless_it_is_wanted():
    assert not {kind for kind, _ in render()} & {
        "Service",
        "ServiceMonitor",
        "PodMonitor",
        "PrometheusRule",
        "ConfigMap",
    }


def test_monitor_of_the_operator_finds_its_pods_by_a_service_and_keeps_the_labels_of_its_pools():
    objects = render(MONITORING)
    monitor, service = (objects[kind, "herd-operator-metrics"] for kind in ("ServiceMonitor", "Service"))
    assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    (endpoint,) = monitor["spec"]["endpoints"]
    assert endpoint == {"port": "metrics", "honorLabels": True, "interval": "30s"}
    (port,) = service["spec"]["ports"]
    assert port["name"] == "metrics"
    assert port["targetPort"] in {port["name"] for port in operator(objects)["containers"][0]["ports"]}


def test_monitor_of_workers_finds_the_pods_of_all_pools():
    deployment = yaml.safe_load((ROOT / "tests/unit/operator/golden/defaults-2/smallest.yaml").read_text())
    pod = deployment["spec"]["template"]
    spec = render(MONITORING)["PodMonitor", "herd-workers"]["spec"]
    assert spec["namespaceSelector"] == {"any": True}
    (chosen,) = spec["selector"]["matchExpressions"]
    assert chosen == {"key": "tubeherd.io/pool", "operator": "Exists"}
    assert chosen["key"] in pod["metadata"]["labels"]
    (endpoint,) = spec["podMetricsEndpoints"]
    assert endpoint["port"] in {port["name"] for port in pod["spec"]["containers"][0]["ports"]}
    assert endpoint["interval"] == "30s"
    (relabeling,) = endpoint["relabelings"]
    assert relabeling == {"sourceLabels": ["__meta_kubernetes_pod_label_tubeherd_io_pool"], "targetLabel": "pool"}


def test_monitors_of_chosen_namespaces_look_at_these_and_leave_the_interval_to_prometheus():
    objects = render(SETS["monitoring of chosen namespaces"])
    spec = objects["PodMonitor", "herd-workers"]["spec"]
    assert spec["namespaceSelector"] == {"matchNames": ["shop", "queue"]}
    assert "interval" not in spec["podMetricsEndpoints"][0]
    assert "interval" not in objects["ServiceMonitor", "herd-operator-metrics"]["spec"]["endpoints"][0]


def test_alerts_are_those_that_the_other_tests_try():
    objects = render({"metrics": {"prometheusRule": {"enabled": True}}})
    (group,) = objects["PrometheusRule", "herd-alerts"]["spec"]["groups"]
    assert group["rules"] == alerts("queue")


def test_alerts_have_the_values_that_they_are_given():
    (group,) = render(MONITORING)["PrometheusRule", "herd-alerts"]["spec"]["groups"]
    made = {alert["alert"]: alert for alert in group["rules"]}
    assert set(made) == {alert["alert"] for alert in alerts("queue")} - {"TubeherdSlotsDie", "TubeherdPassesFail"}
    buried, large = made["TubeherdJobsBuried"], made["TubeherdBinlogLarge"]
    assert buried["expr"].endswith("> 7")
    assert (buried["for"], buried["labels"]) == ("1h", {"severity": "page"})
    assert buried["annotations"]["runbook_url"] == "https://docs.example.com/monitoring#tubeherdjobsburied"
    assert "> 5000000000\n" in large["expr"]


def test_alerts_of_which_none_is_left_are_refused():
    off = {alert["alert"]: {"enabled": False} for alert in alerts("queue")}
    for given in (off, None):
        said = refusal({"metrics": {"alerts": given, "prometheusRule": {"enabled": True}}})
        assert "none of metrics.alerts is" in said
        assert "--reset-then-reuse-values" in said


@pytest.mark.parametrize("runbooks", [None, ""], ids=["null", "empty"])
def test_alerts_without_an_address_of_runbooks_have_none(runbooks):
    objects = render({"metrics": {"prometheusRule": {"enabled": True, "runbooks": runbooks}}})
    (group,) = objects["PrometheusRule", "herd-alerts"]["spec"]["groups"]
    assert {frozenset(alert["annotations"]) for alert in group["rules"]} == {frozenset({"summary", "description"})}


def test_objects_that_prometheus_and_grafana_pick_by_labels_have_them():
    objects = render(MONITORING)
    for kind, name in (("ServiceMonitor", "operator-metrics"), ("PodMonitor", "workers"), ("PrometheusRule", "alerts")):
        labels = objects[kind, f"herd-{name}"]["metadata"]["labels"]
        assert (labels["release"], labels["app.kubernetes.io/name"]) == ("kube-prometheus-stack", "tubeherd")
    dashboard = objects["ConfigMap", "herd-dashboard"]
    assert dashboard["metadata"]["labels"]["grafana_dashboard"] == "yes"
    assert dashboard["metadata"]["annotations"] == {"grafana_folder": "Queues"}
    assert json.loads(dashboard["data"]["tubeherd.json"])["title"] == "Tubeherd"


def test_only_the_namespaces_that_are_named_may_read_the_metrics_of_the_operator():
    (rule,) = render(MONITORING)["NetworkPolicy", "herd-operator"]["spec"]["ingress"]
    (reader,) = rule["from"]
    (chosen,) = reader["namespaceSelector"]["matchExpressions"]
    assert chosen == {"key": "kubernetes.io/metadata.name", "operator": "In", "values": ["monitoring", "other"]}
    assert rule["ports"] == [{"port": "health"}]
    readers = {"operator": {"networkPolicy": {"ingress": None}}, "metrics": {"readers": ["monitoring"]}}
    assert len(render(readers)["NetworkPolicy", "herd-operator"]["spec"]["ingress"]) == 1


def test_monitor_that_nobody_could_use_is_refused_with_what_to_set():
    said = refusal({"metrics": {"serviceMonitor": {"enabled": True}}})
    assert "metrics.readers={monitoring}" in said
    own_rule = {"networkPolicy": {"ingress": [{"ports": [{"port": "health"}]}]}}
    assert render({"operator": own_rule, "metrics": {"serviceMonitor": {"enabled": True}}})


# Rights


def test_operator_may_do_what_it_does_and_nothing_else():
    rules = render()["ClusterRole", "queue-herd-operator"]["rules"]
    allowed = {(resource, verb) for rule in rules for resource in rule["resources"] for verb in rule["verbs"]}
    assert allowed == {
        *(("workerpools", verb) for verb in ("get", "list", "watch", "patch")),
        ("workerpools/status", "patch"),
        *(("deployments", verb) for verb in ("get", "list", "watch", "create", "patch")),
        *(("poddisruptionbudgets", verb) for verb in ("list", "watch", "create", "patch", "delete")),
        *(("replicasets", verb) for verb in ("list", "watch")),
        *(("pods", verb) for verb in ("list", "watch", "patch")),
        *(("configmaps", verb) for verb in ("get", "list", "watch")),
        *(("events", verb) for verb in ("create", "get", "patch")),
    }


def test_operator_may_only_get_config_maps_by_name_if_it_is_not_to_watch_them():
    objects = render({"operator": {"watchConfigMaps": False}})
    rules = objects["ClusterRole", "queue-herd-operator"]["rules"]
    assert [rule["verbs"] for rule in rules if "configmaps" in rule["resources"]] == [["get"]]
    assert variable(objects, "TUBEHERD_OPERATOR_WATCH_CONFIG_MAPS") == "false"


def test_operator_may_take_part_in_its_own_election_and_in_no_other():
    objects = render()
    create, use = objects["Role", "herd-operator"]["rules"]
    assert (create["resources"], create["verbs"]) == (["leases"], ["create"])
    assert (use["resources"], use["verbs"]) == (["leases"], ["get", "update"])
    assert variable(objects, "TUBEHERD_OPERATOR_LEASE") == f"queue/{use['resourceNames'][0]}"


def test_operator_has_its_rights_in_chosen_namespaces_alone():
    done = helm("template", "herd", CHART, "--namespace", "queue", values=SETS["chosen namespaces"])
    objects = [thing for thing in yaml.safe_load_all(done.stdout) if thing]
    rights = {(thing["kind"], thing["metadata"].get("namespace")) for thing in objects if "Role" in thing["kind"]}
    roles = [
        thing for thing in objects if thing["kind"] == "Role" and thing["metadata"]["name"] == "queue-herd-operator"
    ]
    in_all = render()["ClusterRole", "queue-herd-operator"]
    users = {("ClusterRole", None)}
    assert rights - users == {(kind, where) for kind in ("Role", "RoleBinding") for where in ("shop", "queue")}
    assert [role["rules"] for role in roles] == [in_all["rules"]] * 2
    assert variable(render(SETS["chosen namespaces"]), "TUBEHERD_OPERATOR_WATCH_NAMESPACES") == "shop,queue"
    assert "ClusterRoleBinding" not in {thing["kind"] for thing in objects}


def test_test_is_not_made_where_the_operator_does_not_look():
    assert ("Pod", "herd-test") in render(SETS["chosen namespaces"])
    assert ("Pod", "herd-test") not in render({"watchNamespaces": ["shop"], "server": "jobs:11300"})


def test_roles_of_users_are_added_to_those_of_kubernetes_unless_told_otherwise():
    roles = {name: thing for (kind, name), thing in render().items() if kind == "ClusterRole"}
    added_to = {
        name: {
            label.rpartition("-")[2]
            for label in role["metadata"]["labels"]
            if label.startswith("rbac.authorization.k8s.io/aggregate-to-")
        }
        for name, role in roles.items()
    }
    assert added_to == {
        "queue-herd-operator": set(),
        "queue-herd-view": {"view", "edit", "admin"},
        "queue-herd-edit": {"edit", "admin"},
    }
    without = {name for kind, name in render(SETS["no roles for users"]) if kind == "ClusterRole"}
    assert without == {"queue-herd-operator"}


# What is refused


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"worker": {"imgae": "x"}}, "worker"),
        ({"server": "tcp://jobs:11300"}, "/server"),
        ({"server": "jobs:99999"}, "/server"),
        ({"allowedServers": ["jobs:0"]}, "/allowedServers/0"),
        ({"operator": {"pollInterval": 0}}, "/operator/pollInterval"),
        ({"beanstalkd": {"storage": "much"}}, "/beanstalkd/storage"),
        ({"operator": {"image": {"digest": "sha256:12"}}}, "/operator/image/digest"),
        ({"operator": {"image": {"pullPolicy": "Sometimes"}}}, "/operator/image/pullPolicy"),
        ({"imageRegistry": "https://registry.example.com"}, "/imageRegistry"),
        ({"operator": {"env": [{"name": "TUBEHERD_OPERATOR_DEFAULT_IMAGE"}]}}, "/operator/env/0/name"),
        ({"operator": {"podDisruptionBudget": {"minAvailable": "most"}}}, "podDisruptionBudget"),
        ({"operator": {"podLabels": {"team": "of two words"}}}, "/operator/podLabels/team"),
        ({"fullnameOverride": "Jobs"}, "/fullnameOverride"),
        ({"crds": {"install": True}}, "/crds"),
        ({"watchNamespaces": ["Shop"]}, "/watchNamespaces/0"),
        ({"metrics": {"interval": "often"}}, "/metrics/interval"),
        ({"metrics": {"alerts": {"TubeherdJobsBuried": {"threshold": -1}}}}, "/metrics/alerts/TubeherdJobsBuried"),
        ({"metrics": {"alerts": {"TubeherdOperatorDown": {"threshold": 1}}}}, "/metrics/alerts/TubeherdOperatorDown"),
        ({"metrics": {"alerts": {"TubeherdJobs": {"enabled": False}}}}, "/metrics/alerts"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_wrong_value_is_refused_by_its_name(values, said):
    assert said in refusal(values)


@pytest.mark.parametrize("part", ["operator", "worker", "beanstalkd"])
def test_image_as_the_earlier_chart_had_it_is_refused_with_the_new_values(part):
    enabled = {"beanstalkd": {"enabled": True}}
    values = {**enabled, part: {**enabled.get(part, {}), "image": "registry.example.com/team/x:1"}}
    said = refusal(values)
    assert f"{part}.image is written in parts now" in said
    assert all(name in said for name in ("imageRegistry", f"{part}.image.repository", f"{part}.image.tag"))


def test_values_that_helm_reuses_of_the_earlier_chart_are_refused_with_what_to_do():
    before = yaml.safe_load(helm("show", "values", EARLIER).stdout)
    new = yaml.safe_load((CHART / "values.yaml").read_text())
    without_new = {name: None for name in new if name not in before}
    parts = {part: dict.fromkeys(new[part]) | before[part] for part in ("operator", "worker", "beanstalkd")}
    assert "--reset-then-reuse-values" in refusal({**before, **without_new, **parts})


def test_pull_secret_as_the_earlier_chart_had_it_is_refused_with_the_new_form():
    assert "{name: registry}" in refusal({"imagePullSecrets": ["registry"]})


# Notes


@pytest.mark.parametrize(
    ("values", "missing"),
    [
        ({}, ["registry", "default beanstalkd"]),
        ({"imageRegistry": "registry.example.com", "server": "jobs:11300"}, []),
        ({"imageRegistry": "registry.example.com", "beanstalkd": {"enabled": True}}, []),
        ({"imageRegistry": "registry.example.com", "server": "jobs:11300", "crds": {"enabled": False}}, ["CustomRe"]),
    ],
    ids=["images and server", "nothing", "nothing, bundled", "CRD"],
)
def test_notes_say_what_is_missing(values, missing):
    done = helm("install", "herd", CHART, "--namespace", "queue", "--dry-run=client", values=values)
    assert done.returncode == 0, done.stderr
    notes = done.stdout.partition("NOTES:")[2]
    lines = [line for line in notes.splitlines() if line.startswith("MISSING")]
    assert len(lines) == len(missing)
    assert all(word in line for word, line in zip(missing, lines, strict=True))


@pytest.mark.parametrize(
    ("allowed", "value"), [([], "none"), (["a"], "a"), (["a:1", "*.b:2"], "a:1,*.b:2")], ids=["none", "one", "two"]
)
def test_servers_that_pools_may_name(allowed, value):
    assert variable(render({"allowedServers": allowed}), "TUBEHERD_OPERATOR_ALLOWED_SERVERS") == value


def test_pools_may_name_any_server_unless_some_are_listed():
    with pytest.raises(KeyError):
        variable(render(), "TUBEHERD_OPERATOR_ALLOWED_SERVERS")


def test_operators_elect_one_by_a_lease_that_only_they_may_change():
    objects = render({"operator": {"replicas": 3}})
    assert objects["Deployment", "herd-operator"]["spec"]["replicas"] == 3
    assert variable(objects, "TUBEHERD_OPERATOR_LEASE") == "queue/herd-operator"
    create, change = objects["Role", "herd-operator"]["rules"]
    assert create == {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["create"]}
    assert change == {**create, "verbs": ["get", "update"], "resourceNames": ["herd-operator"]}
    assert objects["RoleBinding", "herd-operator"]["roleRef"]["name"] == "herd-operator"
