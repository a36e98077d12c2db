"""Outdated: whether a pool's pods have defaults or an image that are no longer those of the operator's installation."""

from enum import StrEnum
from typing import Final

from tubeherd_operator.decisions.defaults import ADDITIONS, DEFAULTS_ANNOTATION, NEWEST, Record
from tubeherd_operator.decisions.findings import Finding
from tubeherd_operator.decisions.kept_defaults import recorded
from tubeherd_operator.decisions.observation import Observation

TYPE: Final = "Outdated"


class Reason(StrEnum):
    """What is older."""

    OLD_IMAGE = "OldImage"
    OLD_DEFAULTS = "OldDefaults"


def judge(seen: Observation) -> Finding | None:
    """Return the condition; None if the pods have the newest, or belong to somebody else."""
    if seen.deployment is None or seen.deployment_is_foreign:
        return None
    record = recorded(seen.deployment)
    if record is None:
        return None
    older = _older(record, seen.pool.default_image)
    if not older:
        return None
    name = seen.pool.key.name
    message = (
        f"{'; '.join(older.values())}; they take the new ones when the pool's spec next changes in anything but the "
        f"number of pods, or at once: kubectl annotate deployment {name} {DEFAULTS_ANNOTATION}=newest --overwrite"
    )
    return Finding(TYPE, "True", next(iter(older)), message)


def _older(record: Record, image: str) -> dict[Reason, str]:
    """Return in words what is older."""
    older = {}
    if record.image not in (None, image):
        older[Reason.OLD_IMAGE] = f"the pods run image {record.image}, and the installation's is {image} by now"
    if record.version < NEWEST:
        added = " and ".join(ADDITIONS[version].in_words for version in ADDITIONS if version > record.version)
        older[Reason.OLD_DEFAULTS] = f"the pods lack what the operator adds by now: {added}"
    return older
