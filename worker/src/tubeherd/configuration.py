"""Reads settings from environment variables and from the options of a command, and explains what is wrong with them.

A set of settings is a pydantic model, and each setting is a field of it. If the model has the prefix `TUBEHERD_`, its
field `max_jobs` is set by the variable `TUBEHERD_MAX_JOBS` and, if a command uses the model, by `--max-jobs`.
"""

import re
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, ClassVar, Final, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from tubeherd.declarations import values_in_words
from tubeherd.formats.text import shortened

_LINES_MOST: Final = 20
"""So many wrong settings, or wrong items of lists, are explained."""
_SERVICE_VARIABLE: Final = r"(.+_)?(SERVICE_HOST|SERVICE_PORT(_.+)?|PORT_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)"
"""Matches what follows the prefix `TUBEHERD_` in a variable that Kubernetes sets for a Service of the namespace.

Kubernetes sets such variables for a Service whose name begins with `tubeherd-`. One more variable of a Service ends in
`_PORT`; it is recognized by its value, which is a URL.
"""


class WrongSettings(ValueError):
    """Settings that cannot be used; the message has a line for each, with its names and what to write instead."""


class Settings(BaseModel):
    """A set of settings."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    prefix: ClassVar[str]
    """The beginning of the variables' names."""
    foreign: ClassVar[str] = ""
    """A regular expression: if the rest of a variable's name matches it, the variable is for another program."""
    has_options: ClassVar[bool] = False
    """Whether a command has an option for each setting."""

    @classmethod
    def load(cls, environ: Mapping[str, str], options: Mapping[str, Any] = MappingProxyType({})) -> Self:
        """Return the settings that variables and options set; if both set the same, the option counts.

        `options` has the fields' names as keys. An empty variable counts as not set. Raises WrongSettings.
        """
        variables = {name: text for name in cls.model_fields if (text := environ.get(cls.variable(name)))}
        try:
            return cls.model_validate({**variables, **options})
        except ValidationError as error:
            raise WrongSettings(cls.explain(error)) from None

    @classmethod
    def explain(cls, error: ValidationError) -> str:
        """Return a line for each wrong setting: its names, what is wrong, and what to write instead."""
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
        if len(lines) > _LINES_MOST:
            lines[_LINES_MOST:] = [f"and {len(lines) - _LINES_MOST} more"]
        return "\n".join(lines)

    @classmethod
    def misspelt(cls, environ: Mapping[str, str]) -> Iterator[str]:
        """Yield a message for each variable that has the prefix, in upper or lower case, but sets no setting."""
        known = {cls.variable(name) for name in cls.model_fields}
        for variable, text in environ.items():
            if (
                variable.upper().startswith(cls.prefix)
                and variable not in known
                and not cls._is_foreign(variable, text)
            ):
                nearest = cls._nearest(variable)
                advice = f"did you mean {nearest}?" if nearest else "remove it"
                yield f"{shortened(variable, 100)} is no setting and has no effect: {advice}"

    @classmethod
    def named(cls, name: str) -> str:
        """Return the names of a setting as a user writes them: the option, if there is one, and the variable."""
        return f"{option(name)} ({cls.variable(name)})" if cls.has_options else cls.variable(name)

    @classmethod
    def synonyms(cls) -> Mapping[str, str]:
        """Return the names of settings, by other names that users may take for them."""
        return {}

    @classmethod
    def variable(cls, name: str) -> str:
        """Return the name of a setting's variable."""
        return cls.prefix + name.upper()

    @classmethod
    def _is_foreign(cls, variable: str, text: str) -> bool:
        rest = variable[len(cls.prefix) :]
        if re.fullmatch(cls.foreign, rest) or re.fullmatch(_SERVICE_VARIABLE, rest):
            return True
        return variable.endswith("_PORT") and "://" in text

    @classmethod
    def _nearest(cls, variable: str) -> str | None:
        from difflib import get_close_matches  # imported only if a name is misspelt

        names = {**cls.synonyms(), **{name: name for name in cls.model_fields}}
        found = get_close_matches(variable[len(cls.prefix) :].lower(), names, 1)
        return cls.variable(names[found[0]]) if found else None


def option(name: str) -> str:
    """Return the name of a setting's option."""
    return f"--{name.replace('_', '-')}"
