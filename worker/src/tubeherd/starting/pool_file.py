"""Reads the file of a pool, which is a WorkerPool object for Kubernetes, for a worker without Kubernetes.

What the pool sets becomes variables, as the operator sets them for the pods of a pool. So options win over them, and so
do the variables that are set already.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from pydantic import ValidationError
from pydantic.alias_generators import to_camel

from tubeherd.pool import GROUP, KIND, NOT_FOR_ENV, POOL_FIELDS, TEXT_WHY, VERSION, WorkerPoolSpec
from tubeherd.settings import WorkerSettings

_BYTES_MOST: Final = 2 << 20
"""More than the API server would take."""
_ERRORS_MOST: Final = 10
_SECRET: Final = ("command", "http", "env", "template")
"""The fields of a spec in which secrets may be, such as passwords in URLs; no message quotes them."""
_REFERENCE: Final = re.compile(r"\$(\$|\((\w+)\))")


class WrongPool(ValueError):
    """The file is no pool that a worker can take its settings from; the message says why."""


class PoolFile(NamedTuple):
    """What a worker takes from the file of a pool."""

    name: str
    variables: Mapping[str, str]
    """The variables that the pool sets and that were not set before."""
    ignored: list[str]
    """A message for each part of the pool that means nothing without a cluster."""


def read_pool(path: Path, environ: Mapping[str, str]) -> PoolFile:
    """Return what the file says, where the environment does not say it already; raises WrongPool."""
    pool = _the_pool(_documents(path), path)
    metadata = pool.get("metadata")
    given = str((metadata.get("name") if isinstance(metadata, dict) else None) or "")[:100]
    where = f"{path}, pool {given}" if given else str(path)
    spec = _spec(pool.get("spec"), where)
    set_already = {variable: text for variable, text in environ.items() if text}
    variables = dict(WorkerSettings.variables(spec.worker_settings()))
    ignored = _ignored_fields(spec)
    for entry in spec.env or ():
        if entry.name in NOT_FOR_ENV:
            raise WrongPool(f"{where}: spec.env must not set {entry.name}, because a field of the spec sets it")
        if entry.value_from is None:
            variables[entry.name] = _expanded(entry.value or "", variables | set_already)
            if "\0" in variables[entry.name]:
                raise WrongPool(f"{where}: spec.env: the value of {entry.name} has a NUL in it, and no variable can")
        elif entry.name not in set_already:
            ignored.append(
                f"the variable {entry.name} comes from the cluster: set it yourself if the executors need it"
            )
    return PoolFile(
        given or path.name, {key: text for key, text in variables.items() if key not in set_already}, ignored
    )


def _ignored_fields(spec: Any) -> list[str]:
    used = {path[0] for path in POOL_FIELDS.values()} | {"env"}
    given = [to_camel(name) for name in type(spec).model_fields if getattr(spec, name) is not None]
    names = ["executors.configMap" if name == "executors" else name for name in given if name not in used]
    if not names:
        return []
    return [
        f"without a cluster this means nothing: {', '.join(names)}; this is one worker, and arguments name its files"
    ]


def _expanded(text: str, variables: Mapping[str, str]) -> str:
    """Return the value of a variable with $(NAME) replaced, as Kubernetes does; what is unknown stays as it is."""
    return _REFERENCE.sub(lambda found: "$" if found[1] == "$" else variables.get(found[2], found[0]), text)


# From the file to the object


def _documents(path: Path) -> list[Any]:
    """Return the documents of a file that are not empty; the parser of YAML is imported only if it is no JSON."""
    try:
        with path.open("rb") as file:
            text = file.read(_BYTES_MOST + 1)
    except OSError as error:
        raise WrongPool(f"{path}: {error.strerror or error}") from None
    if len(text) > _BYTES_MOST:
        raise WrongPool(f"{path} is larger than {_BYTES_MOST >> 20} MiB: a pool is smaller")
    try:
        return [json.loads(text)]
    except (ValueError, RecursionError) as error:
        if path.suffix == ".json":
            raise WrongPool(f"{path} is no JSON: {_one_line(error)}") from None
    try:
        import yaml
    except ImportError:
        raise WrongPool(
            f"{path}: the parser of YAML is not installed: install it with pip install 'tubeherd[pool]', or write the "
            "pool as JSON, such as with kubectl get workerpool NAME -o json"
        ) from None
    try:
        return [one for one in yaml.safe_load_all(text) if one is not None]
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise WrongPool(f"{path} is no YAML: {_yaml_problem(error)}") from None


def _yaml_problem(error: Any) -> str:
    """Return what the parser of YAML found, and where; without the line itself, which may hold a secret."""
    problem, mark = getattr(error, "problem", None), getattr(error, "problem_mark", None)
    return f"{problem}, line {mark.line + 1}" if problem and mark else _one_line(error)


def _the_pool(documents: list[Any], path: Path) -> Mapping[str, Any]:
    """Return the one pool among the objects of a file."""
    kinds = [str(one.get("kind")) if isinstance(one, dict) else type(one).__name__ for one in documents]
    pools = [one for one, kind in zip(documents, kinds, strict=True) if kind == KIND]
    if len(pools) > 1:
        raise WrongPool(f"{path} has {len(pools)} pools, and a worker serves one: write each into a file of its own")
    if not pools:
        found = f"it has {', '.join(kinds[:5])}" if kinds else "it is empty"
        raise WrongPool(f"{path} has no object of the kind {KIND}: {found}")
    version = pools[0].get("apiVersion")
    if version != f"{GROUP}/{VERSION}":
        raise WrongPool(f"{path}: apiVersion must be {GROUP}/{VERSION}, not {str(version)[:60]}")
    pool: dict[str, Any] = pools[0]
    return pool


def _spec(spec: Any, where: str) -> Any:
    if not isinstance(spec, dict):
        raise WrongPool(f"{where}: spec is missing, which says what the workers of the pool do")
    errors = _unknown(spec, {to_camel(name) for name in WorkerPoolSpec.model_fields})
    try:
        found = WorkerPoolSpec.model_validate(spec)
    except ValidationError as error:
        errors += map(_in_words, error.errors(include_url=False))
    if errors:
        raise WrongPool("\n".join(f"{where}: {error}" for error in errors[:_ERRORS_MOST]))
    return found


def _in_words(detail: Any) -> str:
    """Return what pydantic says of one wrong value of the spec."""
    place = ".".join(["spec", *map(str, detail["loc"])])
    field = detail["loc"][0] if detail["loc"] else None  # None for what is wrong with several fields together
    why = TEXT_WHY.get(detail.get("ctx", {}).get("pattern"), detail["msg"].removeprefix("Value error, "))
    given = "" if detail["type"] == "missing" or field in (None, *_SECRET) else f", not {str(detail['input'])[:60]!r}"
    return f"{place}: {why}{given}"


def _unknown(spec: Mapping[Any, Any], known: set[str]) -> list[str]:
    """Return a message for each field of the spec that no pool has; a misspelt one would otherwise do nothing."""
    from difflib import get_close_matches

    errors = []
    for name in (str(name) for name in spec if name not in known):
        close = get_close_matches(name, known, 1)
        errors.append(f"spec.{name[:60]} is no field of a pool" + (f": did you mean {close[0]}?" if close else ""))
    return errors


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300]
