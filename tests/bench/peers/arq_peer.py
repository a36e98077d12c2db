"""arq with as many coroutines as the mode says, which may also say how many jobs it finds at a look, 100 by default.

With one coroutine, arq begins one job each time that it looks at its queue, which by default is twice a second. So with
one it looks without a pause.
"""

import asyncio
import sys
from functools import cache
from typing import Any, ClassVar, Final

from arq import create_pool
from arq.connections import ArqRedis, RedisSettings
from arq.constants import default_queue_name
from arq.worker import func

from tests.bench.peers import given, job

_COROUTINES, *_LIMIT = map(int, given.mode().split())
_SETTINGS: Final = RedisSettings.from_dsn(given.url())
_runner = asyncio.Runner()


async def work(_: dict[str, Any], number: int, name: str) -> None:
    """Execute the job without stopping the loop."""
    job.page().note()
    if number == job.HANGING:
        await asyncio.sleep(job.HANGS_SECONDS)


class WorkerSettings:
    """What arq's command reads."""

    functions: ClassVar = [func(work, name="work")]
    redis_settings = _SETTINGS
    max_jobs = _COROUTINES
    queue_read_limit = _LIMIT[0] if _LIMIT else None
    poll_delay = 0 if _COROUTINES == 1 else 0.5
    job_timeout = 5 if given.hasty() else 300


def put(count: int, number: int) -> None:
    """Enqueue one after the other."""

    async def enqueue(pool: ArqRedis) -> None:
        for _ in range(count):
            await pool.enqueue_job("work", number=number, name=job.NAME)

    _runner.run(enqueue(_pool()))


def command() -> list[str]:
    """Return the command line of a worker."""
    return [sys.executable, "-m", "arq", f"{__name__}.WorkerSettings"]


def left() -> int:
    """Count the jobs in the queue, in which a job stays until it is done."""

    async def count(pool: ArqRedis) -> int:
        return int(await pool.zcard(default_queue_name))

    return _runner.run(count(_pool()))


@cache
def _pool() -> ArqRedis:
    return _runner.run(create_pool(_SETTINGS))
