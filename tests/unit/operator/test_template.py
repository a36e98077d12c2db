"""How a pool's template is merged under what the operator makes."""

from contextlib import suppress
from copy import deepcopy

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from tests.support.templates import of_init, of_pod, of_sidecar, of_worker, rich
from tubeherd.pool import WorkerPoolSpec
from tubeherd_operator.decisions.template import MERGE_KEYS, WrongTemplate, merge_template

RIGHTS = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}
OURS = {
    "metadata": {"labels": {"tubeherd.io/pool": "mail"}},
    "spec": {
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": 75,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 65532,
            "fsGroup": 65532,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "topologySpreadConstraints": [
            {"topologyKey": "zone", "maxSkew": 1, "whenUnsatisfiable": "ScheduleAnyway", "labelSelector": {}}
        ],
        "containers": [
            {
                "name": "worker",
                "image": "worker:1",
                "args": ["run"],
                "env": [{"name": "TUBEHERD_SERVER", "value": "queue"}],
                "ports": [{"name": "health", "containerPort": 8080, "protocol": "TCP"}],
                "resources": {"limits": {"memory": "1Gi"}, "requests": {"memory": "1Gi", "cpu": "100m"}},
                "securityContext": RIGHTS,
                "volumeMounts": [
                    {"name": "tmp", "mountPath": "/tmp"},
                    {"name": "executors", "mountPath": "/app/executors"},
                ],
            }
        ],
        "volumes": [
            {"name": "tmp", "emptyDir": {"sizeLimit": "1Gi"}},
            {"name": "executors", "configMap": {"name": "a"}},
        ],
    },
}


def merged(template, ours=OURS):
    before = deepcopy(ours)
    result = merge_template(ours, template)
    assert ours == before, "the operator's template is not changed in place"
    return result


def worker_of(pod):
    return pod["spec"]["containers"][0]


@pytest.mark.parametrize("template", [{}, {"spec": {}}, {"metadata": {"labels": {}}, "spec": {"containers": []}}])
def test_empty_template_changes_nothing(template):
    assert merged(template) == OURS


def test_labels_annotations_and_fields_of_the_pod_are_added():
    template = {"metadata": {"labels": {"a": "b"}, "annotations": {"c": ""}}, "spec": {"priorityClassName": "high"}}
    pod = merged(template)
    assert pod["metadata"] == {"labels": {"tubeherd.io/pool": "mail", "a": "b"}, "annotations": {"c": ""}}
    assert pod["spec"] == OURS["spec"] | {"priorityClassName": "high"}


@pytest.mark.parametrize(
    ("field", "added"),
    [
        ("env", {"name": "A", "value": "b"}),
        ("ports", {"containerPort": 9090, "protocol": "TCP"}),
        ("volumeMounts", {"name": "data", "mountPath": "/data"}),
        ("volumeDevices", {"name": "data", "devicePath": "/dev/data"}),
    ],
)
def test_entries_are_added_behind_those_of_the_worker(field, added):
    worker = worker_of(merged(of_worker(**{field: [added]})))
    assert worker == worker_of(OURS) | {field: [*worker_of(OURS).get(field, []), added]}


@pytest.mark.parametrize("kind", ["containers", "initContainers"])
def test_other_containers_come_behind_the_worker_with_no_more_rights(kind):
    added = [{"name": "b", "image": "b:1"}, {"name": "a", "image": "a:1", "securityContext": {"runAsUser": 7}}]
    containers = merged(of_pod(**{kind: added}))["spec"][kind]
    assert containers[-2:] == [
        {"name": "b", "image": "b:1", "securityContext": RIGHTS},
        {"name": "a", "image": "a:1", "securityContext": RIGHTS | {"runAsUser": 7}},
    ]
    assert containers[:-2] == OURS["spec"].get(kind, [])


