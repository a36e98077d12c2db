"""The rendered Deployments, compared with golden files: UPDATE_GOLDEN=1 pytest writes the newest defaults' anew.

Those of earlier defaults never change: otherwise an upgrade of the operator would restart the pods of all pools.
"""

import json
import os
import re
from itertools import product
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.templates import of_sidecar, rich
from tubeherd.formats.durations import DURATION
from tubeherd.formats.globs import GLOB
from tubeherd.formats.sizes import SIZE
from tubeherd.formats.tube_maps import COMMAND, URL
from tubeherd.formats.tubes import RESERVED
from tubeherd.pool import POOL_FIELDS, WorkerPoolSpec
from tubeherd.queue.server import SERVER
from tubeherd.settings import WorkerSettings
from tubeherd_operator.admission import IN_WORDS
from tubeherd_operator.crd import custom_resource_definition, render
from tubeherd_operator.decisions.defaults import ADDITIONS, NEWEST
from tubeherd_operator.decisions.deployment import grace_period

GOLDEN = Path(__file__).parent / "golden"
SPECS = {
    "smallest": {"tubes": ["mail"]},
    "suspended": {"tubes": ["mail"], "replicas": 2, "suspend": True},
    "no-retries": {"tubes": ["mail"], "retry": {"delays": []}, "server": "[::1]:11301", "image": "shop/mail:7"},
}
NEWER_SPECS = {
    "template": {
        "tubes": ["mail"],
        "memoryLimit": "256Mi",
        "env": [{"name": "LEVEL", "value": "info"}],
        "template": rich("tubeherd-worker:1"),
    },
    "sidecar": {"tubes": ["mail"], "template": of_sidecar(), "strategy": {"rollingUpdate": {"maxUnavailable": 1}}},
    "recreated": {"tubes": ["mail"], "strategy": {"type": "Recreate"}},
}
"""With fields that no Deployment with the defaults 1 has."""


@pytest.mark.parametrize(
    ("name", "version"),
    [*product([*SPECS, "full"], ADDITIONS), *product(NEWER_SPECS, (version for version in ADDITIONS if version > 1))],
)
def test_deployment_is_the_golden_one(pools, name, version):
    folder = GOLDEN / f"defaults-{version}"
    full = pools.full if version == NEWEST else yaml.safe_load((folder / "spec-of-full.yaml").read_text())
    rendered = pools.rendered(
        pools.pool((SPECS | NEWER_SPECS).get(name, full)), "0123456789abcdef" if name == "full" else None, version
    )
    path = folder / f"{name}.yaml"
    if os.environ.get("UPDATE_GOLDEN") and version == NEWEST:
        path.write_text(yaml.safe_dump(json.loads(json.dumps(rendered)), sort_keys=False, width=120))
    assert yaml.safe_load(path.read_text()) == rendered


def test_digest_changes_with_what_is_rendered_and_with_nothing_else(pools):
    def digest(pool, executors=None):
        return pools.rendered(pool, executors)["metadata"]["annotations"]["tubeherd.io/rendered"]

    pool = pools.pool()
    assert digest(pool) == digest(pools.pool(annotations={"kick": "all"}, resourceVersion="2", generation=9))
    assert len({digest(pool), digest(pools.pool({"tubes": ["mail"]})), digest(pool, "other-code")}) == 3


@pytest.mark.parametrize(("timeout", "seconds"), [(None, 75), ("10m", 615), ("1.5s", 16)])
def test_grace_period_is_a_jobs_time_and_a_margin(timeout, seconds):
    assert grace_period(WorkerPoolSpec(tubes=["mail"], job_timeout=timeout)) == seconds


def variables(pools, spec):
    """Return the worker's variables in the pod of such a pool, as the kubelet expands them."""
    (container,) = pools.rendered(pools.pool(spec))["spec"]["template"]["spec"]["containers"]
    prefix = WorkerSettings.prefix
    ours = {entry["name"]: entry["value"] for entry in container["env"] if entry["name"].startswith(prefix)}
    return {name: text.replace("$$", "$") for name, text in ours.items()}


