"""What the API server and a live cluster say about the chart: installation, upgrade, rights and `helm test`."""

import json
import uuid
from contextlib import contextmanager

import pytest

from tests.cluster.values import SETS
from tests.support.chart import CHART, EARLIER, helm, image_values, render
from tests.support.kubernetes import OPERATOR_NAMESPACE, Namespace
from tests.support.project import ROOT

BUNDLED = {"beanstalkd": {"enabled": True}}
HERE = ("--namespace", OPERATOR_NAMESPACE)


@pytest.fixture(scope="module")
def restricted(release, kubectl):
    """A namespace where the API server warns of every pod that is not restricted."""
    name = f"test-{uuid.uuid4().hex[:8]}"
    kubectl("create", "namespace", name)
    kubectl("label", "namespace", name, "pod-security.kubernetes.io/warn=restricted")
    yield name
    kubectl("delete", "namespace", name, "--wait=false")


@pytest.mark.parametrize("name", SETS)
def test_api_server_takes_it_all_under_restricted_pod_security(name, kubectl, restricted):
    values = SETS[name] | ({"watchNamespaces": [restricted]} if "watchNamespaces" in SETS[name] else {})
    made = render(values, namespace=restricted).values()
    # The kinds of the Prometheus operator are not installed here.
    objects = [thing for thing in made if not thing["apiVersion"].startswith("monitoring.coreos.com/")]
    everything = {"apiVersion": "v1", "kind": "List", "items": objects}
    done = kubectl("apply", "--dry-run=server", "--validate=strict", "-f", "-", stdin=everything)
    assert [line for line in done.stderr.splitlines() if "last-applied-configuration" not in line] == []


@pytest.mark.parametrize(
    ("role", "may", "may_not"),
    [("view", "watch", "patch"), ("edit", "patch", "escalate"), ("admin", "deletecollection", "escalate")],
)
def test_who_may_act_in_a_namespace_may_do_the_same_with_its_pools(role, may, may_not, kubectl, namespace, eventually):
    namespace.kubectl("create", "rolebinding", "ann", f"--clusterrole={role}", "--user=ann")

    def can(verb):
        asked = namespace.kubectl("auth", "can-i", verb, "workerpools.tubeherd.io", "--as=ann", check=False)
        return asked.stdout.strip()

    eventually(lambda: can(may) == "yes", f"{role} has the right to {may}")
    assert can(may_not) == "no"


@pytest.mark.parametrize(
    "options",
    [(), ("--set", "fixedUser=false,operator.podSecurityContext.runAsUser=1000680000")],
    ids=["", "as users that the cluster chooses"],
)
def test_helm_test_runs_a_job_through_a_pool(options, release, operator, kubectl, queue):
    release.install("--set", f"server={queue.server}", *options)
    try:
        said = release.helm("test", "--logs", "--timeout", "100s")
    finally:
        release.install()
    assert "was done by pod tubeherd-test-" in said
    assert queue.count(f"helm-test.{OPERATOR_NAMESPACE}.tubeherd-test") == (0, 0, 0, 0)
    left = json.loads(kubectl(*HERE, "get", "workerpools,configmaps,pods", "-o", "json").stdout)["items"]
    assert "tubeherd-test" not in {thing["metadata"]["name"] for thing in left}


def test_operator_of_chosen_namespaces_leaves_pools_of_others_alone(release, operator, kubectl, namespace, eventually):
    """It needs no right outside its namespaces, and is ready with the rights that it has."""
    idle = {"server": "beanstalkd.nowhere:11300", "replicas": 0}
    kubectl("create", "namespace", elsewhere := f"{namespace.name}-elsewhere")
    others = Namespace(kubectl, elsewhere, "beanstalkd.nowhere:11300")
    others.executors()
    try:
        release.install("--set", f"watchNamespaces={{{namespace.name}}}")
        others.make_pool("mail", ["ok"], **idle)
        namespace.make_pool("mail", ["ok"], **idle)
        eventually(lambda: namespace.get("deployment", "mail"), "the pool of the chosen namespace has its Deployment")
        namespace.make_pool("mail", ["ok", "other"], **idle)
        generation = namespace.get("workerpool", "mail")["metadata"]["generation"]
        eventually(lambda: namespace.status("mail")["observedGeneration"] == generation, "the pool is looked at again")
        assert others.get("deployment", "mail") is None
        release.install()
        eventually(lambda: others.get("deployment", "mail"), "an operator of all namespaces serves it")
    finally:
        release.install()
        kubectl("delete", "namespace", elsewhere, "--wait=false")


def test_namespace_whose_role_was_taken_away_holds_up_no_other(release, operator, kubectl, namespace, eventually):
    """Who owns a chosen namespace can delete the operator's rights in it, and pods of the operator come new."""
    kubectl("create", "namespace", lost := f"{namespace.name}-lost")
    try:
        release.install("--set", f"watchNamespaces={{{namespace.name},{lost}}}")
        kubectl("delete", "rolebindings", "--namespace", lost, "--selector", "app.kubernetes.io/name=tubeherd")
        kubectl("delete", "pods", *HERE, "--selector", "app.kubernetes.io/component=operator")
        namespace.make_pool("mail", ["ok"], server="beanstalkd.nowhere:11300", replicas=0)
        eventually(lambda: namespace.get("deployment", "mail"), "the pool of the other namespace has its Deployment")
    finally:
        release.install()
        kubectl("delete", "namespace", lost, "--wait=false")


