"""Bodies made to break the decoding of payloads: each job gets a verdict, and no reason tells what was in the body."""

import json
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from ipaddress import IPv4Address
from typing import Any, Literal
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import AnyUrl, Base64Bytes, BaseModel, Json, SecretStr, field_validator
from typing_extensions import TypedDict

from tests.support.processing import executor_taking, leased, processor_of
from tubeherd import events
from tubeherd.policy import Bury, Delete

SECRET = "hunter2"  # noqa: S105 - what no reason may hold


class Order(BaseModel):
    number: int
    lines: list[tuple[str, float]] = []


class Strict(BaseModel, extra="forbid"):
    known: dict[str, int] = {}


class Node(BaseModel):
    a: "Node | None" = None
    number: int = 0


@dataclass
class Point:
    number: int
    name: str = ""


class Named(TypedDict):
    number: int
    lines: list[str]


class Colour(Enum):
    RED = "red"


ANNOTATIONS = [
    Order, Strict, Node, Point, Named, Colour, Any, bytes, dict, list, str, int, float, bool, Decimal, datetime, date,
    timedelta, UUID, IPv4Address, AnyUrl, Base64Bytes, SecretStr, Json, ZoneInfo, Literal["a", "b"], int | Order,
    dict[int, int], dict[UUID, list[int]], dict[date, Strict], set[int], tuple[int, ...], frozenset[str],
]  # fmt: skip


PROCESSORS = [processor_of(executor_taking(annotation)) for annotation in ANNOTATIONS]


def check(body: bytes) -> None:
    """Process a job of that body with every annotation, with listeners that see the payload and without."""
    with ExitStack() as listening:
        for listen in (False, True):
            if listen:
                for signal in (events.execute_pre, events.execute_post):
                    listening.enter_context(signal.connected_to(lambda action: None))
            for processor, annotation in zip(PROCESSORS, ANNOTATIONS, strict=True):
                verdict = processor.process(leased(body)).verdict
                assert isinstance(verdict, (Delete, Bury)), annotation
                if isinstance(verdict, Bury):
                    assert 10 < len(verdict.reason) <= 500
                    assert SECRET not in verdict.reason.lower(), annotation


NESTED = [opening * depth + middle + closing * depth
          for opening, middle, closing in [("[", "", "]"), ('{"a":', "1", "}"), ('[{"a":', "[]", "}]")]
          for depth in (100, 190, 210, 9000)]  # fmt: skip
KEYS = ["number", "lines", "known", "a", "name", SECRET]


@pytest.mark.parametrize(
    "body",
    [
        "", " ", "\ufeff{}", "\0", "{} {}", "{", '"', "-", "nul", "-0", "1e999", "-1e-999", "9" * 4301,
        "-" + "9" * 60_000, "0." + "1" * 60_000, "NaN", "[Infinity, -Infinity]", '{"number": NaN}', '"\\u0000"',
        '"\\x"', "'a'", "{1: 2}", "[1,]", "/* */ 1", *NESTED, SECRET, f'"{SECRET}', f'{{"number": "{SECRET}',
        f'"\\ud800{SECRET}"',
        f'{{"\\udc00{SECRET}": 1}}', f'{{"number": 1, "number": "{SECRET}"}}', f'{{"{SECRET}": 1, "{SECRET}": 2}}',
        f'"2026-01-{SECRET}"', f'"http://{SECRET}:x/"', f'"{SECRET}==="', f'"0.0.0.{SECRET}"', f'"P1{SECRET}"',
        json.dumps([SECRET] * 6000), json.dumps({f"{SECRET}{n}": SECRET for n in range(2000)}),
        json.dumps(SECRET * 9000), json.dumps({key: {SECRET: SECRET} for key in KEYS}),
        json.dumps({key: [SECRET, [SECRET, SECRET]] for key in KEYS}),
    ],
    ids=lambda body: repr(body[:20]),
)  # fmt: skip
def test_body_ends_in_a_verdict_that_tells_nothing_of_it(body):
    check(body.encode())


secrets = st.sampled_from([SECRET, SECRET.upper(), f"{SECRET}\n", f"2026-{SECRET}", f"é{SECRET}"])
values = st.recursive(
    secrets | st.none() | st.booleans() | st.integers() | st.floats(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS) | secrets, inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=150)
@given(values, st.integers(0, 200), st.binary(max_size=3))
def test_any_json_that_any_bytes_were_put_into_ends_in_a_verdict_that_tells_nothing_of_it(value, place, junk):
    body = json.dumps(value).encode()
    check(body)
    check(body[:place] + junk + body[place:])


class Quoting(BaseModel):
    text: str = ""
    counts: dict[str, int] = {}
    shout: str = ""
    cut: str = ""

    @field_validator("text")
    @classmethod
    def refuse_text(cls, text: str) -> str:
        raise ValueError(f"cannot send to {text}")

    @field_validator("counts")
    @classmethod
    def refuse_keys(cls, counts: dict[str, int]) -> dict[str, int]:
        raise ValueError(f"nobody knows {', '.join(counts)}")

    @field_validator("shout")
    @classmethod
    def refuse_shout(cls, shout: str) -> str:
        raise ValueError(f"what is {shout.upper()!r}s meaning")

    @field_validator("cut")
    @classmethod
    def refuse_cut(cls, cut: str) -> str:
        raise ValueError(f"{cut[: len(SECRET)]}... is too long")


@pytest.mark.parametrize(
    ("annotation", "payload"),
    [
        (Quoting, {"text": SECRET}),
        (Quoting, {"text": f"{SECRET}\n"}),
        (Quoting, {"text": f"ann  {SECRET}"}),
        (Quoting, {"text": f"{SECRET}'\"\\\u2028"}),
        (Quoting, {"counts": {SECRET: 1}}),
        (Quoting, {"shout": SECRET}),
        (Quoting, {"cut": f"{SECRET}-and-more"}),
        (ZoneInfo, {"a": f"{SECRET}\n"}),
        (ZoneInfo, {SECRET: None}),
    ],
)
def test_validator_that_quotes_the_payload_is_not_quoted(annotation, payload):
    body = json.dumps(payload).encode()
    verdict = processor_of(executor_taking(annotation)).process(leased(body)).verdict
    assert isinstance(verdict, Bury)
    assert SECRET not in verdict.reason.lower()
