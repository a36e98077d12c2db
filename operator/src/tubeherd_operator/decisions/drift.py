"""Finds out whether a live object is still as it was rendered."""

from typing import Any

from tubeherd.formats.sizes import parse_size


def differs(rendered: Any, live: Any) -> bool:
    """Return whether anything rendered is missing in the live object or has another value there.

    What else the live object has (defaults, fields of others) does not count, nor does an empty text, which the API
    server leaves out. Lists of objects with names or mount paths are compared one by one, other lists as wholes.
    """
    if isinstance(rendered, dict):
        return not isinstance(live, dict) or any(differs(value, live.get(key)) for key, value in rendered.items())
    if isinstance(rendered, list):
        return not isinstance(live, list) or _list_differs(rendered, live)
    if rendered == "" and live is None:
        return False
    return bool(rendered != live) and not _same_size(rendered, live)


def _list_differs(rendered: list[Any], live: list[Any]) -> bool:
    key = next((key for key in ("mountPath", "name") if _all_have(key, [*rendered, *live])), None)
    if key is None:
        return len(rendered) != len(live) or any(differs(one, other) for one, other in zip(rendered, live, strict=True))
    by_key = {item[key]: item for item in live}
    return any(differs(item, by_key.get(item[key])) for item in rendered)


def _all_have(key: str, items: list[Any]) -> bool:
    return all(isinstance(item, dict) and key in item for item in items)


def _same_size(one: Any, other: Any) -> bool:
    """Return whether two quantities are the same: the API server rewrites 1024Mi as 1Gi."""
    try:
        return parse_size(one) == parse_size(other)
    except (ValueError, TypeError):
        return False
