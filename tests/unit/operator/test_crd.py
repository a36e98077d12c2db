"""The CustomResourceDefinition's files are those that the models make."""

import pytest

from tests.support.project import ROOT
from tubeherd.pool import WorkerPoolSpec
from tubeherd_operator.crd import custom_resource_definition, render


@pytest.mark.parametrize("folder", ["crds", "charts/tubeherd/files"])
def test_file_is_up_to_date(folder):
    assert (ROOT / folder / "workerpools.tubeherd.io.yaml").read_text() == render(), "stale: run `make crd`"


def schemas(schema):
    yield schema
    for child in [*schema.get("properties", {}).values(), *([schema["items"]] if "items" in schema else [])]:
        yield from schemas(child)


def test_every_field_has_a_type_and_a_description_and_no_null():
    version = custom_resource_definition()["spec"]["versions"][0]
    top = version["schema"]["openAPIV3Schema"]["properties"]
    for schema in [*schemas(top["spec"]), *schemas(top["status"])]:
        assert schema["type"] in ("object", "array", "string", "integer", "boolean")
        assert not {"$ref", "anyOf", "title", "default"} & schema.keys()
        for field in schema.get("properties", {}).values():
            assert field["description"]


def test_spec_has_the_models_fields():
    version = custom_resource_definition()["spec"]["versions"][0]
    fields = version["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
    assert set(fields) == {field.alias for field in WorkerPoolSpec.model_fields.values()}
