"""The options of a command, made from the declarations of settings."""

import inspect
from collections.abc import Callable
from typing import Literal, get_args, get_origin

import typer
from pydantic.fields import FieldInfo

from tubeherd.configuration import Settings, option
from tubeherd.declarations import default_in_words, kind_in_words, shape, values_in_words
from tubeherd.formats.text import words_of

Command = Callable[..., None]


def takes_options(model: type[Settings], *only: str) -> Callable[[Command], Command]:
    """Return a decorator that gives a command an option for each setting of `model`, or for these alone.

    The command keeps its own parameters. If the user does not give an option, its value is None.
    """

    def decorate(command: Command) -> Command:
        signature = inspect.signature(command)
        own = [one for one in signature.parameters.values() if one.kind is not inspect.Parameter.VAR_KEYWORD]
        options = [_parameter(name, field) for name, field in model.model_fields.items() if not only or name in only]
        command.__signature__ = signature.replace(parameters=own + options)  # type: ignore[attr-defined]  # typer reads it
        return command

    return decorate


def _parameter(name: str, field: FieldInfo) -> inspect.Parameter:
    """Return the option of a setting, in the form that typer reads. `Settings.load` checks its text later."""
    is_flag = field.annotation is bool
    is_map = get_origin(field.annotation) is dict  # the option may be given again for each further tube
    type_ = bool if is_flag else list[str] if is_map else str
    metavar = None if is_flag else f"<{kind_in_words(field)}>"
    info = typer.Option(
        None, option(name), help=_help(field), metavar=metavar, show_default=False, autocompletion=_completion(field)
    )
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=info, annotation=type_ | None)


def _completion(field: FieldInfo) -> Callable[[str], list[str]] | None:
    """Return what completes the value of an option in a shell; None if the option takes no words to choose from."""
    words = get_args(shape(field).type) if get_origin(shape(field).type) is Literal else ()
    return words_of(words) if words else None


def _help(field: FieldInfo) -> str:
    """Return the first sentence of a setting's description, with the values that it takes and its default."""
    sentence = (field.description or "").partition(". ")[0].removesuffix(".")
    values = values_in_words(field) + "; "
    of = shape(field)
    if of.is_list:
        values = "with commas; "
    elif get_origin(of.type) is dict:
        values = "again for each further tube; "
    elif of.format or of.type is bool:  # the metavar, such as <duration>, says enough, and a flag takes no value
        values = ""
    return f"{sentence} ({values}default: {default_in_words(field)})".replace("[", r"\[")  # otherwise it is markup
