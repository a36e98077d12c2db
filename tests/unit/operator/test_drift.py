"""When a live object counts as changed."""

import pytest

from tubeherd_operator.decisions.drift import differs

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
    assert not differs(RENDERED, live)


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
    assert differs(RENDERED, live)


def test_empty_text_is_left_out_by_the_api_server():
    rendered = {"env": [{"name": "A", "value": ""}]}
    assert not differs(rendered, {"env": [{"name": "A"}]})
    assert differs(rendered, {"env": [{"name": "A", "value": "x"}]})
    assert differs({"automount": False}, {})


def test_mounts_are_told_apart_by_their_path():
    rendered = {"volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}]}
    second = {"name": "tmp", "mountPath": "/var/tmp"}
    assert not differs(rendered, {"volumeMounts": [*rendered["volumeMounts"], second]})
    assert differs(rendered, {"volumeMounts": [second]})
