"""Which templates of pods a pool may have; the API server refuses the same ones, see tests/cluster/test_template.py."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from tests.support.templates import REFUSED, of_pod, of_sidecar, of_worker, rewritten, rich
from tubeherd.pool import WorkerPoolSpec

# What the API server and pydantic say of the same.
SAME = {
    "should match": "should match",
    "at most 10 items": "at most 10 items",
    "at most 50 items": "at most 50 items",
    "at most 100 items": "at most 100 items",
    "uplicate": "another entry of the list has the same",
    "equired": "required",
    "array": "valid list",
    "object": "valid dictionary",
}


def faults(template):
    """Return what is refused, as fields and reasons."""
    try:
        read(template)
    except ValidationError as error:
        return [(_field(fault["loc"][1:]), fault["msg"]) for fault in error.errors()]
    return []


def read(template):
    """Return a template as a pool has it."""
    return WorkerPoolSpec.model_validate({"tubes": ["mail"], "template": template}).template


def _field(steps):
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps).removeprefix(".")


@pytest.mark.parametrize("refused", REFUSED.values(), ids=REFUSED)
def test_bad_template_is_refused_with_field_and_reason(refused):
    (found,) = faults(refused.template)
    assert found[0].startswith(refused.field)
    assert SAME.get(refused.words, refused.words) in found[1]


@pytest.mark.parametrize(
    "template",
    [
        {},
        {"metadata": {}, "spec": {}},
        {"metadata": None, "spec": None},
        rich("image:1"),
        rewritten(),
        of_pod(hostNetwork=False, restartPolicy="Always", nodeName="", ephemeralContainers=[], os={"name": "linux"}),
        of_pod(automountServiceAccountToken=True, serviceAccountName="mailer"),
        of_pod(automountServiceAccountToken=False),
        of_pod(volumes=[{"name": "tmp", "emptyDir": {"medium": "Memory"}}, {"name": "a", "csi": {"driver": "x"}}]),
        of_worker(resources={"limits": {"cpu": 0.5}, "requests": {"memory": 1000000}}),
        of_worker(securityContext={"runAsUser": 7, "seccompProfile": {"type": "Localhost", "localhostProfile": "a"}}),
        of_worker(volumeMounts=[{"name": "tmp", "mountPath": "/cache"}, {"name": "a", "mountPath": "/tmp/a"}]),
        of_sidecar(securityContext={"privileged": False, "capabilities": {"add": []}}, image=None),
    ],
)
def test_good_template_is_taken_as_it_is(template):
    assert faults(template) == []
    assert read(template).model_dump(by_alias=True, exclude_unset=True) == template


def test_variable_that_the_spec_sets_too_is_refused():
    spec = {"tubes": ["mail"], "env": [{"name": "A"}], "template": of_worker(env=[{"name": "B"}, {"name": "A"}])}
    with pytest.raises(ValidationError, match=r"spec\.env sets a variable of this name too") as raised:
        WorkerPoolSpec.model_validate(spec)
    (fault,) = raised.value.errors()
    assert _field(fault["loc"]) == "template.spec.containers[0].env[1].name"
    WorkerPoolSpec.model_validate(spec | {"template": of_sidecar(env=[{"name": "A"}])})


@pytest.mark.parametrize(
    ("strategy", "field", "words"),
    [
        ({"type": "BlueGreen"}, "type", "'RollingUpdate' or 'Recreate'"),
        ({"type": "Recreate", "rollingUpdate": {}}, "rollingUpdate", "leave rollingUpdate out"),
        ({"rollingUpdate": {"maxSurge": 0}}, "rollingUpdate.maxUnavailable", "could replace no pod"),
        ({"rollingUpdate": {"maxSurge": "0%", "maxUnavailable": 0}}, "rollingUpdate.maxUnavailable", "no pod"),
        ({"rollingUpdate": {"maxSurge": 1001}}, "rollingUpdate.maxSurge", "up to 1000"),
        ({"rollingUpdate": {"maxUnavailable": "101%"}}, "rollingUpdate.maxUnavailable", "from 0% to 100%"),
        ({"rollingUpdate": {"maxUnavailable": "many"}}, "rollingUpdate.maxUnavailable", "from 0% to 100%"),
    ],
)
def test_bad_strategy_is_refused(strategy, field, words):
    with pytest.raises(ValidationError) as raised:
        WorkerPoolSpec.model_validate({"tubes": ["mail"], "strategy": strategy})
    (fault,) = raised.value.errors()
    assert _field(fault["loc"]).startswith(f"strategy.{field}")
    assert words in fault["msg"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=20,
)
NAMES = st.sampled_from(
    ["name", "spec", "metadata", "containers", "volumes", "env", "labels", "securityContext", "$patch"]
)
SHAPED = st.recursive(
    JSON, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4), max_leaves=10
)


@given(JSON | SHAPED)
def test_whatever_is_given_is_taken_or_refused_at_a_field(template):
    for field, words in faults(template):
        assert isinstance(field, str)
        assert words
