"""OutOfMemory: whether the kernel has killed a whole container for its memory, faster than the worker could one slot.

A job whose slot alone was killed says so in its burial record. If the container goes, so does the worker, which could
have written one.
"""

from enum import StrEnum
from typing import Final

from tubeherd.formats.columns import counted
from tubeherd.pod_template.containers import WORKER
from tubeherd_operator.decisions.findings import Finding
from tubeherd_operator.decisions.observation import Observation
from tubeherd_operator.decisions.pods import MemoryKill, memory_kills

TYPE: Final = "OutOfMemory"


class Reason(StrEnum):
    """Why the condition holds."""

    CONTAINER_KILLED = "ContainerKilled"


def judge(seen: Observation) -> Finding | None:
    """Return the condition; None if no container of the present pods was killed."""
    kills = memory_kills(seen.present_pods)
    if not kills:
        return None
    last = kills[0]
    others = f", as was {counted(len(kills) - 1, 'other container')}" if len(kills) > 1 else ""
    message = (
        f"container {last.container} of pod {last.pod} was killed for its memory at {last.time}{others}: "
        f"{_advice(last)}; jobs that a worker ran come back, and are buried if that happens to them again and again"
    )
    return Finding(TYPE, "True", Reason.CONTAINER_KILLED, message, event="Warning")


def _advice(kill: MemoryKill) -> str:
    if kill.container != WORKER:
        return "raise its limit in spec.template"
    raised = f"raise spec.memoryLimit above {kill.limit}" if kill.limit else "set spec.memoryLimit"
    return f"{raised} or lower spec.concurrency"
