"""What an attempt at a job costs in the process that executes it, without beanstalkd."""

import statistics
import time
from typing import Any, Final

from tests.support.processing import executor_of, leased, processor_of

_ROUNDS: Final = 15
_JOBS: Final = 50_000


def successful() -> str:
    """Return the processor time of an attempt at a no-op job that succeeds, from its lease to its verdict."""

    def mail(payload: dict[str, Any]) -> None: ...

    processor, reserved = processor_of(executor_of(mail)), leased(b'{"number": 1}')
    rounds = []
    for _ in range(_ROUNDS):
        begun = time.process_time()
        for _ in range(_JOBS):
            processor.process(reserved)
        rounds.append((time.process_time() - begun) / _JOBS * 1e6)
    return f"{min(rounds):.2f} us a job at best, {statistics.median(rounds):.2f} us in the median of {_ROUNDS} rounds"
