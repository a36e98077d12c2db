"""The names of tubes, as beanstalkd's protocol allows them."""

from typing import Final

from tubeherd.formats.text import TextFormat

TUBE: Final = TextFormat(
    name="tube",
    # From beanstalkd's doc/protocol.txt: at most 200 bytes, and the first is no hyphen.
    pattern=r"^[A-Za-z0-9+/;.$_()][A-Za-z0-9+/;.$_()-]{0,199}$",
    max_length=200,
    examples="mail or newsletter.weekly",
)
RESERVED: Final = "tubeherd."
"""Tubes whose names begin with this are Tubeherd's own: users put no jobs into them, and executors take none."""


def check_tube(name: str) -> str:
    """Return the name of a user's tube as it is.

    Raises ValueError if beanstalkd would refuse the name, or if it is reserved for Tubeherd's own tubes.
    """
    if not TUBE.matches(name):
        raise ValueError(
            f"{str(name)[:60]!r} is no tube name: it takes 1 to {TUBE.max_length} of A-Z a-z 0-9 - + / ; . $ _ ( ) "
            "and does not begin with -"
        )
    if name.startswith(RESERVED):
        raise ValueError(f"{name[:60]!r} is reserved: names that begin with {RESERVED} are Tubeherd's own tubes")
    return name


def no_tube(name: str) -> str:
    """Return in words that a tube does not exist, or as well as not, if only producers are connected to it."""
    return f"tube {name} has neither jobs nor workers now; tubeherd list shows the tubes that have"
