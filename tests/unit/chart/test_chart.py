"""The chart's values are documented and checked by its schema, and the whole project has one version."""

import json
import re
import tomllib

import pytest
import yaml

from tests.support.project import ROOT
from tubeherd.queue.server import SERVER

CHART = ROOT / "charts" / "tubeherd"
VALUES = CHART / "values.yaml"
# What a user fills as in a pod or with labels of their own.
OPEN = {"beanstalkd.networkPolicy", "beanstalkd.resources", "operator.resources"}


def paths(values, before=""):
    for name, value in values.items():
        path = f"{before}{name}"
        yield path
        if isinstance(value, dict) and path not in OPEN:
            yield from paths(value, f"{path}.")


def schema_at(path):
    schema = json.loads((CHART / "values.schema.json").read_text())
    for name in path.split("."):
        schema = schema["properties"][name]
    return schema


def test_server_is_written_as_everywhere_or_left_empty():
    assert schema_at("server")["pattern"] == f"^$|{SERVER.pattern}"


def test_every_value_is_in_the_schema_and_the_other_way_round():
    schema = json.loads((CHART / "values.schema.json").read_text())

    def named(schema, before=""):
        for name, inner in schema["properties"].items():
            yield f"{before}{name}"
            yield from named(inner, f"{before}{name}.") if "properties" in inner else ()

    assert set(named(schema)) - {"global"} == set(paths(yaml.safe_load(VALUES.read_text())))


@pytest.mark.parametrize("path", [".", "worker", "operator", "beanstalkd"])
def test_a_value_with_a_typing_error_is_refused(path):
    schema = json.loads((CHART / "values.schema.json").read_text()) if path == "." else schema_at(path)
    assert schema["additionalProperties"] is False


def test_every_value_has_a_comment():
    lines = VALUES.read_text().splitlines()
    values = yaml.safe_load(VALUES.read_text())
    leaves = {path for path in paths(values) if not any(other.startswith(f"{path}.") for other in paths(values))}
    documented, stack = set(), []
    for before, line in zip(["", *lines], lines, strict=False):
        if found := re.match(r"( *)(\w+):", line):
            stack[len(found[1]) // 2 :] = [found[2]]
            if before.strip().startswith("#"):
                documented.add(".".join(stack))
    assert leaves <= documented


def test_one_version_everywhere():
    version = tomllib.loads((ROOT / "worker" / "pyproject.toml").read_text())["project"]["version"]
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    values = yaml.safe_load(VALUES.read_text())
    assert tomllib.loads((ROOT / "operator" / "pyproject.toml").read_text())["project"]["version"] == version
    assert (chart["version"], chart["appVersion"]) == (version, version)
    for part in ("worker", "operator", "beanstalkd"):
        assert values[part]["image"] == f"tubeherd-{part}:{version}"


@pytest.mark.parametrize("name", ["Dockerfile.worker", "Dockerfile.operator", "Dockerfile.beanstalkd"])
def test_images_run_as_the_user_that_the_pods_demand(name):
    lines = (ROOT / name).read_text().splitlines()
    assert [line for line in lines if line.startswith("USER")] == ["USER 65532:65532"]
    assert {line for line in lines if line.startswith("FROM")} <= {"FROM ${BASE}", "FROM ${BASE} AS build"}
