"""A pool's template on a real API server and kubelet: what it adds, what is refused, and that nothing is repaired."""

import json
import re
from functools import partial
from itertools import product

import pytest
import yaml

from tests.support.project import ROOT
from tests.support.templates import REFUSED, of_pod, of_sidecar, rewritten, rich

IDLE = {"server": "beanstalkd.nowhere:11300", "replicas": 0}
ANNOTATION_MOST = 262144
LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


def deployment(namespace):
    """Return the Deployment when the operator has looked at the present spec."""
    pool = namespace.get("workerpool", "mail")
    assert pool["status"]["observedGeneration"] == pool["metadata"]["generation"]
    return namespace.get("deployment", "mail")


def has_looked(namespace, pool):
    """Return whether the operator has taken away an annotation that it does not understand."""
    return "kick" not in namespace.get("workerpool", pool)["metadata"]["annotations"]


def test_pool_with_all_that_a_template_is_for_runs_jobs_and_is_never_repaired(namespace, queue, image, eventually):
    strategy = {"rollingUpdate": {"maxSurge": 0, "maxUnavailable": "100%"}}
    spec = {"replicas": 1, "memoryLimit": "256Mi", "template": rich(image("worker")), "strategy": strategy}
    namespace.make_pool("mail", ["ok"], **spec)
    namespace.make_pool("rewritten", ["other"], replicas=0, template=rewritten())
    namespace.wait_ready("mail", 120)
    queue.put("ok", 5)
    eventually(lambda: queue.count("ok") == (0, 0, 0, 0), "the jobs ran")
    (pod,) = namespace.find("pods", "tubeherd.io/pool=mail,team=mail")
    name = pod["metadata"]["name"]
    assert [container["name"] for container in pod["spec"]["containers"]] == ["worker", "sidecar"]
    assert namespace.kubectl("exec", name, "--", "cat", "/scratch/prepared").stdout == "ready\n"
    assert namespace.kubectl("exec", name, "-c", "worker", "--", "id", "-u").stdout == "1000\n"
    assert namespace.kubectl("exec", name, "-c", "sidecar", "--", "id", "-u").stdout == "1001\n"
    env = namespace.kubectl("exec", name, "-c", "worker", "--", "env").stdout.split("\n")
    assert {"REGION=eu", "EMPTY=", "TUBEHERD_GRACE_PERIOD=85"} <= set(env)
    resources = pod["spec"]["containers"][0]["resources"]
    assert resources["limits"] == {"memory": "256Mi", "cpu": "1", "ephemeral-storage": "1Gi"}
    assert (resources["requests"]["cpu"], resources["requests"]["memory"]) == ("10m", "1Mi")
    before = deployment(namespace)
    assert before["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 0, "maxUnavailable": "100%"}
    for name, number in product(("mail", "rewritten"), range(2)):
        namespace.kubectl("annotate", "workerpool", name, f"kick=bad-{number}")
        eventually(partial(has_looked, namespace, name), "the operator has looked")
    assert deployment(namespace)["metadata"]["generation"] == before["metadata"]["generation"], "nothing was applied"
    assert namespace.get("deployment", "rewritten")["metadata"]["generation"] == 1
    assert namespace.event_objects("Repaired") == []
    assert "Overridden" not in str([namespace.status(name)["conditions"] for name in ("mail", "rewritten")])
    namespace.kubectl("set", "env", "deployment/mail", "-c", "sidecar", "LEVEL=debug")
    eventually(lambda: namespace.get("deployment", "mail")["spec"] == before["spec"], "the template is repaired", 20)
    namespace.make_pool("mail", ["ok"], replicas=0)
    after = eventually(lambda: deployment(namespace), "the template is gone", 20)["spec"]["template"]["spec"]
    assert [container["name"] for container in after["containers"]] == ["worker"]
    assert "initContainers" not in after


def test_template_is_refused_at_admission_with_field_and_reason(namespace):
    refused = {name: one for name, one in REFUSED.items() if one.at_admission}
    names = {f"bad-{number}": name for number, name in enumerate(refused)}
    pools = [
        namespace.pool_object(pool, {"tubes": ["mail"], "template": refused[name].template})
        for pool, name in names.items()
    ]
    done = namespace.kubectl(
        *("apply", "--dry-run=server", "-f", "-"),
        stdin={"apiVersion": "v1", "kind": "List", "items": pools},
        check=False,
    )
    assert done.stdout == "", "the API server took some"
    _, *said = re.split(r'"(bad-\d+)" is invalid:', done.stderr)
    words = dict(zip(said[::2], said[1::2], strict=True))
    for pool, name in names.items():
        assert f"spec.template.{refused[name].field}" in words[pool], name
        assert refused[name].words in words[pool], name


@pytest.mark.parametrize(
    ("spec", "field", "reason"),
    [
        ({"type": "BlueGreen"}, "spec.strategy.type", "supported values"),
        ({"type": "Recreate", "rollingUpdate": {}}, "spec.strategy", "leave rollingUpdate out"),
        ({"rollingUpdate": {"maxSurge": 0}}, "spec.strategy.rollingUpdate", "could replace no pod"),
        ({"rollingUpdate": {"maxSurge": -1}}, "spec.strategy.rollingUpdate.maxSurge", "up to 1000"),
        ({"rollingUpdate": {"maxUnavailable": "101%"}}, "spec.strategy.rollingUpdate.maxUnavailable", "100%"),
    ],
)
def test_bad_strategy_is_refused_at_admission(namespace, spec, field, reason):
    refusal = namespace.refusal(namespace.pool_object("bad", {"tubes": ["mail"], "strategy": spec}))
    assert field in refusal
    assert reason in refusal


def test_variable_that_the_spec_sets_too_is_refused_at_admission(namespace):
    template = of_pod(containers=[{"name": "worker", "env": [{"name": "A", "value": "1"}]}])
    spec = {"tubes": ["mail"], "env": [{"name": "A", "value": "2"}], "template": template}
    assert "spec.env sets a variable of this name too" in namespace.refusal(namespace.pool_object("bad", spec))


@pytest.mark.parametrize("template", [rich("image:1"), {}, of_pod(automountServiceAccountToken=False)])
def test_good_template_is_taken_as_it_is(namespace, template):
    spec = {"tubes": ["mail"], "template": template, "strategy": {"type": "Recreate"}}
    assert namespace.dry_run(namespace.pool_object("good", spec))["spec"] == spec


def test_what_only_the_operator_or_the_api_server_can_refuse_is_said_and_the_deployment_stays(namespace, eventually):
    namespace.make_pool("mail", ["ok"], **IDLE, template=of_sidecar())
    before = eventually(lambda: deployment(namespace), "the Deployment exists", 20)

    def says(reason, *words):
        found = namespace.condition("mail", "Ready")
        assert found["reason"] == reason, found
        assert all(word in found["message"] for word in words), found
        return True

    for template, *said in (
        (REFUSED["directive further down"].template, "InvalidSpec", "spec.affinity.nodeAffinity.$patch: the template"),
        (of_pod(terminationGracePeriodSeconds=5), "InvalidSpec", "must be 75 or more"),
        (of_pod(affinity={"nodeAffinity": {"nonsense": 1}}), "DeploymentRefused", "nonsense"),
        (of_pod(tolerations="all"), "DeploymentRefused", "tolerations"),
        (of_sidecar(image=""), "DeploymentRefused", "containers[1].image", "Required"),
    ):
        namespace.make_pool("mail", ["ok"], **IDLE, template=template)
        eventually(lambda said=said: says(*said), f"the condition says {said}", 20)
    assert namespace.get("deployment", "mail")["metadata"]["generation"] == before["metadata"]["generation"]
    namespace.make_pool("mail", ["ok"], **IDLE, template=of_sidecar(image="proxy:2"))
    eventually(lambda: "proxy:2" in json.dumps(deployment(namespace)["spec"]), "the corrected one is applied", 60)


def test_what_the_api_server_adds_to_a_field_goes_with_it(namespace, eventually):
    def spec():
        return deployment(namespace)["spec"]

    def account():
        pod = spec()["template"]["spec"]
        return pod.get("serviceAccountName"), pod.get("serviceAccount")

    def volume():
        return [volume for volume in spec()["template"]["spec"]["volumes"] if volume["name"] == "data"]

    template = of_pod(serviceAccountName="mailer", volumes=[{"name": "data"}])
    namespace.make_pool("mail", ["ok"], **IDLE, template=template)
    eventually(lambda: account() == ("mailer", "mailer"), "the pods have the account", 20)
    assert volume() == [{"name": "data", "emptyDir": {}}]
    claim = [{"name": "data", "persistentVolumeClaim": {"claimName": "x"}}]
    namespace.make_pool("mail", ["ok"], **IDLE, template=of_pod(volumes=claim), strategy={"type": "Recreate"})
    eventually(lambda: (account(), volume()) == ((None, None), claim), "they have another volume and no account", 20)
    assert spec()["strategy"] == {"type": "Recreate"}
    namespace.make_pool("mail", ["ok"], **IDLE)
    eventually(lambda: spec()["strategy"]["type"] == "RollingUpdate", "the default strategy is back", 20)
    assert volume() == []


def test_container_that_cannot_start_is_said(namespace, image, eventually):
    container = {"name": "proxy", "image": image("worker"), "command": ["sh", "-c", "exit 7"]}
    namespace.make_pool("mail", ["ok"], replicas=1, template=of_pod(initContainers=[container]))

    def says():
        return "container proxy of pod" in namespace.condition("mail", "Ready")["message"]

    eventually(says, "the condition names the container")


# The schema


@pytest.fixture
def same_schema(kubectl, namespace, eventually):
    """The same CustomResourceDefinition under other names, created by a plain `kubectl apply`."""
    group = f"{namespace.name}.example.com"
    definition = yaml.safe_load((ROOT / "crds" / "workerpools.tubeherd.io.yaml").read_text())
    definition["metadata"]["name"] = f"largestpools.{group}"
    names = {"kind": "LargestPool", "listKind": "LargestPoolList", "plural": "largestpools", "singular": "largestpool"}
    definition["spec"] |= {"group": group, "names": names}
    try:
        kubectl("apply", "-f", "-", stdin=definition)
        eventually(lambda: kubectl("get", f"largestpools.{group}", check=False).returncode == 0, "it is served", 30)
        yield definition
    finally:
        kubectl("delete", "crd", f"largestpools.{group}", "--ignore-not-found")


def largest():
    """Return a spec that has as much as is allowed of all that a rule looks at."""
    variables = [{"name": f"V{number:03}".ljust(256, "X"), "value": "x"} for number in range(100)]
    mounts = [{"name": f"v{number % 50}", "mountPath": f"/{number}".ljust(200, "x")} for number in range(100)]
    ports = [{"name": f"p{number}", "containerPort": 9000 + number} for number in range(50)]
    fields = {"env": variables, "volumeMounts": mounts, "ports": ports, "securityContext": {"runAsUser": 7}}
    containers = [{"name": f"c{number}".ljust(63, "x"), "image": "x".ljust(512, "x"), **fields} for number in range(10)]
    labels = {f"example.com/{number}".ljust(60, "x"): "x" * 63 for number in range(64)}
    return {
        "tubes": [f"t{number}".ljust(200, "x") for number in range(64)],
        "env": [{"name": f"W{number:03}".ljust(256, "X"), "value": "x"} for number in range(100)],
        "template": {
            "metadata": {"labels": labels, "annotations": labels},
            "spec": {
                "containers": [fields | {"name": "worker"}, *containers[1:]],
                "initContainers": containers,
                "volumes": [{"name": f"v{number}", "emptyDir": {}} for number in range(50)],
            },
        },
    }


def test_kubectl_apply_makes_the_definition_and_the_largest_pool_is_taken(kubectl, namespace, same_schema):
    group, name = same_schema["spec"]["group"], same_schema["metadata"]["name"]
    applied = json.loads(kubectl("get", "crd", name, "-o", "json").stdout)["metadata"]["annotations"][LAST_APPLIED]
    assert len(applied) < ANNOTATION_MOST / 2
    spec = largest()
    pool = namespace.pool_object("largest", spec) | {"apiVersion": f"{group}/v1alpha1", "kind": "LargestPool"}
    kubectl("create", "-f", "-", stdin=pool)
    spec["template"]["spec"]["volumes"].append({"name": "one-more"})
    done = kubectl("create", "-f", "-", stdin=pool | {"metadata": pool["metadata"] | {"name": "larger"}}, check=False)
    assert "at most 50 items" in done.stderr


def test_explain_shows_what_is_not_allowed_and_why(kubectl, namespace):
    text = kubectl("explain", "workerpool.spec.template.spec").stdout
    assert "Not allowed: that goes past the scheduler: use nodeSelector or affinity." in " ".join(text.split())
    assert "tolerations" in text
