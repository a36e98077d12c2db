"""The coroutine that the worker of the scenario with late jobs runs."""

import asyncio

from tests.bench.bench_executors import Work, note
from tubeherd import executors
from tubeherd.executors import executor

del executors.registry["bench"]  # that of the imported module
_kept: set[asyncio.Task[None]] = set()


@executor("bench")
async def work(work: Work) -> None:
    """Take a millisecond; or, if the number is 2, start a task and go on for ever."""
    if work.number == 0:
        note()
    if work.number == 2:
        _kept.add(asyncio.create_task(asyncio.sleep(1000)))
        await asyncio.sleep(1000)
    await asyncio.sleep(0.001)
