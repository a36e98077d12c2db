"""The rendered Deployments, compared with golden files: UPDATE_GOLDEN=1 pytest writes them anew."""

import json
import os
import re
from pathlib import Path

import pytest
import yaml

from tubeherd.pool import WorkerPoolSpec
from tubeherd.settings import ENV_PREFIX, WorkerSettings
from tubeherd_operator.crd import render
from tubeherd_operator.decisions.deployment import grace_period

GOLDEN = Path(__file__).parent / "golden"
SPECS = {
    "smallest": {"tubes": ["mail"]},
    "suspended": {"tubes": ["mail"], "replicas": 2, "suspend": True},
    "no-retries": {"tubes": ["mail"], "retry": {"delays": []}, "server": "[::1]:11301", "image": "shop/mail:7"},
}


@pytest.mark.parametrize("name", [*SPECS, "full"])
def test_deployment_is_the_golden_one(pools, name):
    rendered = pools.rendered(pools.pool(SPECS.get(name, pools.full)), "0123456789abcdef" if name == "full" else None)
    path = GOLDEN / f"{name}.yaml"
    if os.environ.get("UPDATE_GOLDEN"):
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


def test_worker_understands_every_variable_it_gets(pools, monkeypatch):
    (container,) = pools.rendered(pools.pool(pools.full))["spec"]["template"]["spec"]["containers"]
    variables = {entry["name"]: entry["value"] for entry in container["env"] if entry["name"].startswith(ENV_PREFIX)}
    for name, value in variables.items():
        monkeypatch.setenv(name, value.replace("$$", "$"))  # as the kubelet expands it
    settings = WorkerSettings()
    assert settings.include == tuple(pools.full["tubes"])
    assert (settings.concurrency, settings.max_jobs, settings.max_time) == (2, 1000, 5400)
    assert (settings.max_memory, settings.job_timeout) == (256 << 20, 600)
    assert settings.retry_delays == (10, 600)
    assert (settings.max_lost_deliveries, settings.batch_size, settings.grace_period) == (5, 30, 610)
    assert (settings.async_concurrency, settings.ack_after_flush) == (8, True)
    assert variables.keys() == set(re.findall(r"'(TUBEHERD_[A-Z_]+)'", render())), "spec.env must not set these"
