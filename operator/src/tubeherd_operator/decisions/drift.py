"""Finds out in which fields a live object is not as it was rendered."""

import re
from collections.abc import Iterable
from fractions import Fraction
from math import ceil
from typing import Any, Final

from tubeherd.pod_template.containers import WORKER
from tubeherd.settings import WorkerSettings
from tubeherd_operator.objects import Object

_KEYS: Final = ("mountPath", "name", "topologyKey")
"""What tells the objects of a list apart, in the order of preference."""
_QUANTITY: Final = re.compile(
    r"([+-]?(?:\d+\.?\d*|\.\d+))(?:(Ki|Mi|Gi|Ti|Pi|Ei|n|u|m|k|M|G|T|P|E)|[eE]([+-]?\d{1,3}))?", re.ASCII
)
_FACTORS: Final = {
    **{unit: Fraction(1024) ** power for power, unit in enumerate(["Ki", "Mi", "Gi", "Ti", "Pi", "Ei"], 1)},
    **{unit: Fraction(1000) ** power for power, unit in enumerate(["n", "u", "m", "", *"kMGTPE"], -3)},
}
_QUANTITIES: Final = (("divisor",), ("sizeLimit",))
_QUANTITIES_IN: Final = (("limits",), ("requests",), ("overhead",))


def differences(rendered: Any, live: Any) -> list[str]:
    """Return the fields that are rendered and are missing in the live object or have another value there.

    What else the live object has (defaults, fields of others) does not count, nor does an empty text, which the API
    server leaves out. Objects of a list that have names or mount paths are compared one by one, other lists as
    wholes. Quantities are compared as such: the API server rewrites 1024Mi as 1Gi and 1000m as 1.
    """
    return list(_differences(rendered, live, ()))


def overrides(rendered: Object, live: Object) -> dict[str, str]:
    """Return what others have added to the worker's container of a Deployment that overrides the pool's spec.

    These are settings of the worker and limits of its memory, by field; the values are their JSON pointers. Server-side
    apply does not remove them.
    """
    index, theirs = _worker(live)
    _, ours = _worker(rendered)
    names = {entry["name"] for entry in ours.get("env", [])}
    prefix = f"spec.template.spec.containers[{WORKER}]"
    pointer = f"/spec/template/spec/containers/{index}"
    found = {
        f"{prefix}.env[{entry['name']}]": f"{pointer}/env/{number}"
        for number, entry in enumerate(theirs.get("env", []))
        if entry["name"].startswith(WorkerSettings.prefix) and entry["name"] not in names
    }
    for kind in ("limits", "requests"):
        if "memory" in _memory(theirs, kind) and "memory" not in _memory(ours, kind):
            found[f"{prefix}.resources.{kind}.memory"] = f"{pointer}/resources/{kind}/memory"
    return found


def _worker(deployment: Object) -> tuple[int, Object]:
    containers = deployment["spec"]["template"]["spec"]["containers"]
    return next((pair for pair in enumerate(containers) if pair[1]["name"] == WORKER), (0, {}))


def _memory(container: Object, kind: str) -> Object:
    found: Object = container.get("resources", {}).get(kind, {})
    return found


def _differences(rendered: Any, live: Any, path: tuple[str, ...]) -> Iterable[str]:
    if rendered == live:  # true of most parts, and much faster than to look at each field
        return
    if isinstance(rendered, dict) and isinstance(live, dict):
        for key, value in rendered.items():
            yield from _differences(value, live.get(key), (*path, key))
    elif isinstance(rendered, list) and isinstance(live, list):
        yield from _in_list(rendered, live, path)
    elif not (rendered == "" and live is None) and not _same_quantity(rendered, live, path):
        yield _in_words(path)


def _in_list(rendered: list[Any], live: list[Any], path: tuple[str, ...]) -> Iterable[str]:
    key = next((key for key in _KEYS if _tells_apart(key, rendered) and _tells_apart(key, live)), None)
    if key is None:
        if len(rendered) != len(live) or any(map(differences, rendered, live)):
            yield _in_words(path)
        return
    by_key = {str(item[key]): item for item in live}
    for item in rendered:
        yield from _differences(item, by_key.get(str(item[key])), (*path, f"[{item[key]}]"))


def _tells_apart(key: str, items: list[Any]) -> bool:
    values = [str(item[key]) for item in items if isinstance(item, dict) and key in item]
    return len({*values}) == len(items)


def _in_words(path: tuple[str, ...]) -> str:
    """Return a field as kubectl writes it, such as spec.containers[worker].image."""
    return "".join(step if step.startswith("[") else f".{step}" for step in path).removeprefix(".")


def _same_quantity(one: Any, other: Any, path: tuple[str, ...]) -> bool:
    is_quantity = path[-1:] in _QUANTITIES or path[-2:-1] in _QUANTITIES_IN
    value = _quantity(one) if is_quantity else None
    return value is not None and value == _quantity(other)


def _quantity(text: Any) -> int | None:
    """Return a quantity in thousandths, rounded up as the API server does; None if the text is none."""
    match = _QUANTITY.fullmatch(str(text))
    if match is None:
        return None
    number, unit, exponent = match.groups()
    factor = Fraction(10) ** int(exponent) if exponent else _FACTORS[unit or ""]
    return ceil(Fraction(number) * factor * 1000)
