"""What helm makes of the chart, and what the API server says about it."""

import subprocess

import pytest
import yaml

from tests.support.project import ROOT

CHART = ROOT / "charts" / "tubeherd"
BUNDLED = ("--set", "beanstalkd.enabled=true")

pytestmark = pytest.mark.usefixtures("cluster")


def helm(*arguments):
    return subprocess.run(["helm", *arguments], capture_output=True, text=True, timeout=60)


def render(*options, namespace="queue"):
    done = helm("template", "herd", CHART, "--namespace", namespace, *options)
    assert done.returncode == 0, done.stderr
    objects = [thing for thing in yaml.safe_load_all(done.stdout) if thing]
    return {(thing["kind"], thing["metadata"]["name"]): thing for thing in objects}


def default_server(objects):
    (container,) = objects["Deployment", "herd-operator"]["spec"]["template"]["spec"]["containers"]
    variables = {variable["name"]: variable["value"] for variable in container["env"]}
    return variables["TUBEHERD_OPERATOR_DEFAULT_SERVER"]


@pytest.mark.parametrize("options", [(), BUNDLED], ids=["plain", "bundled"])
def test_lint(options):
    done = helm("lint", "--strict", CHART, *options)
    assert done.returncode == 0, done.stdout + done.stderr


def test_crd_is_a_template_that_outlives_the_release():
    crd = render()["CustomResourceDefinition", "workerpools.tubeherd.io"]
    assert crd["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}
    assert crd["spec"] == yaml.safe_load((ROOT / "crds" / "workerpools.tubeherd.io.yaml").read_text())["spec"]


def test_plain_installation_is_an_operator_and_no_beanstalkd():
    assert {kind for kind, _ in render()} == {
        "ClusterRole",
        "ClusterRoleBinding",
        "CustomResourceDefinition",
        "Deployment",
        "ServiceAccount",
    }


@pytest.mark.parametrize(
    ("options", "server"),
    [
        ((), ""),
        (BUNDLED, "herd-beanstalkd.queue.svc:11300"),
        (("--set", "server=jobs:11300"), "jobs:11300"),
        ((*BUNDLED, "--set", "server=jobs:11300"), "jobs:11300"),
    ],
    ids=["none", "bundled", "own", "own beside bundled"],
)
def test_server_of_pools_that_name_none(options, server):
    assert default_server(render(*options)) == server


@pytest.mark.parametrize(
    ("value", "sources"),
    [
        ("beanstalkd.networkPolicy.team=shop", {"matchLabels": {"team": "shop"}}),
        ("beanstalkd.enabled=true", {}),
    ],
    ids=["labels", "default"],
)
def test_who_reaches_beanstalkd(value, sources):
    policy = render(*BUNDLED, "--set", value)["NetworkPolicy", "herd-beanstalkd"]
    (rule,) = policy["spec"]["ingress"]
    assert rule["ports"] == [{"port": "beanstalkd"}]
    assert rule["from"][1] == {"namespaceSelector": sources}
    assert rule["from"][0]["podSelector"]["matchLabels"]["app.kubernetes.io/component"] == "operator"


def test_network_policy_can_be_switched_off():
    rendered = render(*BUNDLED, "--set", "beanstalkd.networkPolicy=null")
    assert ("NetworkPolicy", "herd-beanstalkd") not in rendered
    assert ("StatefulSet", "herd-beanstalkd") in rendered


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("worker.imgae=x", "worker"),
        ("server=tcp://jobs:11300", "/server"),
        ("operator.pollInterval=0", "/operator/pollInterval"),
        ("beanstalkd.storage=much", "/beanstalkd/storage"),
    ],
)
def test_wrong_value_is_refused_by_its_name(value, said):
    done = helm("template", "herd", CHART, "--set", value)
    assert done.returncode != 0
    assert said in done.stderr


def test_operator_may_do_what_it_does_and_nothing_else():
    rules = render()["ClusterRole", "queue-herd-operator"]["rules"]
    allowed = {(resource, verb) for rule in rules for resource in rule["resources"] for verb in rule["verbs"]}
    assert allowed == {
        *(("workerpools", verb) for verb in ("get", "list", "watch", "patch")),
        ("workerpools/status", "patch"),
        *(("deployments", verb) for verb in ("get", "list", "watch", "create", "patch")),
        *((resource, verb) for resource in ("replicasets", "pods") for verb in ("list", "watch")),
        *(("configmaps", verb) for verb in ("get", "list", "watch")),
        *(("events", verb) for verb in ("create", "get", "patch")),
    }


def test_api_server_takes_it_all_under_restricted_pod_security(kubectl, namespace):
    kubectl("label", "namespace", namespace.name, "pod-security.kubernetes.io/warn=restricted")
    objects = render(*BUNDLED, namespace=namespace.name)
    for thing in objects.values():
        done = namespace.kubectl("apply", "--dry-run=server", "--validate=strict", "-f", "-", stdin=thing)
        warnings = [line for line in done.stderr.splitlines() if "last-applied-configuration" not in line]
        assert warnings == [], thing["kind"]


def test_bundled_beanstalkd_keeps_its_jobs_when_its_pod_goes(namespace, eventually, image):
    objects = render(*BUNDLED, "--set", f"beanstalkd.image={image('beanstalkd')}", namespace=namespace.name)
    for key in (("Service", "herd-beanstalkd"), ("StatefulSet", "herd-beanstalkd")):
        namespace.apply(objects[key])
    rollout = ("rollout", "status", "statefulset/herd-beanstalkd", "--timeout=60s")
    namespace.kubectl(*rollout)
    server = f"herd-beanstalkd.{namespace.name}.svc"
    namespace.make_pool("mail", ["fail"], server=server, replicas=1, retry={"delays": []})
    namespace.wait_ready("mail")
    namespace.kubectl("exec", "deployment/mail", "--", "tubeherd", "schedule", "fail", "1")
    eventually(lambda: namespace.status("mail")["buried"] == 1, "the job is buried", 20)
    before = namespace.get("pod", "herd-beanstalkd-0")["metadata"]["uid"]
    namespace.kubectl("delete", "pod", "herd-beanstalkd-0")
    eventually(lambda: namespace.get("pod", "herd-beanstalkd-0")["metadata"]["uid"] != before, "there is a new pod")
    namespace.kubectl(*rollout)
    namespace.wait_ready("mail")
    namespace.kubectl("annotate", "workerpool", "mail", "kick=all")
    kicked = eventually(lambda: namespace.status("mail").get("lastKick"), "the kick is done", 20)
    assert kicked["kicked"] == 1