@pytest.mark.parametrize(
    ("template", "path", "value"),
    [
        (of_pod(securityContext={"runAsUser": 7}), ("securityContext", "runAsUser"), 7),
        (of_pod(securityContext={"fsGroup": 8}), ("securityContext", "fsGroup"), 8),
        (
            of_pod(securityContext={"seccompProfile": {"type": "Localhost", "localhostProfile": "a"}}),
            ("securityContext", "seccompProfile"),
            {"type": "Localhost", "localhostProfile": "a"},
        ),
        (
            of_pod(automountServiceAccountToken=True, serviceAccountName="mailer"),
            ("automountServiceAccountToken",),
            True,
        ),
        (
            of_pod(volumes=[{"name": "tmp", "emptyDir": {"sizeLimit": "5Gi", "medium": "Memory"}}]),
            ("volumes", 0),
            {"name": "tmp", "emptyDir": {"sizeLimit": "5Gi", "medium": "Memory"}},
        ),
        (
            of_pod(topologySpreadConstraints=[{"topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}]),
            ("topologySpreadConstraints",),
            [{"topologyKey": "zone", "maxSkew": 1, "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {}}],
        ),
        (
            of_worker(resources={"requests": {"cpu": 2, "memory": "1Mi"}}),
            ("containers", 0, "resources"),
            {"limits": {"memory": "1Gi"}, "requests": {"memory": "1Mi", "cpu": 2}},
        ),
        (
            of_worker(resources={"limits": {"cpu": "50m"}}),
            ("containers", 0, "resources"),
            {"limits": {"memory": "1Gi", "cpu": "50m"}, "requests": {"memory": "1Gi"}},
        ),
        (
            of_worker(resources={"limits": {"cpu": 2}, "requests": {"cpu": 1}}),
            ("containers", 0, "resources"),
            {"limits": {"memory": "1Gi", "cpu": 2}, "requests": {"memory": "1Gi", "cpu": 1}},
        ),
        (of_pod(terminationGracePeriodSeconds=75), ("terminationGracePeriodSeconds",), 75),
    ],
)
def test_defaults_of_the_operator_give_way(template, path, value):
    found = merged(template)["spec"]
    for step in path:
        found = found[step]
    assert found == value


@pytest.mark.parametrize(
    ("template", "words"),
    [
        (
            of_pod(terminationGracePeriodSeconds=74),
            "spec.template.spec.terminationGracePeriodSeconds: must be 75 or more",
        ),
        (
            of_worker(volumeMounts=[{"name": "mine", "mountPath": "/app/executors"}]),
            "spec.template.spec.containers[worker].volumeMounts[/app/executors]: the operator mounts its own",
        ),
        (
            of_worker(volumeMounts=[{"name": "mine", "mountPath": "/app//executors/"}]),
            "spec.template.spec.containers[worker].volumeMounts[/app/executors]: the operator mounts its own",
        ),
        (
            of_worker(volumeMounts=[{"name": "executors", "mountPath": "/app/executors", "subPath": "other"}]),
            "spec.template.spec.containers[worker].volumeMounts[/app/executors]: the operator mounts its own",
        ),
        (
            of_worker(volumeMounts=[{"name": "executors", "mountPath": "/app/executors/"}]),
            "spec.template.spec.containers[worker].volumeMounts[/app/executors]: the operator mounts its own",
        ),
        (
            of_worker(env=[{"name": "TUBEHERD_SERVER", "value": "other"}]),
            "spec.template.spec.containers[worker].env[TUBEHERD_SERVER]: the operator sets this field itself",
        ),
        (
            of_pod(topologySpreadConstraints=[{"maxSkew": 1}]),
            "spec.template.spec.topologySpreadConstraints: each entry must be an object with topologyKey",
        ),
        (
            of_pod(topologySpreadConstraints=[{"topologyKey": ["a"]}]),
            "spec.template.spec.topologySpreadConstraints: each entry must be an object with topologyKey",
        ),
        (
            of_pod(topologySpreadConstraints=[{"topologyKey": "zone"}, {"topologyKey": "zone"}]),
            "spec.template.spec.topologySpreadConstraints[zone]: another entry of the list has the same topologyKey",
        ),
    ],
)
def test_what_says_otherwise_than_the_operator_must_own_is_a_fault(template, words):
    with pytest.raises(WrongTemplate) as raised:
        merged(template)
    assert str(raised.value).startswith(words)


def test_empty_text_that_stands_for_a_default_is_left_out():
    probe = {"httpGet": {"port": 80, "path": "", "scheme": "", "httpHeaders": [{"name": "A", "value": ""}]}}
    port = {"containerPort": 80, "protocol": ""}
    pod = merged(
        of_pod(
            dnsPolicy="",
            nodeSelector={"path": "", "tty": ""},
            containers=[{"name": "a", "imagePullPolicy": "", "readinessProbe": probe, "ports": [port]}],
        )
        | {"metadata": {"labels": {"protocol": ""}, "annotations": {"path": ""}}}
    )
    assert pod["spec"]["containers"][1] == {
        "name": "a",
        "readinessProbe": {"httpGet": {"port": 80, "httpHeaders": [{"name": "A", "value": ""}]}},
        "ports": [{"containerPort": 80}],
        "securityContext": RIGHTS,
    }
    assert "dnsPolicy" not in pod["spec"]
    assert pod["spec"]["nodeSelector"] == {"path": "", "tty": ""}
    assert (pod["metadata"]["labels"]["protocol"], pod["metadata"]["annotations"]) == ("", {"path": ""})


def test_nothing_is_left_that_the_api_server_would_not_store():
    template = of_sidecar(tty=False, args=[], stdin=True, livenessProbe={"exec": {}, "initialDelaySeconds": 0})
    template["spec"] |= {"hostNetwork": False, "nodeSelector": {}, "affinity": {"podAffinity": None}}
    pod = merged(template | {"metadata": {"labels": {"tty": ""}}})
    (_, sidecar) = pod["spec"].pop("containers")
    assert sidecar == {
        "name": "sidecar",
        "image": "proxy:1",
        "stdin": True,
        "livenessProbe": {"exec": {}},
        "securityContext": RIGHTS,
    }
    assert pod["spec"].keys() - OURS["spec"].keys() == {"affinity"}
    assert pod["spec"]["affinity"] == {}
    assert pod["metadata"]["labels"]["tty"] == ""


# Whatever a template says


VALUES = st.sampled_from(["worker", "tmp", "a", "/tmp", "zone", "", 0, 1, 8080, True, False, None, {}, [], {"a": "b"}])
FIELDS = st.sampled_from(
    sorted(
        {*MERGE_KEYS, *MERGE_KEYS.values(), *OURS["spec"], *worker_of(OURS), *RIGHTS, "emptyDir", "limits", "requests"}
        - {"containers", "initContainers", "resources", "name"}
        | {"memory", "cpu", "value", "runAsUser", "labelSelector", "configMap", "affinity"}
    )
)
TREES = st.recursive(
    VALUES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(FIELDS, inner, max_size=4), max_leaves=12
)
AMOUNTS = st.dictionaries(st.sampled_from(["cpu", "memory"]), VALUES)
ENTRIES = st.lists(
    st.fixed_dictionaries(
        {},
        optional={
            "name": st.sampled_from(["tmp", "executors", "health", "TUBEHERD_SERVER", "a"]),
            "mountPath": st.sampled_from(["/tmp", "/app/executors", "/a"]),
            "containerPort": st.sampled_from([8080, 8081]),
            "value": TREES,
            "emptyDir": TREES,
            "configMap": TREES,
        },
    ),
    max_size=3,
)
CONTAINERS = st.lists(
    st.fixed_dictionaries(
        {"name": st.sampled_from(["worker", "a", "b"])},
        optional={
            "env": ENTRIES,
            "ports": ENTRIES,
            "volumeMounts": ENTRIES,
            "resources": st.fixed_dictionaries({}, optional={"limits": AMOUNTS, "requests": AMOUNTS}),
            "securityContext": TREES,
            "args": TREES,
        },
    ),
    max_size=3,
    unique_by=lambda container: container["name"],
)
PODS = st.builds(
    lambda pod, lists: pod | lists,
    st.dictionaries(FIELDS, TREES, max_size=3),
    st.fixed_dictionaries({}, optional={"containers": CONTAINERS, "initContainers": CONTAINERS, "volumes": ENTRIES}),
)


def owned(pod):
    """Return what of a pod template a template may never change."""
    pod = deepcopy(pod)
    for name in ("automountServiceAccountToken", "topologySpreadConstraints"):
        pod["spec"].pop(name)
    for name in ("runAsUser", "fsGroup", "seccompProfile"):
        pod["spec"]["securityContext"].pop(name)
    pod["spec"]["volumes"][0].pop("emptyDir")
    pod["spec"]["containers"][0]["resources"].pop("requests", None)
    return pod


def contains(merged, part):
    """Return whether all that is in a part is in the whole; lists begin with it, or they are the same."""
    if isinstance(part, dict):
        return isinstance(merged, dict) and all(name in merged and contains(merged[name], part[name]) for name in part)
    if isinstance(part, list) and part and isinstance(part[0], dict):
        return len(merged) >= len(part) and all(map(contains, merged, part))
    return merged == part


@settings(max_examples=500)
@given(PODS)
def test_no_template_changes_what_the_operator_owns(pod):
    try:
        result = merged({"spec": pod})
    except WrongTemplate:
        return
    assert contains(result, owned(OURS))
    for name in ("env", "ports", "volumeMounts"):
        ours = worker_of(OURS)[name]
        assert worker_of(result)[name][: len(ours)] == ours, "not even something is added to an entry of the operator"
    for kind in ("containers", "initContainers"):
        for container in result["spec"].get(kind, []):
            assert contains(container["securityContext"], RIGHTS)


@given(st.dictionaries(FIELDS | st.text(max_size=3), TREES, max_size=4), st.none() | TREES)
def test_whatever_is_given_is_merged_or_refused_at_a_field(pod, requests):
    template = {"spec": pod | {"containers": [{"name": "worker", "resources": {"requests": requests}}]}}
    with suppress(ValidationError, WrongTemplate):  # which name the field
        spec = WorkerPoolSpec.model_validate({"tubes": ["mail"], "template": template})
        merged(spec.template.model_dump(by_alias=True, exclude_unset=True))


@pytest.mark.parametrize("spec", [{"tubes": ["mail"]}, {"tubes": ["mail"], "memoryLimit": "128Mi"}])
def test_all_that_a_rich_template_says_is_in_the_deployment(pools, spec):
    before = pools.rendered(pools.pool(spec))["spec"]["template"]
    after = pools.rendered(pools.pool(spec | {"template": rich("image:1")}))["spec"]["template"]
    assert after["metadata"]["annotations"] == rich("image:1")["metadata"]["annotations"]
    pod = after["spec"]
    assert [container["name"] for container in pod["containers"]] == ["worker", "sidecar"]
    assert [container["name"] for container in pod["initContainers"]] == ["prepare", "proxy"]
    assert [volume["name"] for volume in pod["volumes"]] == ["tmp", "scratch", "about"]
    env = {variable["name"]: variable.get("value") for variable in pod["containers"][0]["env"]}
    assert (pod["terminationGracePeriodSeconds"], env["TUBEHERD_GRACE_PERIOD"]) == (90, "85")
    assert before["spec"]["terminationGracePeriodSeconds"] == 75


def test_grace_period_is_that_of_the_template_if_it_is_longer(pools):
    def grace(seconds):
        spec = WorkerPoolSpec.model_validate({"tubes": ["mail"], "jobTimeout": "10m", "template": of_pod(**seconds)})
        pod = pools.rendered(pools.pool(spec.model_dump(by_alias=True, exclude_none=True)))["spec"]["template"]["spec"]
        return pod["terminationGracePeriodSeconds"]

    assert grace({}) == 615
    assert grace({"terminationGracePeriodSeconds": 3600}) == 3600
    with pytest.raises(WrongTemplate, match="must be 615 or more"):
        grace({"terminationGracePeriodSeconds": 30})


def test_service_account_has_both_fields_of_which_kubernetes_takes_it():
    pod = merged(of_pod(serviceAccountName="mailer"))["spec"]
    assert (pod["serviceAccountName"], pod["serviceAccount"]) == ("mailer", "mailer")
    assert "serviceAccount" not in merged(of_pod(serviceAccountName=""))["spec"]


def test_volume_of_no_source_is_the_emptydir_that_kubernetes_takes_it_for():
    volumes = merged(of_pod(volumes=[{"name": "a"}, {"name": "b", "emptyDir": None}, {"name": "c", "csi": {}}]))
    assert volumes["spec"]["volumes"][2:] == [
        {"name": "a", "emptyDir": {}},
        {"name": "b", "emptyDir": {}},
        {"name": "c", "csi": {}},
    ]


def test_spread_asks_only_for_a_label_that_every_node_has_and_zones_are_a_preference(pools):
    def rendered(**template):
        return pools.rendered(pools.pool({"tubes": ["mail"], "template": of_pod(**template)}))["spec"]["template"][
            "spec"
        ]

    pod = rendered()
    assert [each["topologyKey"] for each in pod["topologySpreadConstraints"]] == ["kubernetes.io/hostname"]
    (zones,) = pod["affinity"]["podAntiAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"]
    assert zones["podAffinityTerm"]["topologyKey"] == "topology.kubernetes.io/zone"
    required = {"requiredDuringSchedulingIgnoredDuringExecution": [{"topologyKey": "rack"}]}
    both = rendered(affinity={"nodeAffinity": {}, "podAntiAffinity": required})["affinity"]
    assert both == {"nodeAffinity": {}, "podAntiAffinity": pod["affinity"]["podAntiAffinity"] | required}
    own = {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 1}]}
    assert rendered(affinity={"podAntiAffinity": own})["affinity"] == {"podAntiAffinity": own}


def test_init_container_gets_its_place():
    assert merged(of_init())["spec"]["initContainers"][0]["name"] == "first"
