"""Describes a setting in words, from its declaration: which values it takes, and what its default is.

A setting is a field of a pydantic model. These words are used in the help of options, in the descriptions of a pool's
fields and in `docs/settings.md`.
"""

from dataclasses import dataclass
from types import UnionType
from typing import Annotated, Any, Final, Literal, NamedTuple, TypeVar, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from tubeherd.formats.durations import DURATION, format_duration
from tubeherd.formats.text import TextFormat

Mark = TypeVar("Mark")
_KINDS: Final = {bool: "flag", int: "number", float: "number", str: "name"}


@dataclass(frozen=True, slots=True)
class Unset:
    """Metadata of a setting whose default value does not show what it means, such as 0 for no limit."""

    means: str
    """What the default means, in words."""


class Shape(NamedTuple):
    """The parts of a setting's type."""

    type: Any
    """The type without `None`; if the setting is a list, the type of an item."""
    metadata: list[Any]
    """What the type of the setting is annotated with, such as bounds. For a list, these bound its length."""
    is_list: bool
    """Whether the setting is a list; a user writes the items with commas between them."""
    format: TextFormat | None
    """How the value (for a list, each item) is written; None if the type alone shows that."""


def shape(field: FieldInfo) -> Shape:
    """Return the parts of a setting's type."""
    type_, metadata = _unwrapped(field.annotation, field.metadata)
    if get_origin(type_) is tuple:
        item, of_item = _unwrapped(get_args(type_)[0], [])
        return Shape(item, metadata, True, find(TextFormat, of_item))
    return Shape(type_, metadata, False, find(TextFormat, metadata))


def find(kind: type[Mark], metadata: list[Any]) -> Mark | None:
    """Return the first of the metadata that is of this class; None if there is none."""
    return next((mark for mark in metadata if isinstance(mark, kind)), None)


def bound(name: str, metadata: list[Any]) -> Any:
    """Return the bound of this name, which is `ge`, `gt`, `le` or `max_length`; None if there is none."""
    return next((getattr(mark, name) for mark in metadata if hasattr(mark, name)), None)


def kind_in_words(field: FieldInfo) -> str:
    """Return the kind of a setting's value in one word, such as `duration`."""
    of = shape(field)
    word = of.format.name if of.format else _KINDS.get(of.type, "word")
    return f"{word}s" if of.is_list else word


def values_in_words(field: FieldInfo) -> str:
    """Return which values a setting takes, such as "0 or more"; error messages put "write" before these words."""
    of = shape(field)
    if of.is_list:
        most = bound("max_length", of.metadata)
        return f"{kind_in_words(field)} with commas between them" + ("" if most is None else f", {most} at most")
    if of.format:
        each = ", a line for each tube" if get_origin(of.type) is dict else ""
        return f"{of.format.name}, like {of.format.examples}{each}"
    if get_origin(of.type) is Literal:
        *words, last = get_args(of.type)
        return f"{', '.join(words)} or {last}"
    if of.type is bool:
        return "true or false"
    return _range(of.metadata) if of.type in (int, float) else "text"


def default_in_words(field: FieldInfo) -> str:
    """Return the default of a setting, or what the default means."""
    of = shape(field)
    if field.is_required():
        return "none, it must be set"
    if unset := find(Unset, of.metadata):
        return unset.means
    return ",".join(_word(value, of) for value in (field.default if of.is_list else [field.default]))


def _word(value: Any, of: Shape) -> str:
    if of.format is DURATION:
        return format_duration(value)
    return str(value).lower() if of.type is bool else str(value)


def _range(metadata: list[Any]) -> str:
    least, above, most = (bound(name, metadata) for name in ("ge", "gt", "le"))
    if above is not None:
        return f"more than {above}"
    if least is None:
        return "a number"
    return f"{least} or more" if most is None else f"{least} to {most}"


def _unwrapped(annotation: Any, metadata: list[Any]) -> tuple[Any, list[Any]]:
    """Return a type without `Annotated` and without `None`, and the metadata together with those of `Annotated`."""
    while (origin := get_origin(annotation)) in (Annotated, Union, UnionType):
        if origin is Annotated:
            annotation, *more = get_args(annotation)
            metadata = [*metadata, *more]
        else:
            (annotation,) = [kind for kind in get_args(annotation) if kind is not type(None)]
    return annotation, metadata
