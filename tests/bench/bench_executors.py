"""The executor that the measured workers run."""

import os
import time
from pathlib import Path

from pydantic import BaseModel

from tubeherd import executor

_notes = os.open(os.environ["BENCH_NOTES"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
_samples = os.environ.get("BENCH_SAMPLES")


class Work(BaseModel):
    number: int
    name: str


@executor("bench")
def work(work: Work) -> None:
    """Do nothing; of a job numbered 0, note when it began and in which process; fail one that is numbered 2."""
    if work.number == 0:
        note()
    elif work.number == 2:
        raise ValueError("no such customer")


def note() -> None:
    """Note this call; where samples are asked for, the first call starts them and the second ends them."""
    if _samples:
        from tests.bench import sampler  # only then, because the memory of slots is measured too

        if sampler.running():
            sampler.stop(Path(_samples))
        else:
            sampler.start()
    os.write(_notes, b"%.9f %d\n" % (time.monotonic(), os.getpid()))
