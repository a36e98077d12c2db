"""The chart's values are documented and checked by its schema, and the whole project has one version."""

import json
import re
import tomllib

import pytest
import yaml
from docs.chart import CHART, PAGE, groups_of, read_values, render

from tests.support.project import ROOT
from tubeherd.configuration import WrongSettings
from tubeherd_operator.settings import OperatorSettings

SCHEMA = json.loads((CHART / "values.schema.json").read_text())
DEFAULTS = yaml.safe_load((CHART / "values.yaml").read_text())
VALUES = read_values()
GROUPS = groups_of(VALUES)


def resolved(schema):
    """Return a part of the schema, where it refers to a definition that definition."""
    if reference := schema.get("$ref"):
        return SCHEMA["definitions"][reference.removeprefix("#/definitions/")]
    return schema


def in_schema(schema=SCHEMA, before=""):
    """Return the paths of all values that the schema has, without what lies inside one value, and their schemas."""
    for name, inner in schema.get("properties", {}).items():
        path = f"{before}{name}"
        yield path, resolved(inner)
        if any(other.startswith(f"{path}.") for other in GROUPS) or path in GROUPS:
            yield from in_schema(resolved(inner), f"{path}.")


def in_values(values=DEFAULTS, before=""):
    """Return the paths of all values in values.yaml, without what lies inside one value."""
    for name, value in values.items():
        path = f"{before}{name}"
        inner = list(in_values(value, f"{path}.")) if isinstance(value, dict) else []
        is_group = path in GROUPS or any(other.startswith(f"{path}.") for other in GROUPS)
        yield path
        yield from inner if is_group else ()


def objects_in(schema):
    """Return every part of the schema that says what an object holds."""
    if isinstance(schema, dict):
        if "properties" in schema and "type" in schema:
            yield schema
        for inner in schema.values():
            yield from objects_in(inner)


def takes(schema, text):
    """Return whether a schema takes a text."""
    return len(text) <= schema.get("maxLength", len(text)) and re.search(schema["pattern"], text) is not None


PORTS = [
    "",
    *(f":{port}" for port in ("0", "1", "80", "9999", "11300", "59999", "60000", "65535", "65536", "99999", "x", "")),
]


@pytest.mark.parametrize("port", PORTS)
@pytest.mark.parametrize(
    "host", ["b", "b.queue.svc", "[::1]", "::1", "tcp://b", "a b", "a,b", "*", "*.b", "*.", "b" * 261]
)
def test_servers_that_the_operator_refuses_are_refused_by_the_chart(host, port):
    schemas = dict(in_schema())
    given = {"default_image": "worker:1"}
    for setting, value, schema in (
        ("default_server", host + port, schemas["server"]),
        ("allowed_servers", [host + port], schemas["allowedServers"]["items"]),
    ):
        try:
            is_right = bool(OperatorSettings.load({}, given | {setting: value}))
        except WrongSettings:
            is_right = False
        assert takes(schema, host + port) == is_right, setting


def test_server_may_be_left_empty_and_an_entry_of_the_list_may_not():
    schemas = dict(in_schema())
    assert takes(schemas["server"], "")
    assert not takes(schemas["allowedServers"]["items"], "")


def test_address_of_the_runbooks_may_be_left_empty():
    assert takes(dict(in_schema())["metrics.prometheusRule.runbooks"], "")


@pytest.mark.parametrize(
    ("interval", "is_taken"),
    [("0s", False), ("00m", False), ("m", False), ("often", False), ("", True), ("30s", True), ("10m", True)],
)
def test_interval_is_empty_or_more_than_nothing(interval, is_taken):
    assert bool(re.search(dict(in_schema())["metrics.interval"]["pattern"], interval)) == is_taken


def test_every_value_is_in_the_schema_and_the_other_way_round():
    assert {path for path, _ in in_schema()} - {"global"} == set(in_values())


def test_every_value_in_the_schema_has_its_kind():
    assert [path for path, schema in in_schema() if not {"type", "enum", "anyOf"} & set(schema)] == []


def test_a_value_with_a_typing_error_is_refused():
    assert [sorted(schema["properties"]) for schema in objects_in(SCHEMA) if schema["additionalProperties"]] == []


def test_every_value_has_a_comment():
    documented = {value.path for value in VALUES}
    leaves = {path for path in in_values() if path not in GROUPS and not any(g.startswith(f"{path}.") for g in GROUPS)}
    assert leaves <= documented


def test_readme_of_the_chart_is_up_to_date():
    assert PAGE.read_text() == render(), "stale: run `make values`"


def test_one_version_everywhere():
    version = tomllib.loads((ROOT / "worker" / "pyproject.toml").read_text())["project"]["version"]
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert tomllib.loads((ROOT / "operator" / "pyproject.toml").read_text())["project"]["version"] == version
    assert (chart["version"], chart["appVersion"]) == (version, version)


@pytest.mark.parametrize("part", ["worker", "operator", "beanstalkd"])
def test_images_are_those_of_the_dockerfiles_with_the_version_of_the_chart(part):
    assert (ROOT / f"Dockerfile.{part}").exists()
    assert DEFAULTS[part]["image"]["repository"] == f"tubeherd-{part}"
    assert DEFAULTS[part]["image"]["tag"] == DEFAULTS[part]["image"]["digest"] == ""


@pytest.mark.parametrize("name", ["Dockerfile.worker", "Dockerfile.operator", "Dockerfile.beanstalkd"])
def test_images_run_as_the_user_that_the_pods_demand(name):
    lines = (ROOT / name).read_text().splitlines()
    assert [line for line in lines if line.startswith("USER")] == ["USER 65532:65532"]
    assert {line for line in lines if line.startswith("FROM")} <= {"FROM ${BASE}", "FROM ${BASE} AS build"}


def test_helm_test_leaves_out_nothing_that_its_template_has_to_give():
    script = (CHART / "files" / "helm_test.py").read_text()
    template = (CHART / "templates" / "test.yaml").read_text()
    for name in re.findall(r'os\.environ\["(\w+)"\]', script):
        assert f"- name: {name}" in template
