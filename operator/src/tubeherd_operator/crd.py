"""Generates the CustomResourceDefinition from the pydantic models: `python -m tubeherd_operator.crd FILE …`."""

import sys
from copy import deepcopy
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel

from tubeherd.pool import GROUP, KIND, PLURAL, VERSION, WorkerPoolSpec
from tubeherd_operator import admission
from tubeherd_operator.decisions.status import WorkerPoolStatus

_HEADER = "# Generated from the pydantic models by `make crd`; a test fails when it is stale.\n"
_KEPT = ("description", "format", "maxItems", "maxLength", "maximum", "minItems", "minLength", "minimum", "pattern")
_KEPT_OF_MAPS = ("maxProperties", "minProperties")


def custom_resource_definition() -> dict[str, Any]:
    """Return the CustomResourceDefinition of the WorkerPool as a plain object."""
    schema = {
        "type": "object",
        "description": "WorkerPool runs workers for beanstalkd tubes, and shows, kicks and discards their buried jobs.",
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string", "description": "Version of this object's schema."},
            "kind": {"type": "string", "description": "WorkerPool."},
            "metadata": {"type": "object"},
            "spec": _spec(),
            "status": _structural(WorkerPoolStatus),
        },
        **admission.NAME,
    }
    version = {
        "name": VERSION,
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": schema},
        "subresources": {
            "status": {},
            "scale": {
                "specReplicasPath": ".spec.replicas",
                "statusReplicasPath": ".status.replicas",
                "labelSelectorPath": ".status.selector",
            },
        },
        "additionalPrinterColumns": _columns(),
    }
    names = {"kind": KIND, "listKind": f"{KIND}List", "plural": PLURAL, "singular": KIND.lower(), "shortNames": ["wp"]}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{PLURAL}.{GROUP}"},
        "spec": {"group": GROUP, "names": names, "scope": "Namespaced", "versions": [version]},
    }


def _columns() -> list[dict[str, Any]]:
    def column(name: str, path: str, kind: str = "integer", **more: Any) -> dict[str, Any]:
        return {"name": name, "type": kind, "jsonPath": path, **more}

    return [
        column("Status", '.status.conditions[?(@.type=="Ready")].reason', "string"),
        column("Pods", ".status.pods", "string", description="Pods that are connected, of those that are wanted"),
        column("Waiting", ".status.ready", description="Jobs that wait for a worker"),
        column("Running", ".status.reserved", description="Jobs that are being executed"),
        column("Delayed", ".status.delayed", description="Jobs that wait for their time"),
        column("Buried", ".status.buried", description="Jobs that failed for good"),
        column("Age", ".metadata.creationTimestamp", "date"),
        column("Top reason", ".status.burials[0].error", "string", priority=1, description="Why most jobs are buried"),
        column("Server", ".status.server", "string", priority=1),
        column("Tubes", ".spec.tubes", "string", priority=1),
    ]


def _spec() -> dict[str, Any]:
    spec = _structural(WorkerPoolSpec)
    fields = spec["properties"]
    fields["tubes"]["x-kubernetes-list-type"] = fields["excludeTubes"]["x-kubernetes-list-type"] = "set"
    fields["env"] |= {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"], **admission.ENV}
    fields["autoscale"] |= admission.AUTOSCALE
    for path, rules in admission.TEMPLATE.items():
        _add(_items(_part(fields["template"], path)), rules)
    for path, kind in admission.LISTS_OF_TEMPLATE.items():
        _part(fields["template"], path).update(deepcopy(kind))
    for path, rules in admission.STRATEGY.items():
        _add(_part(fields["strategy"], path), rules)
    return spec | admission.SPEC


def _part(schema: dict[str, Any], path: str) -> dict[str, Any]:
    """Return the part of a schema at a path; a list stands for its items on the way."""
    for name in filter(None, path.split(".")):
        schema = _items(schema)["properties"][name]
    return schema


def _items(schema: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = schema.get("items", schema)
    return found


def _add(schema: dict[str, Any], rules: admission.Rules) -> None:
    for key, more in rules.items():
        schema[key] = [*schema.get(key, []), *deepcopy(more)]


def _structural(model: type[BaseModel]) -> dict[str, Any]:
    """Return a model's schema as Kubernetes takes it: references inlined, no titles, no null."""
    schema = model.model_json_schema(by_alias=True)
    return _inline(schema, schema.get("$defs", {}))


def _inline(schema: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    if "$ref" in schema:
        target = definitions[schema["$ref"].rpartition("/")[2]]
        return _inline({**target, **{key: value for key, value in schema.items() if key != "$ref"}}, definitions)
    if "anyOf" in schema:
        (inner,) = [option for option in schema["anyOf"] if option.get("type") != "null"]
        return _inline({**inner, **{key: value for key, value in schema.items() if key != "anyOf"}}, definitions)
    result = {key: schema[key] for key in (*_KEPT, *_KEPT_OF_MAPS) if key in schema}
    result |= {key: value for key, value in schema.items() if key.startswith("x-kubernetes-")}
    if pattern := schema.get("pattern"):
        if pattern in admission.IN_WORDS:
            _add(result, admission.IN_WORDS[pattern])
            del result["pattern"]
        _add(result, admission.BY_PATTERN.get(pattern, {}))
    for kind in admission.BY_MARK.keys() & schema.keys():
        result |= admission.BY_MARK[kind](**schema[kind])
    result |= {key: schema[key] for key in ("type", "enum") if key in schema}
    if "items" in schema:
        result["items"] = _inline(schema["items"], definitions)
    if "properties" in schema:
        result["properties"] = {name: _inline(value, definitions) for name, value in schema["properties"].items()}
        result["required"] = [*schema.get("required", [])]
    if isinstance(schema.get("additionalProperties"), dict):
        result["additionalProperties"] = _inline(schema["additionalProperties"], definitions)
    elif _is_open(schema):
        result["x-kubernetes-preserve-unknown-fields"] = True
    return {key: value for key, value in result.items() if value != []}


def _is_open(schema: dict[str, Any]) -> bool:
    """Return whether an object may have fields that are not declared."""
    return schema.get("type") == "object" and ("properties" not in schema or bool(schema.get("additionalProperties")))


def render() -> str:
    """Return the CustomResourceDefinition as the YAML text of its file."""
    return _HEADER + yaml.safe_dump(custom_resource_definition(), sort_keys=False, width=120, allow_unicode=True)


if __name__ == "__main__":
    for name in sys.argv[1:]:
        Path(name).write_text(render())
