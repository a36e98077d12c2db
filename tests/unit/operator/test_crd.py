"""The CustomResourceDefinition's files are those that the models make."""

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import ValidationError

from tests.support.project import ROOT
from tubeherd.declarations import bound, default_in_words, shape
from tubeherd.formats.durations import DURATION
from tubeherd.formats.globs import GLOB
from tubeherd.formats.memory_share import MIB, slot_share
from tubeherd.pool import POOL_FIELDS, WorkerPoolSpec
from tubeherd.queue.server import SERVER
from tubeherd.settings import WorkerSettings
from tubeherd_operator import admission
from tubeherd_operator.crd import custom_resource_definition, render


@pytest.mark.parametrize("folder", ["crds", "charts/tubeherd/files"])
def test_file_is_up_to_date(folder):
    assert (ROOT / folder / "workerpools.tubeherd.io.yaml").read_text() == render(), "stale: run `make crd`"


def schemas(schema):
    yield schema
    for child in [*schema.get("properties", {}).values(), *([schema["items"]] if "items" in schema else [])]:
        yield from schemas(child)


def test_no_field_has_the_name_of_a_directive_which_kubectl_apply_would_follow_when_it_changes_the_crd():
    version = custom_resource_definition()["spec"]["versions"][0]
    for schema in schemas(version["schema"]["openAPIV3Schema"]):
        assert not [name for name in schema.get("properties", {}) if name.startswith("$")]


def test_every_field_has_a_type_and_a_description_and_no_null():
    version = custom_resource_definition()["spec"]["versions"][0]
    top = version["schema"]["openAPIV3Schema"]["properties"]
    for schema in [*schemas(top["spec"]), *schemas(top["status"])]:
        of_two_types = schema.get("x-kubernetes-int-or-string", False)
        assert of_two_types or schema["type"] in ("object", "array", "string", "integer", "boolean")
        assert not {"$ref", "anyOf", "title", "default"} & schema.keys()
        for field in schema.get("properties", {}).values():
            assert field["description"]


def test_spec_has_the_models_fields():
    version = custom_resource_definition()["spec"]["versions"][0]
    fields = version["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
    assert set(fields) == {field.alias for field in WorkerPoolSpec.model_fields.values()}


def properties():
    version = custom_resource_definition()["spec"]["versions"][0]
    return version["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]


@pytest.mark.parametrize(("name", "path"), POOL_FIELDS.items())
def test_the_field_of_a_setting_names_its_default_and_has_its_bounds(name, path):
    setting = WorkerSettings.model_fields[name]
    field = {"properties": properties()}
    for part in path:
        field = field["properties"][part]
    if name not in ("include", "server"):  # whose defaults are the operator's
        assert field["description"].startswith(setting.description)
        assert field["description"].endswith(f" Default: {default_in_words(setting)}.")
    if shape(setting).type is int and not shape(setting).format:
        assert field.get("maximum") == bound("le", setting.metadata)
        assert field["minimum"] >= bound("ge", setting.metadata)


def test_users_read_slot_for_the_process_that_runs_jobs_and_once_what_a_slot_is():
    texts = [field["description"] for field in properties().values()]
    assert [text for text in texts if "process" in text] == [
        text for text in texts if "a slot, which is a process" in text
    ]
    assert sum("process" in text for text in texts) == 1


@given(st.integers(0, 1 << 40), st.none() | st.integers(1, 1000))
@example(44150568, 1)  # the largest limit that is too small for one slot
@example(44150569, 1)
def test_memory_is_refused_at_admission_if_the_worker_would_refuse_it(limit, concurrency):
    assert evaluate(admission.MEMORY, memoryLimit=limit, concurrency=concurrency) == accepts(limit, concurrency or 1)


@given(st.none() | st.integers(1, 1000))
def test_no_memory_limit_is_always_taken(concurrency):
    assert evaluate(admission.MEMORY, memoryLimit=None, concurrency=concurrency)


def accepts(limit, concurrency):
    try:
        return bool(slot_share(limit, concurrency))
    except ValueError:
        return False


@pytest.mark.parametrize("concurrency", [1, 2, 8, 100, 1000])
def test_memory_that_the_message_names_is_enough(concurrency):
    (validation,) = admission.MEMORY["x-kubernetes-validations"]
    base, each = map(int, re.findall(r"(\d+)Mi", validation["message"]))
    assert accepts((base + each * concurrency) * MIB, concurrency)
    assert not accepts((base + each * concurrency - 1 - concurrency) * MIB, concurrency)


def evaluate(rule, **fields):
    """Evaluate a rule in CEL on a spec with these fields, None for one that is left out: CEL as Python says it."""
    (validation,) = rule["x-kubernetes-validations"]
    text = re.sub(r"has\(self\.(\w+)\)", r"has('\1')", validation["rule"])
    text = re.sub(r"quantity\(self\.(\w+)\)\.asApproximateFloat\(\)", r"float(value('\1'))", text)
    text = re.sub(r"double\((.*?\)) \? self\.(\w+) : (\d+)\)", r"float(value('\2') if \1 else \3)", text)
    text = text.replace("||", "or").replace("!has", "not has")
    assert not set("&?!") & set(text), text
    scope = {"has": lambda name: fields[name] is not None, "value": fields.__getitem__, "float": float}
    return eval(text, {"__builtins__": {}}, scope)  # noqa: S307 - our own rule


@pytest.mark.parametrize(
    ("path", "examples"),
    [
        (["tubes", "items"], GLOB.examples),
        (["excludeTubes", "items"], GLOB.examples),
        (["server"], SERVER.examples),
        (["jobTimeout"], DURATION.examples),
        (["retry", "properties", "delays", "items"], DURATION.examples),
        (["autoscale", "properties", "targetWait"], DURATION.examples),
    ],
)
def test_text_that_is_wrongly_written_is_refused_in_words_and_not_by_a_pattern(path, examples):
    field = properties()
    for part in path:
        field = field[part]
    assert "pattern" not in field
    rule = field["x-kubernetes-validations"][0]
    assert rule["rule"].startswith("self.matches(")
    assert examples in rule["message"]


def test_reserved_tube_is_refused_by_the_model_and_by_a_rule_of_the_schema():
    with pytest.raises(ValidationError, match="is reserved"):
        WorkerPoolSpec.model_validate({"tubes": ["mail", "tubeherd.burials"]})
    tubes = custom_resource_definition()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    _, rule = tubes["properties"]["tubes"]["items"]["x-kubernetes-validations"]
    assert rule["rule"] == "!self.startsWith('tubeherd.')"


@pytest.mark.parametrize("name", ["command", "http"])
def test_commands_and_urls_are_bounded_by_tube_and_checked_against_the_tubes(name):
    field = properties()[name]
    assert (field["type"], field["minProperties"], field["maxProperties"]) == ("object", 1, 64)
    assert field["additionalProperties"].keys() == {"type", "pattern", "maxLength"}
    rules = [validation["rule"] for validation in admission.SPEC["x-kubernetes-validations"]]
    assert f"!has(self.{name}) || self.{name}.all(t, t in self.tubes)" in rules
    assert len(rules) == 7


@pytest.mark.parametrize("wrong", [{"command": {"mail": "php 'mail"}}, {"http": {"mail": "ftp://host/"}}])
def test_command_and_url_that_no_worker_takes_are_refused_by_the_model(wrong):
    with pytest.raises(ValidationError, match="String should match pattern"):
        WorkerPoolSpec.model_validate({"tubes": ["mail"]} | wrong)
