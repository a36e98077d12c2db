"""When a live object counts as changed."""

import pytest

from tubeherd_operator.decisions.drift import differences, overrides

RENDERED = {
    "labels": {"a": "b"},
    "containers": [{"name": "w", "args": ["run"], "resources": {"limits": {"memory": "1024Mi"}}}],
    "drop": ["ALL"],
}


@pytest.mark.parametrize(
    "live",
    [
        RENDERED,
        RENDERED | {"more": 1, "labels": {"a": "b", "c": "d"}},
        RENDERED | {"containers": [{"name": "sidecar"}, RENDERED["containers"][0] | {"tty": False}]},
        RENDERED
        | {"containers": [{"name": "w", "args": ["run"], "resources": {"limits": {"memory": "1Gi", "cpu": "1"}}}]},
    ],
    ids=["the same", "others' fields", "a sidecar and a default", "the same quantity"],
)
def test_unchanged(live):
    assert not differences(RENDERED, live)


@pytest.mark.parametrize(
    "live",
    [
        {},
        None,
        RENDERED | {"labels": {"a": "x"}},
        RENDERED | {"labels": {}},
        RENDERED | {"containers": []},
        RENDERED | {"containers": [RENDERED["containers"][0] | {"args": ["run", "--fast"]}]},
        RENDERED | {"containers": [{"name": "w", "args": ["run"], "resources": {"limits": {"memory": "1G"}}}]},
        RENDERED | {"drop": ["ALL", "NET_ADMIN"]},
        RENDERED | {"drop": []},
    ],
)
def test_changed(live):
    assert differences(RENDERED, live)


@pytest.mark.parametrize(
    ("path", "one", "other"),
    [
        (("resources", "limits", "memory"), "1024Mi", "1Gi"),
        (("resources", "limits", "memory"), "1.5Gi", "1536Mi"),
        (("resources", "requests", "cpu"), "0.1", "100m"),
        (("resources", "requests", "cpu"), 1, "1"),
        (("resources", "requests", "cpu"), "100u", "1m"),
        (("resources", "requests", "cpu"), 0.0015, "2m"),
        (("emptyDir", "sizeLimit"), "1e9", "1G"),
        (("resourceFieldRef", "divisor"), "1000m", "1"),
        (("overhead", "cpu"), "1000m", "1"),
    ],
)
def test_same_quantity_is_no_difference_where_a_quantity_stands(path, one, other):
    def nested(value):
        for step in reversed(path):
            value = {step: value}
        return value

    assert not differences(nested(one), nested(other))
    assert differences(nested(one), nested("7Mi"))
    assert differences({"value": one}, {"value": other}), "the value of a variable is a text"


@pytest.mark.parametrize("name", [["a"], {"a": 1}, 1, None])
def test_name_that_the_api_server_will_refuse_is_a_difference(name):
    assert differences({"secrets": [{"name": name}]}, {"secrets": [{"name": "1"}]})


def test_fields_that_differ_are_named_as_kubectl_writes_them():
    rendered = {"spec": {"replicas": 1, "containers": [RENDERED["containers"][0] | {"image": "a"}], "drop": ["ALL"]}}
    live = {"spec": {"replicas": 0, "containers": [RENDERED["containers"][0] | {"image": "b"}], "drop": []}}
    assert differences(rendered, live) == ["spec.replicas", "spec.containers[w].image", "spec.drop"]


def test_what_others_add_and_overrides_the_spec(pools):
    pool = pools.pool(pools.full | {"memoryLimit": None})
    live = pools.live(pool, "0123456789abcdef")
    wanted = pools.rendered(pool, "0123456789abcdef")
    assert overrides(wanted, live) == {}
    live["spec"]["template"]["spec"]["containers"].insert(0, {"name": "sidecar", "env": [{"name": "TUBEHERD_X"}]})
    worker = live["spec"]["template"]["spec"]["containers"][1]
    worker["env"].insert(0, {"name": "TUBEHERD_MAX_MEMORY", "value": "1Gi"})
    worker["env"].append({"name": "HARMLESS", "value": "1"})
    worker["resources"] = {"limits": {"memory": "1Gi", "cpu": "1"}}
    assert overrides(wanted, live) == {
        "spec.template.spec.containers[worker].env[TUBEHERD_MAX_MEMORY]": "/spec/template/spec/containers/1/env/0",
        "spec.template.spec.containers[worker].resources.limits.memory": (
            "/spec/template/spec/containers/1/resources/limits/memory"
        ),
    }


def test_empty_text_is_left_out_by_the_api_server():
    rendered = {"env": [{"name": "A", "value": ""}]}
    assert not differences(rendered, {"env": [{"name": "A"}]})
    assert differences(rendered, {"env": [{"name": "A", "value": "x"}]})
    assert differences({"automount": False}, {})


def test_objects_that_share_a_name_are_compared_as_a_list():
    headers = [{"name": "Accept", "value": "a"}, {"name": "Accept", "value": "b"}]
    assert not differences({"httpHeaders": headers}, {"httpHeaders": headers})
    assert differences({"httpHeaders": headers}, {"httpHeaders": headers[::-1]})


def test_mounts_are_told_apart_by_their_path():
    rendered = {"volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}]}
    second = {"name": "tmp", "mountPath": "/var/tmp"}
    assert not differences(rendered, {"volumeMounts": [*rendered["volumeMounts"], second]})
    assert differences(rendered, {"volumeMounts": [second]})


def test_spread_over_further_nodes_that_others_add_is_theirs():
    ours, theirs = {"topologyKey": "hostname", "maxSkew": 1}, {"topologyKey": "rack", "maxSkew": 2}
    assert differences({"spread": [ours]}, {"spread": [theirs, ours]}) == []
    assert differences({"spread": [ours]}, {"spread": [theirs]}) == ["spread[hostname]"]
