"""What one gets who looks at the tubes of a server."""

from dataclasses import dataclass

from tubeherd.formats.tubes import RESERVED
from tubeherd.queue.answers import ServerCounters, TubeCounters
from tubeherd.queue.tubes import ALWAYS_WATCHED


@dataclass(frozen=True, slots=True)
class Stats:
    """What was counted at one moment."""

    at: float
    """The moment, on the monotonic clock, in seconds."""
    tubes: tuple[TubeCounters, ...]
    """In the order of their names."""
    uncounted: int
    """How many further tubes were not counted, because that would have taken too long."""
    server: ServerCounters
    """The counters of the server itself; those of jobs are of all tubes, the reserved ones too."""

    def lacks_worker(self, tube: TubeCounters) -> bool:
        """Return whether a tube has jobs that wait for a worker, and no connection takes jobs from it.

        No worker takes the records in Tubeherd's own tubes.
        """
        if tube.name.startswith(RESERVED):
            return False
        watching = min(tube.watching, self.server.workers) if tube.name == ALWAYS_WATCHED else tube.watching
        return tube.ready + tube.delayed > 0 and watching == 0
