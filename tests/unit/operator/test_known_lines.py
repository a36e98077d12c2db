"""Of a watch only those lines are left out that certainly say what is known."""

import asyncio
import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tubeherd_operator.cluster.known_lines import KnownLeftOut, version_of


def line(version, kind="MODIFIED", **more):
    """Return a line as the API server writes it: without spaces, and with the fields of the metadata in their order."""
    item = {"metadata": {"labels": more.get("labels", {}), "name": "mail", "resourceVersion": version, "uid": "7"}}
    item["spec"] = more.get("spec", {})
    return json.dumps({"type": kind, "object": item}, separators=(",", ":")).encode()


@pytest.mark.parametrize(
    ("given_line", "version"),
    [
        (line("123"), 123),
        (line("123", "ADDED"), 123),
        (line("18446744073709551615"), 2**64 - 1),
        (line("123", spec={"env": 'a quoted "resourceVersion":"5"'}), 123),
        (line("123", "DELETED"), None),
        (line("123", "BOOKMARK"), None),
        (line("123", "ERROR"), None),
        (line("123", labels={"resourceVersion": "5"}), None),
        (line("123", spec={"template": {"resourceVersion": "5"}}), None),
        (line("123", spec={'a"resourceVersion': "5"}), None),
        (line("12 3"), None),
        (line(""), None),
        (line("1" * 21), None),
        (line("123")[:-1], 123),
        (line("123").partition(b"123")[0], None),
        (line("123").partition(b"23")[0], None),
        (json.dumps(json.loads(line("123"))).encode(), None),
        (b"", None),
        (b"\xff\xfe", None),
    ],
)
def test_version_is_told_only_if_it_is_certain(given_line, version):
    assert version_of(given_line) == version


class Body:
    """What an HTTP client hands out, in parts."""

    total_bytes = 7

    def __init__(self, parts):
        self._parts = parts

    async def iter_chunked(self, size):
        for part in self._parts:
            assert len(part) <= size
            yield part


def read(parts, known):
    async def read_all():
        return [part async for part in KnownLeftOut(Body(parts), known.__contains__).iter_chunked(2**20)]

    return asyncio.run(read_all())


@given(st.lists(st.integers(1, 9)), st.sets(st.integers(1, 9)), st.lists(st.integers(0, 2000)), st.binary(max_size=3))
def test_the_rest_is_what_it_was_however_the_body_is_cut(versions, known, cuts, end):
    end = end.replace(b"\n", b"")
    body = b"".join(line(str(version)) + b"\n" for version in versions) + end
    places = [0, *sorted(cut for cut in cuts if cut < len(body)), len(body)]
    found = read([body[start:stop] for start, stop in pairwise(places)], known)
    rest = b"".join(line(str(version)) + b"\n" for version in versions if version not in known) + end
    assert b"".join(found) == rest
    assert b"" not in found


@pytest.mark.parametrize(
    "error",
    [
        b'{"type":"ERROR","object":{"kind":"Status","message":"etcd has a new leader","code":500}}',
        b'{"type":"ERROR","object":{"kind":"Status","message":"not \\"code\\":410"}}',
        b'{"type":"ERROR","object":[410]}',
        b'{"type":"ERROR",no JSON',
        b'{"type":"ERROR","object":' + b"[" * 100_000,
    ],
    ids=["500", "none", "list", "no JSON", "deep"],
)
@pytest.mark.parametrize("end", [b"\n", b""])
def test_after_any_error_kopf_lists_anew_instead_of_ending(monkeypatch, logged, error, end):
    monkeypatch.setattr("tubeherd_operator.cluster.known_lines._PAUSE_SECONDS", 0.0)
    first, second = read([line("1") + b"\n" + error + end], set())
    assert first == line("1") + b"\n", "it does not wait for what follows"
    assert (json.loads(second)["type"], json.loads(second)["object"]["code"]) == ("ERROR", 410)
    (warning,) = logged()
    assert "listed again" in warning["event"]


def test_error_after_which_kopf_lists_by_itself_is_handed_on(logged):
    error = b'{"type":"ERROR","object":{"kind":"Status","message":"too old","code":410}}\n'
    assert read([error], set()) == [error]
    assert logged() == []


def test_a_line_is_handed_on_as_soon_as_it_is_whole():
    first, second = line("1") + b"\n", line("2") + b"\n"
    assert read([first + second[:9], second[9:]], set()) == [first, second]


def test_all_else_is_that_of_the_body():
    assert KnownLeftOut(Body([]), lambda _: False).total_bytes == 7
