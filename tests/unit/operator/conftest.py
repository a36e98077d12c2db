"""A pool and what is seen around it, as plain objects."""

import copy

import pytest

from tubeherd.pool import WorkerPoolSpec
from tubeherd.queue.answers import TubeStats
from tubeherd_operator.decisions.budget import build_budget
from tubeherd_operator.decisions.counts import Counts
from tubeherd_operator.decisions.defaults import NEWEST, Defaults
from tubeherd_operator.decisions.deployment import build_deployment
from tubeherd_operator.decisions.observation import Observation, read_pool
from tubeherd_operator.decisions.plan import make_plan
from tubeherd_operator.decisions.report import Results, make_report
from tubeherd_operator.decisions.status import changes

UID = "6f2c7a52-0000-4000-8000-000000000001"
IMAGE = "tubeherd-worker:1"
SERVER = "beanstalkd.queue.svc:11300"
NOW = "2026-11-25T12:00:00Z"
FULL = {
    "tubes": ["mail", "$(HOME)", "sms", "invoice", "reports.*"],
    "excludeTubes": ["reports.test*", "$(NO)?"],
    "command": {"sms": "php sms.php --from $(SENDER)", "$(HOME)": "sh -c 'echo $$'"},
    "http": {"invoice": "https://shop.example.com/jobs?of=invoice"},
    "replicas": 3,
    "concurrency": 2,
    "maxJobs": 1000,
    "maxTime": "1h30m",
    "memoryLimit": "256Mi",
    "jobTimeout": "10 minutes",
    "retry": {"delays": ["10s", "10 minutes"]},
    "maxLostDeliveries": 5,
    "asyncConcurrency": 8,
    "batchSize": 30,
    "ackAfterFlush": True,
    "burialRecords": False,
    "env": [
        {"name": "SMTP_HOST", "value": "smtp.$(ZONE)"},
        {"name": "SMTP_PASSWORD", "valueFrom": {"secretKeyRef": {"name": "smtp", "key": "password"}}},
    ],
    "envFrom": [{"secretRef": {"name": "more"}}],
    "executors": {"configMap": "mail-executors"},
}


def controller(uid):
    """Return the reference to the object that made another."""
    return {"uid": uid, "controller": True}


class Pools:
    """Builds pools, and observations of them in which all is well unless a test says otherwise."""

    full = FULL

    def pool(self, spec=None, status=None, **metadata):
        """Return a WorkerPool named `mail`."""
        pool = {
            "metadata": {"name": "mail", "namespace": "shop", "uid": UID, "generation": 2, **metadata},
            "spec": copy.deepcopy(spec or {"tubes": ["mail", "sms"], "replicas": 1}),
        }
        return pool | ({"status": copy.deepcopy(status)} if status is not None else {})

    def rendered(self, pool, digest=None, version=NEWEST, image=IMAGE):
        """Return the Deployment that such a pool should have with these defaults."""
        spec = WorkerPoolSpec.model_validate(pool["spec"])
        return build_deployment(pool, spec, spec.server or SERVER, digest, Defaults(version, image))

    def live(self, pool, digest=None, version=NEWEST, image=IMAGE):
        """Return that Deployment as the API server would show it, all its pods ready."""
        live = self.rendered(pool, digest, version, image)
        live["metadata"] |= {"uid": "deployment", "generation": 4, "resourceVersion": "17"}
        live["spec"] = {"replicas": 1, "progressDeadlineSeconds": 600, **live["spec"]}
        live["spec"]["template"]["spec"] |= {"dnsPolicy": "ClusterFirst", "restartPolicy": "Always"}
        replicas = live["spec"]["replicas"]
        status = dict.fromkeys(("replicas", "readyReplicas", "updatedReplicas"), replicas)
        return live | {"status": status | {"observedGeneration": 4}}

    def replica_set(self, revision=1, owner="deployment"):
        """Return a ReplicaSet of a Deployment."""
        metadata = {"name": f"mail-{revision}", "uid": f"rs-{revision}", "ownerReferences": [controller(owner)]}
        return {"metadata": metadata | {"annotations": {"deployment.kubernetes.io/revision": str(revision)}}}

    def pod(self, status=None, owner="rs-1", **container):
        """Return a pod of a ReplicaSet whose worker has such a status."""
        statuses = [{"name": "worker", "image": "shop/mail:7", **container}] if container else []
        metadata = {"name": "mail-1", "ownerReferences": [controller(owner)]}
        return {"metadata": metadata, "status": {"containerStatuses": statuses, **(status or {})}}

    def counts(self, tubes=("mail", "sms"), **states):
        """Return counts with the same figures for each tube."""
        return Counts({tube: TubeStats(tube, **states) for tube in tubes})

    def seen(self, pool=None, **seen):
        """Return an observation."""
        pool = pool or self.pool()
        spec = WorkerPoolSpec.model_validate(pool["spec"])
        digest = seen.setdefault("executors_digest", "0123456789abcdef" if spec.executors else None)
        if "deployment" not in seen:
            seen["deployment"] = self.live(pool, digest)
        seen.setdefault("replica_sets", [self.replica_set()])
        seen.setdefault("budgets", [build_budget(pool)])
        seen.setdefault("counts", self.counts(spec.tubes))
        return Observation(pool=read_pool(pool, IMAGE, seen.pop("server", SERVER)), **seen)

    def report(self, seen, deployment=None, refusal=None, now=NOW):
        """Return the report of a pass in which the API server answered like this."""
        return make_report(seen, make_plan(seen), Results(deployment, refusal), now)

    def status(self, seen, **results):
        """Return the status that the report has, as the API server would store it."""
        return changes(self.report(seen, **results).status, {})


@pytest.fixture
def pools():
    """The builder of pools and observations."""
    return Pools()
