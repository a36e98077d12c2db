"""The executor of the storm of burials: it buries each job at once."""

from typing import Any

from tubeherd import Reject, executor


@executor("tube-*")
def reject(payload: Any) -> None:
    """Refuse the job."""
    raise Reject("no such customer")
