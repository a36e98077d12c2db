"""Sets of settings, which are declared as the fields of a model: read from variables and options, and explained.

The field `max_jobs` of a model with the prefix `TUBEHERD_` is the variable `TUBEHERD_MAX_JOBS`, and the option
`--max-jobs` if the model belongs to a command.
"""

import re
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, ClassVar, Final, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from tubeherd.declarations import values_in_words

_OF_A_SERVICE: Final = r"(.+_)?(SERVICE_HOST|SERVICE_PORT(_.+)?|PORT_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)"
"""How the variables end that Kubernetes makes for each Service of a namespace; one more is `…_PORT`, with a URL."""


class WrongSettings(ValueError):
    """Settings that cannot be used; the message has a line for each, with its names and what to write instead."""


class Settings(BaseModel):
    """A set of settings."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    prefix: ClassVar[str]
    """What the names of the variables begin with."""
    foreign: ClassVar[str] = ""
    """The variables with this prefix that something else reads: a regular expression of what follows the prefix."""
    has_options: ClassVar[bool] = False
    """Whether a command has an option for each setting."""

    @classmethod
    def load(cls, environ: Mapping[str, str], options: Mapping[str, Any] = MappingProxyType({})) -> Self:
        """Return the settings of variables and of options, which are given by the names of fields and win.

        An empty variable counts as not set. Raises WrongSettings.
        """
        variables = {name: text for name in cls.model_fields if (text := environ.get(cls.variable(name)))}
        try:
            return cls.model_validate({**variables, **options})
        except ValidationError as error:
            raise WrongSettings(cls.explain(error)) from None

    @classmethod
    def explain(cls, error: ValidationError) -> str:
        """Return what is wrong with settings of this set, a line each, with their names and what to write instead."""
        lines = []
        for detail in error.errors(include_url=False):
            name = str(detail["loc"][0])
            field = cls.model_fields[name]
            if detail["type"] == "missing":
                problem = f"must be set. {field.description}"
            elif detail["type"] == "value_error":
                problem = str(detail["ctx"]["error"])
            else:
                problem = f"{str(detail['input'])[:60]!r} does not fit: write {values_in_words(field)}"
            lines.append(f"{cls.named(name)}: {problem}")
        return "\n".join(lines)

    @classmethod
    def misspelt(cls, environ: Mapping[str, str]) -> Iterator[str]:
        """Yield a message for each variable that has the prefix, in whatever case, and is of no setting."""
        known = {cls.variable(name) for name in cls.model_fields}
        for variable, text in environ.items():
            if (
                variable.upper().startswith(cls.prefix)
                and variable not in known
                and not cls._is_foreign(variable, text)
            ):
                nearest = cls._nearest(variable)
                advice = f"did you mean {nearest}?" if nearest else "remove it"
                yield f"{variable} is no setting and has no effect: {advice}"

    @classmethod
    def named(cls, name: str) -> str:
        """Return the names by which a user knows a setting."""
        return f"{option(name)} ({cls.variable(name)})" if cls.has_options else cls.variable(name)

    @classmethod
    def variable(cls, name: str) -> str:
        """Return the name of a setting's variable."""
        return cls.prefix + name.upper()

    @classmethod
    def _is_foreign(cls, variable: str, text: str) -> bool:
        rest = variable[len(cls.prefix) :]
        if re.fullmatch(cls.foreign, rest) or re.fullmatch(_OF_A_SERVICE, rest):
            return True
        return variable.endswith("_PORT") and "://" in text

    @classmethod
    def _nearest(cls, variable: str) -> str | None:
        from difflib import get_close_matches  # rarely needed

        names = get_close_matches(variable[len(cls.prefix) :].lower(), cls.model_fields, 1)
        return cls.variable(names[0]) if names else None


def option(name: str) -> str:
    """Return the name of a setting's option."""
    return f"--{name.replace('_', '-')}"
