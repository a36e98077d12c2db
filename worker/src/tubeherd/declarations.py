"""What the declaration of a setting says, in words: what it takes, and what holds if it is not set.

A setting is a field of a pydantic model. The words are those of an option's help, of a pool's field and of the docs.
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
    """Marks a setting: what its default means, if the value itself does not show that."""

    means: str


class Shape(NamedTuple):
    """The type of a setting, taken apart."""

    type: Any
    """Without None; of a list: the type of an item."""
    metadata: list[Any]
    """Bounds and marks of the value; of a list: of the list."""
    is_list: bool
    """Whether it is a list, which an option and a variable have with commas."""
    format: TextFormat | None
    """How the value is written, unless its type shows that; of a list: an item."""


def shape(field: FieldInfo) -> Shape:
    """Take the type of a setting apart."""
    type_, metadata = _unwrapped(field.annotation, field.metadata)
    if get_origin(type_) is tuple:
        item, of_item = _unwrapped(get_args(type_)[0], [])
        return Shape(item, metadata, True, find(TextFormat, of_item))
    return Shape(type_, metadata, False, find(TextFormat, metadata))


def find(kind: type[Mark], metadata: list[Any]) -> Mark | None:
    """Return the first metadata of this kind."""
    return next((mark for mark in metadata if isinstance(mark, kind)), None)


def bound(name: str, metadata: list[Any]) -> Any:
    """Return the bound `ge`, `gt`, `le` or `max_length`; None if there is none."""
    return next((getattr(mark, name) for mark in metadata if hasattr(mark, name)), None)


def kind_in_words(field: FieldInfo) -> str:
    """Return in one word what a setting takes."""
    of = shape(field)
    word = of.format.name if of.format else _KINDS.get(of.type, "word")
    return f"{word}s" if of.is_list else word


def values_in_words(field: FieldInfo) -> str:
    """Return which values a setting takes, so that it can follow the word `write`."""
    of = shape(field)
    if of.is_list:
        most = bound("max_length", of.metadata)
        return f"{kind_in_words(field)} with commas between them" + ("" if most is None else f", {most} at most")
    if of.format:
        return f"{of.format.name}, like {of.format.examples}"
    if get_origin(of.type) is Literal:
        *words, last = get_args(of.type)
        return f"{', '.join(words)} or {last}"
    if of.type is bool:
        return "true or false"
    return _range(of.metadata) if of.type in (int, float) else "text"


def default_in_words(field: FieldInfo) -> str:
    """Return what holds if a setting is not set."""
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
    """Return a type without `Annotated` and without None, and all its metadata."""
    while (origin := get_origin(annotation)) in (Annotated, Union, UnionType):
        if origin is Annotated:
            annotation, *more = get_args(annotation)
            metadata = [*metadata, *more]
        else:
            (annotation,) = [kind for kind in get_args(annotation) if kind is not type(None)]
    return annotation, metadata
