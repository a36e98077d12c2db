"""TubesLeftOut: whether a pool's globs match more tubes than are counted, or than its status shows."""

from enum import StrEnum
from typing import Final

from tubeherd_operator.decisions.findings import Finding
from tubeherd_operator.decisions.observation import Observation
from tubeherd_operator.decisions.status import TUBES_SHOWN
from tubeherd_operator.decisions.tubes import COUNTED_MOST

TYPE: Final = "TubesLeftOut"


class Reason(StrEnum):
    """From what tubes are left out."""

    NOT_ALL_COUNTED = "NotAllCounted"
    NOT_ALL_SHOWN = "NotAllShown"


def judge(seen: Observation) -> Finding | None:
    """Return the condition; None if no tube is left out, or if the tubes are not known."""
    counts = seen.counts
    if counts is None or len(counts.tubes) <= TUBES_SHOWN:
        return None
    counted = len(counts.tubes)
    if counts.matching > counted:
        message = (
            f"{counts.matching} tubes match, and only the first {COUNTED_MOST} by name are counted: jobs in the others "
            "are neither shown nor kicked, and wait for a worker; give several pools narrower globs in spec.tubes, or "
            "name more in spec.excludeTubes"
        )
        return Finding(TYPE, "True", Reason.NOT_ALL_COUNTED, message, event="Warning")
    message = (
        f"{counted} tubes are counted, and status.tubes shows the {TUBES_SHOWN} with the most buried jobs, then with "
        "the most ready ones; the totals are of all"
    )
    return Finding(TYPE, "True", Reason.NOT_ALL_SHOWN, message)
