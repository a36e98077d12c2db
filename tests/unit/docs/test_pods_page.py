"""The page about the pods of a pool has every key of the merge and every field that is refused."""

import re

import pytest
import yaml

from tests.support.project import ROOT
from tubeherd.pod_template.containers import OF_WORKER
from tubeherd.pod_template.template import PodTemplate
from tubeherd.pool import WorkerPoolSpec
from tubeherd_operator.decisions.defaults import NEWEST, Defaults
from tubeherd_operator.decisions.deployment import build_deployment
from tubeherd_operator.decisions.template import MERGE_KEYS

PAGE = (ROOT / "docs" / "pods.md").read_text()
REFUSALS = PAGE.partition("## What may not be set")[2]


def test_page_has_the_keys_of_the_merge():
    merged = PAGE.partition("## How it is merged")[2].partition("These settings")[0]
    assert dict(re.findall(r"^\| `(\w+)` \| `(\w+)` \|$", merged, re.MULTILINE)) == MERGE_KEYS


def marked():
    """Return the fields of pods, containers and ports of which some values are refused."""
    definitions = PodTemplate.model_json_schema()["$defs"]
    for model in ("PodSpec", "PodRights", "ContainerRights", "_Port"):
        for name, field in definitions[model]["properties"].items():
            if "tubeherd-" in str(field):
                yield name


@pytest.mark.parametrize("field", sorted({*OF_WORKER, *marked(), "hostPath", "capabilities.add"} - {"name"}))
def test_page_has_every_field_that_is_refused(field):
    words = "port 8080" if field == "containerPort" else field
    assert re.search(rf"(?<!\w){re.escape(words)}\b", REFUSALS), field


@pytest.mark.parametrize("words", ["10 containers", "10 init containers", "50 volumes", "100 variables"])
def test_page_has_the_bounds(words):
    assert words in REFUSALS


def test_example_is_rendered_as_it_says():
    (block,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    pool = yaml.safe_load(block)
    pool["metadata"] |= {"namespace": "shop", "uid": "1"}
    spec = WorkerPoolSpec.model_validate(pool["spec"])
    rendered = build_deployment(pool, spec, "queue:11300", None, Defaults(NEWEST, "worker:1"))["spec"]
    pod = rendered["template"]["spec"]
    (worker,) = pod["containers"]
    assert rendered["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": "10%"}
    assert worker["image"] == pool["spec"]["image"]
    assert worker["resources"]["limits"] == {"memory": "256Mi", "cpu": 2}
    assert worker["resources"]["requests"] == {"memory": "256Mi", "cpu": "500m"}
    assert [container["name"] for container in pod["initContainers"]] == ["certificates", "smtp-proxy"]
    assert pod["terminationGracePeriodSeconds"] == 600
