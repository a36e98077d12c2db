"""Sizes of memory as Kubernetes writes quantities: `268435456`, `256Mi`, `1.5Gi`, `500M`."""

from typing import Final

from tubeherd.formats.text import TextFormat

SIZE: Final = TextFormat(
    name="size",
    pattern=r"^[0-9]{1,18}(\.[0-9]{1,3})?(k|M|G|T|Ki|Mi|Gi|Ti)?$",
    max_length=24,
    examples="256Mi or 1Gi",
)
_POWERS: Final = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}


def parse_size(text: str | int) -> int:
    """Return the bytes of a size: a number of bytes, or text such as `256Mi` (2**20) or `500M` (10**6).

    Raises ValueError for anything else.
    """
    if isinstance(text, int) and not isinstance(text, bool) and text >= 0:
        return text
    if not SIZE.matches(text):
        raise ValueError(f"{str(text)[:60]!r} is no size of memory: write it like {SIZE.examples}")
    number = text.rstrip("kKMGTi")
    unit = text[len(number) :].lower()
    base = 1024 if unit.endswith("i") else 1000
    return int(float(number) * base ** _POWERS[unit.rstrip("i")])
