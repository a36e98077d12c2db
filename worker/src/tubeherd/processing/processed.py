"""What an attempt at a job ends with. Not compiled, because users get it and may ask what its fields are."""

from typing import Any, NamedTuple

from tubeherd.job import Job
from tubeherd.policy import Verdict


class Processed(NamedTuple):
    """A job that has a verdict."""

    job: Job
    verdict: Verdict
    seconds: float = 0.0
    """How long the executor and the listeners took, in seconds."""
    error: BaseException | None = None
    """What the executor or a listener raised, unless it was a Reschedule."""
    result: Any = None
    """What the executor returned, or what a listener replaced that with."""
    body: bytes | None = None
    """The job's bytes, if it failed or is poison; a log line may show them."""
    place: str | None = None
    """`file:line` of the innermost user code that the error passed through; None if it passed none."""
    traceback: str | None = None
    """The traceback of the error, for log lines and records; None if it may not be shown."""

    def __repr__(self) -> str:
        """Leave out the body, which may hold secrets."""
        return f"Processed({self.job!r}, {self.verdict!r}, {self.seconds!r}, {self.error!r})"
