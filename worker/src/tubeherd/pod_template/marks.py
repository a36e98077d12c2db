"""Marks of fields: which values they may have, and why not others. And the errors of rules that no mark can express."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pydantic import AfterValidator, BaseModel, ConfigDict, GetCoreSchemaHandler, GetJsonSchemaHandler, ValidationError
from pydantic.alias_generators import to_camel
from pydantic_core import CoreSchema, InitErrorDetails, PydanticCustomError, core_schema


class Closed(BaseModel):
    """An object that has no other fields."""

    model_config = ConfigDict(alias_generator=to_camel, extra="forbid", strict=True)


class Open(BaseModel):
    """An object of Kubernetes of which only some fields are declared; the others are kept as they are."""

    model_config = ConfigDict(alias_generator=to_camel, extra="allow", strict=True)


@dataclass(frozen=True, slots=True, eq=False)
class Only:
    """Marks a field that may have these values alone; with none it must be left out."""

    values: tuple[Any, ...]
    why: str

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return _checked(lambda value: value in self.values, self.why, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        filled = tuple(value for value in self.values if value not in ("", []))
        words = f"Only {_written(filled)}" if filled else "Not allowed"
        return {"description": f"{words}: {self.why}.", **handler(schema), "tubeherd-only": _mark(self)}


@dataclass(frozen=True, slots=True, eq=False)
class Never:
    """Marks a field that may not have these values."""

    values: tuple[Any, ...]
    why: str

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return _checked(lambda value: value not in self.values, self.why, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        words = f"Not {_written(self.values)}"
        return {"description": f"{words}: {self.why}.", **handler(schema), "tubeherd-never": _mark(self)}


def _written(values: tuple[Any, ...]) -> str:
    return " or ".join(json.dumps(value) for value in values)


def _mark(mark: Only | Never) -> dict[str, Any]:
    return {"values": [*mark.values], "why": mark.why}


def _checked(accepts: Callable[[Any], bool], why: str, schema: CoreSchema) -> CoreSchema:
    def check(value: Any) -> Any:
        if not accepts(value):
            raise _refusal(why)
        return value

    return core_schema.no_info_after_validator_function(check, schema)


def refused(field: tuple[str | int, ...], why: str) -> ValidationError:
    """Return the error that a field of the object under validation is refused."""
    details = InitErrorDetails(type=_refusal(why), loc=field, input=None)
    return ValidationError.from_exception_data("template", [details])


def _refusal(why: str) -> PydanticCustomError:
    return PydanticCustomError("refused", "{why}", {"why": why})  # not as the template, for it may have braces


def unique(field: str) -> AfterValidator:
    """Return the check that no two objects of a list have the same value of a field."""

    def check(items: list[Any]) -> list[Any]:
        met = set()
        for number, item in enumerate(items):
            value = getattr(item, field)
            if value in met:
                raise refused((number, to_camel(field)), "another entry of the list has the same")
            met.add(value)
        return items

    return AfterValidator(check)