def test_worker_understands_every_variable_it_gets(pools):
    settings = WorkerSettings.load(variables(pools, pools.full))
    assert settings.include == tuple(pools.full["tubes"])
    assert (settings.concurrency, settings.max_jobs, settings.max_time) == (2, 1000, 5400)
    assert (settings.max_memory, settings.job_timeout) == (256 << 20, 600)
    assert settings.retry_delays == (10, 600)
    assert (settings.max_lost_deliveries, settings.batch_size, settings.grace_period) == (5, 30, 610)
    assert (settings.command, settings.http) == (pools.full["command"], pools.full["http"])
    assert (settings.async_concurrency, settings.ack_after_flush, settings.burial_records) == (8, True, "off")
    reserved = set(re.findall(r"'(TUBEHERD_[A-Z_]+)'", render()))
    assert variables(pools, pools.full).keys() == reserved, "spec.env must not set these"


DURATIONS = st.builds(
    "{}{}{}".format, st.integers(1, 9999), st.sampled_from(["", " "]), st.sampled_from(["s", "minutes"])
)
TEXTS = {
    GLOB.pattern: st.from_regex(GLOB.pattern, fullmatch=True).filter(lambda name: not name.startswith(RESERVED)),
    DURATION.pattern: DURATIONS,
    SIZE.pattern: st.builds("{}{}".format, st.integers(30, 999), st.sampled_from(["G", "Gi", "T"])),  # for 1000 slots
    COMMAND.pattern: st.from_regex(COMMAND.pattern, fullmatch=True),
    URL.pattern: st.builds("https://{}.example/{}".format, st.integers(0, 99), st.sampled_from(["", "a?b=c", "$(A)"])),
    SERVER.pattern: st.sampled_from(["beanstalkd", "beanstalkd.queue.svc:1", "[::1]:65535"]),
}


def values_of(schema):
    """Return a strategy for what the API server takes for a field."""
    match schema["type"]:
        case "object" if "additionalProperties" in schema:
            tubes = {COMMAND.pattern: ["mail", "sms"], URL.pattern: ["invoice", "$(HOME)"]}  # a tube has only one
            values = schema["additionalProperties"]
            return st.dictionaries(st.sampled_from(tubes[values["pattern"]]), values_of(values), min_size=1)
        case "object":
            fields = {name: values_of(field) for name, field in schema["properties"].items()}
            return st.fixed_dictionaries({}, optional=fields)
        case "array":
            most = min(schema["maxItems"], 20)
            return st.lists(values_of(schema["items"]), min_size=schema.get("minItems", 0), max_size=most, unique=True)
        case "integer":
            return st.integers(schema["minimum"], schema.get("maximum", 10**9))
        case "boolean":
            return st.booleans()
    return TEXTS[schema.get("pattern") or pattern_of(schema["x-kubernetes-validations"])]


def pattern_of(rules):
    """Return the pattern in whose place a rule stands that has a message in words."""
    words = {rule["rule"]: pattern for pattern, one in IN_WORDS.items() for rule in one["x-kubernetes-validations"]}
    return words[rules[0]["rule"]]


FIELDS = custom_resource_definition()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
SPECS_OF_WORKERS = st.fixed_dictionaries(
    {"tubes": values_of(FIELDS["properties"]["tubes"])},
    optional={path[0]: values_of(FIELDS["properties"][path[0]]) for path in POOL_FIELDS.values() if path != ["tubes"]},
)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(SPECS_OF_WORKERS)
def test_whatever_the_spec_sets_is_what_the_worker_reads(pools, spec):
    worker = WorkerSettings.load(variables(pools, spec))
    for name, path in POOL_FIELDS.items():
        value = spec
        for part in path:
            value = value.get(part) if value else None
        if name == "burial_records" and value is not None:
            value = "on" if value else "off"
        if value is None and name != "server":  # which the operator has then
            assert getattr(worker, name) == WorkerSettings.model_fields[name].default, name
        elif value is not None:
            assert getattr(worker, name) == getattr(WorkerSettings(**{name: value}), name), name
            if isinstance(value, (bool, int)):
                assert getattr(worker, name) == value
