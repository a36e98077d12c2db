"""Describes why a payload is not valid, on one line that contains no part of the payload.

A payload may be secret, and reasons are logged. They are made from pydantic's messages, some of which quote the value
that they refuse.
"""

import re
from collections.abc import Iterator
from itertools import chain
from typing import Any, Final, get_args

from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails
from pydantic_core.core_schema import ErrorType

from tubeherd.formats.text import REASON_MAX

_QUOTE_LENGTH: Final = 6
"""So many characters in a row that a message and a payload share count as a quotation."""
_QUOTES_NOTHING: Final = frozenset(get_args(ErrorType)) - {
    "assertion_error",
    "get_attribute_error",
    "union_tag_invalid",
    "uuid_parsing",
    "value_error",
}
"""The types of pydantic's errors whose messages never quote the input."""


def describe_invalid(error: ValidationError, adapter: TypeAdapter[Any]) -> str:
    """Return which fields of a payload are not valid and why, on one line of at most REASON_MAX characters."""
    declared = set(_names(adapter.core_schema))
    reason = "payload is not valid"
    for number, detail in enumerate(error.errors(include_url=False, include_context=False)):
        if len(reason) > REASON_MAX:  # a small payload can have thousands of errors
            break
        # A key that is not declared comes from the payload, so a star is shown instead.
        steps = [str(step) if isinstance(step, int) or step in declared else "*" for step in detail["loc"]]
        reason += f"{'; ' if number else ': '}{'.'.join(steps) or 'payload'}: {_complaint(detail)}"
    return reason[:REASON_MAX]


def _names(schema: Any) -> Iterator[str]:
    """Yield every text in a schema of pydantic; the names, aliases and tags that it declares are among them."""
    match schema:
        case dict():
            yield from (key for key in schema if isinstance(key, str))
            yield from chain.from_iterable(map(_names, schema.values()))
        case list() | tuple():
            yield from chain.from_iterable(map(_names, schema))
        case str():
            yield schema


def _complaint(detail: ErrorDetails) -> str:
    """Return pydantic's message; if that seems to quote the payload, return only the type of the error."""
    message = " ".join(detail["msg"].split())[:REASON_MAX]
    if detail["type"] in _QUOTES_NOTHING or not _quotes(message, list(_values(detail["input"]))):
        return message
    return detail["type"]


def _quotes(message: str, values: list[str]) -> bool:
    """Return whether a message contains a whole value, or `_QUOTE_LENGTH` successive characters of a value."""
    folded = message.casefold()
    texts = {" ".join(text.split()).casefold() for value in values for text in (value, repr(value)[1:-1])} - {""}
    if any(word in texts for word in re.findall(r"\w+", folded)):
        return True
    if any(text in folded for text in texts if not text.isalnum()):
        return True
    everything = "\n".join(texts)
    return any(folded[at : at + _QUOTE_LENGTH] in everything for at in range(len(folded) - _QUOTE_LENGTH + 1))


def _values(data: Any) -> Iterator[str]:
    """Yield every text and number in decoded JSON as text, the keys too."""
    match data:
        case dict():
            yield from chain.from_iterable(map(_values, chain.from_iterable(data.items())))
        case list():
            yield from chain.from_iterable(map(_values, data))
        case str() | int() | float() if data != "":
            yield str(data)
