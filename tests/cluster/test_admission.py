"""What the API server refuses, with the field and the reason; and what `kubectl explain` says of each field."""

import re

import pytest

BAD = {
    "no tubes": ({}, "spec.tubes", "Required"),
    "empty list of tubes": ({"tubes": []}, "spec.tubes", "at least 1 item"),
    "tube twice": ({"tubes": ["mail", "mail"]}, "spec.tubes[1]", "Duplicate"),
    "empty tube": ({"tubes": [""]}, "spec.tubes[0]", "at least 1 char"),
    "space in a tube": ({"tubes": ["a b"]}, "spec.tubes[0]", "write the name of a tube or a glob"),
    "tube begins with a hyphen": ({"tubes": ["-mail"]}, "spec.tubes[0]", "write the name of a tube or a glob"),
    "reserved tube": ({"tubes": ["tubeherd.burials"]}, "spec.tubes[0]", "reserved"),
    "tube too long": ({"tubes": ["x" * 201]}, "spec.tubes[0]", "Too long"),
    "65 tubes": ({"tubes": [f"tube-{n}" for n in range(65)]}, "spec.tubes", "at most 64"),
    "negative replicas": ({"replicas": -1}, "spec.replicas", "greater than or equal to 0"),
    "replicas as text": ({"replicas": "two"}, "spec.replicas", "must be of type integer"),
    "no concurrency": ({"concurrency": 0}, "spec.concurrency", "greater than or equal to 1"),
    "maxJobs 0": ({"maxJobs": 0}, "spec.maxJobs", "greater than or equal to 1"),
    "batchSize 0": ({"batchSize": 0}, "spec.batchSize", "greater than or equal to 1"),
    "asyncConcurrency 0": ({"asyncConcurrency": 0}, "spec.asyncConcurrency", "greater than or equal to 1"),
    "ackAfterFlush yes": ({"ackAfterFlush": "yes"}, "spec.ackAfterFlush", "must be of type boolean"),
    "negative maxLostDeliveries": ({"maxLostDeliveries": -1}, "spec.maxLostDeliveries", "greater than or equal to 0"),
    "maxTime of no unit": ({"maxTime": "5 parsecs"}, "spec.maxTime", "write it like 90s"),
    "maxTime of zero": ({"maxTime": "0s"}, "spec.maxTime", "longer than zero"),
    "jobTimeout as a number": ({"jobTimeout": 90}, "spec.jobTimeout", "must be of type string"),
    "jobTimeout of zero": ({"jobTimeout": "0"}, "spec.jobTimeout", "longer than zero"),
    "empty retry delay": ({"retry": {"delays": [""]}}, "spec.retry.delays[0]", "write it like 90s"),
    "retry delay of zero": ({"retry": {"delays": ["10s", "0m"]}}, "spec.retry.delays[1]", "longer than zero"),
    "memoryLimit no quantity": ({"memoryLimit": "much"}, "spec.memoryLimit", "should match"),
    "memoryLimit with a part of a byte": ({"memoryLimit": "256.123Mi"}, "spec.memoryLimit", "whole number of bytes"),
    "memoryLimit too small": ({"memoryLimit": "32Mi"}, "spec", "memoryLimit must be at least"),
    "memoryLimit too small for its slots": (
        {"memoryLimit": "128Mi", "concurrency": 8},
        "spec",
        "memoryLimit must be at least",
    ),
    "server with a scheme": ({"server": "tcp://beanstalkd:11300"}, "spec.server", "write it like beanstalkd:11300"),
    "server with port 0": ({"server": "beanstalkd:0"}, "spec.server", "port is from 1 to 65535"),
    "server with port 65536": ({"server": "beanstalkd:65536"}, "spec.server", "port is from 1 to 65535"),
    "IPv6 server with port 70000": ({"server": "[::1]:70000"}, "spec.server", "port is from 1 to 65535"),
    "IPv6 server without brackets": ({"server": "::1:11300"}, "spec.server", "write it like beanstalkd:11300"),
    "image with a space": ({"image": "my image"}, "spec.image", "should match"),
    "variable begins with a digit": ({"env": [{"name": "1A", "value": "b"}]}, "spec.env[0].name", "should match"),
    "variable twice": (
        {"env": [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]},
        "spec.env[1]",
        "Duplicate",
    ),
    "variable that a field sets": (
        {"env": [{"name": "TUBEHERD_INCLUDE", "value": "other"}]},
        "spec.env",
        "set the field instead",
    ),
    "ConfigMap's name illegal": ({"executors": {"configMap": "Not_Legal"}}, "spec.executors.configMap", "should match"),
    "autoscale without a measure": (
        {"autoscale": {"maxReplicas": 3}},
        "spec.autoscale",
        "set either jobsPerReplica or",
    ),
    "autoscale with two measures": (
        {"autoscale": {"maxReplicas": 3, "jobsPerReplica": 5, "targetWait": "1m"}},
        "spec.autoscale",
        "set either jobsPerReplica or targetWait",
    ),
    "autoscale without a bound": ({"autoscale": {"jobsPerReplica": 5}}, "spec.autoscale.maxReplicas", "Required"),
    "autoscale to nothing": (
        {"autoscale": {"maxReplicas": 0, "jobsPerReplica": 5}},
        "spec.autoscale.maxReplicas",
        "greater than or equal to 1",
    ),
    "autoscale whose bounds are swapped": (
        {"autoscale": {"minReplicas": 4, "maxReplicas": 3, "jobsPerReplica": 5}},
        "spec.autoscale",
        "minReplicas must not exceed maxReplicas",
    ),
    "autoscale without a delay": (
        {"autoscale": {"maxReplicas": 3, "targetWait": "1m", "scaleDownDelay": "0s"}},
        "spec.autoscale.scaleDownDelay",
        "longer than zero",
    ),
    "autoscale and replicas": (
        {"replicas": 2, "autoscale": {"maxReplicas": 3, "jobsPerReplica": 5}},
        "spec",
        "replicas cannot be set while autoscale chooses the number of pods",
    ),
    "unknown field": ({"colour": "blue"}, "spec.colour", "unknown field"),
}