@pytest.mark.parametrize(
    "values",
    [[], ["watchNamespaces={default}"], ["watchNamespaces={default}", "crds.enabled=false"]],
    ids=["all", "chosen", "chosen, without the CRD"],
)
def test_second_release_is_refused_whatever_it_watches(values, release):
    options = [part for value in values for part in ("--set", value)]
    done = helm("install", "second", CHART, "--namespace", "default", "--dry-run=server", *options, values={})
    assert done.returncode != 0
    assert f"as release {release.name} in namespace {release.namespace}" in done.stderr
    assert f"helm uninstall {release.name}" in done.stderr


def test_crd_that_kubectl_has_applied_is_upgraded_by_helm_and_the_other_way_round(release, operator, kubectl):
    name = "workerpools.tubeherd.io"

    def description(*command, stdin=None):
        crd = json.loads(kubectl(*command, "-o", "json", stdin=stdin).stdout)
        return crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["description"], crd

    ours, crd = description("get", "crd", name)
    crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["description"] = "An earlier one."
    kept = {part: crd[part] for part in ("apiVersion", "kind", "spec")} | {"metadata": {"name": name}}
    by_kubectl = ("apply", "--server-side", "--force-conflicts", "-f")
    assert description(*by_kubectl, "-", stdin=kept)[0] == "An earlier one."
    done = helm("upgrade", release.name, CHART, *HERE, "--reuse-values")
    assert "conflict" in done.stderr, "the page says what to do then"
    release.install()  # with --force-conflicts
    assert description("get", "crd", name)[0] == ours
    assert description(*by_kubectl, str(ROOT / "crds" / f"{name}.yaml"))[0] == ours


@contextmanager
def bundled_by_the_earlier_chart(release, kubectl, image):
    """Have the release as the earlier chart makes it, with its beanstalkd; its operator need not work.

    Gives the values with which the present chart makes the same.
    """
    parts = ("operator", "worker", "beanstalkd")
    earlier = {part: {"image": image(part)} for part in parts}
    earlier["beanstalkd"]["enabled"] = True
    done = helm("upgrade", release.name, EARLIER, *HERE, "--force-conflicts", values=earlier)
    assert done.returncode == 0, done.stderr
    try:
        kubectl(*HERE, "rollout", "status", "statefulset/tubeherd-beanstalkd", "--timeout=60s")
        present = {part: image_values(part, image(part))[part] for part in parts}
        present["beanstalkd"]["enabled"] = True
        yield present
    finally:
        release.install()
        kubectl(*HERE, "delete", "persistentvolumeclaim", "data-tubeherd-beanstalkd-0", "--ignore-not-found")


def pods(kubectl, namespace, selector):
    """Return what tells whether pods were replaced or their containers restarted."""
    found = json.loads(kubectl("--namespace", namespace, "get", "pods", "-l", selector, "-o", "json").stdout)["items"]
    return [(pod["metadata"]["uid"], pod["status"]["containerStatuses"][0]["restartCount"]) for pod in found]


def test_upgrade_restarts_neither_workers_nor_beanstalkd_and_no_name_leaves_its_volume_behind(
    release, operator, kubectl, namespace, image, eventually
):
    server = f"tubeherd-beanstalkd.{OPERATOR_NAMESPACE}.svc"
    namespace.make_pool("mail", ["fail"], server=server, replicas=1, retry={"delays": []})
    eventually(lambda: namespace.get("deployment", "mail"), "the pool has its Deployment")
    with bundled_by_the_earlier_chart(release, kubectl, image) as values:
        namespace.kubectl("rollout", "status", "deployment/mail", "--timeout=60s")
        worker = ("exec", "deployment/mail", "--", "tubeherd")
        namespace.kubectl(*worker, "schedule", "fail", "1")
        eventually(lambda: "1 buried job" in namespace.kubectl(*worker, "why").stdout, "the job is buried")

        def state():
            claim = kubectl(*HERE, "get", "persistentvolumeclaim", "data-tubeherd-beanstalkd-0", "-o", "json").stdout
            return {
                "workers": pods(kubectl, namespace.name, "tubeherd.io/pool=mail"),
                "beanstalkd": pods(kubectl, OPERATOR_NAMESPACE, "app.kubernetes.io/component=beanstalkd"),
                "volume": json.loads(claim)["spec"]["volumeName"],
            }

        before = state()
        release.install(values=values)
        namespace.wait_ready("mail")
        namespace.kubectl("annotate", "workerpool", "mail", "kick=all")
        kicked = eventually(lambda: namespace.status("mail").get("lastKick"), "the kick is done")
        assert kicked["kicked"] == 1
        assert state() == before
        renamed = ("--set", "fullnameOverride=jobs", "--dry-run=server")
        refused = helm("upgrade", release.name, CHART, *HERE, *renamed, values=values)
        assert refused.returncode != 0
        assert "it would begin with an empty volume" in refused.stderr


def test_bundled_beanstalkd_keeps_its_jobs_when_its_pod_goes(namespace, eventually, image):
    values = {"beanstalkd": {"enabled": True, **image_values("beanstalkd", image("beanstalkd"))["beanstalkd"]}}
    objects = render(values, namespace=namespace.name)
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