@pytest.mark.parametrize(("fields", "field", "reason"), BAD.values(), ids=BAD)
def test_bad_spec_is_refused_with_field_and_reason(namespace, fields, field, reason):
    spec = fields if fields == {} else {"tubes": ["mail"], **fields}
    refusal = namespace.refusal(namespace.pool_object("bad", spec))
    assert field in refusal
    assert reason in refusal


GOOD = {
    "tubes alone": {},
    "every tube character": {"tubes": ["A-z09+/;.$_()", "$(HOME)"]},
    "server without port": {"server": "beanstalkd"},
    "IPv6 server": {"server": "[2001:db8::1]:11300"},
    "memoryLimit with a fraction": {"memoryLimit": "1.5Gi"},
    "last port": {"server": "beanstalkd.queue.svc:65535"},
    "all numbers": {
        "replicas": 0,
        "concurrency": 2,
        "maxJobs": 1,
        "maxTime": "1h30m",
        "memoryLimit": "256Mi",
        "jobTimeout": "10 minutes",
        "retry": {"delays": ["10s", "1.5m"]},
        "maxLostDeliveries": 1,
        "asyncConcurrency": 1000,
        "batchSize": 1,
        "ackAfterFlush": True,
    },
    "variables": {
        "env": [
            {"name": "SMTP_HOST", "value": "smtp"},
            {"name": "SMTP_PASSWORD", "valueFrom": {"secretKeyRef": {"name": "smtp", "key": "password"}}},
        ],
        "envFrom": [{"configMapRef": {"name": "settings"}}],
    },
    "executors from a ConfigMap": {"executors": {"configMap": "mail-executors"}},
    "suspended": {"suspend": True},
    "autoscaled by jobs": {"autoscale": {"minReplicas": 3, "maxReplicas": 3, "jobsPerReplica": 1}},
    "autoscaled by wait": {"autoscale": {"maxReplicas": 1000, "targetWait": "90s", "scaleDownDelay": "10 minutes"}},
}


@pytest.mark.parametrize("fields", GOOD.values(), ids=GOOD)
def test_good_spec_is_taken_as_it_is(namespace, fields):
    spec = {"tubes": ["mail"], **fields}
    assert namespace.dry_run(namespace.pool_object("good", spec))["spec"] == spec


def test_a_name_too_long_for_a_label_is_refused(namespace):
    assert "at most 63" in namespace.refusal(namespace.pool_object("x" * 64, {"tubes": ["mail"]}))


@pytest.mark.usefixtures("operator")
def test_explain_describes_every_field(kubectl):
    tree = kubectl("explain", "workerpool.spec", "--recursive").stdout
    fields = re.findall(r"^( +)(\w+)\t<(.*?)>", tree, re.MULTILINE)
    assert {"tubes", "image", "server", "executors", "suspend"} <= {name for _, name, _ in fields}
    path, parts = [], ["workerpool.spec"]
    for indent, name, kind in fields:
        path[len(indent) // 2 - 1 :] = [name]
        # What is said of an object has what is said of its fields. Init containers have the fields of containers.
        if kind.endswith("Object") and "initContainers" not in path:
            parts.append(f"workerpool.spec.{'.'.join(path)}")
    for part in parts:
        assert "<no description>" not in kubectl("explain", part).stdout, f"a field of {part} has no description"
