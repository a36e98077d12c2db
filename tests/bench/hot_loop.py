"""Where the time of a job goes in a slot, by samples of the running worker."""

from typing import Final

from tests.bench.broker import beanstalkd
from tests.bench.contestants import bench_elsewhere
from tests.bench.throughput import PINNED
from tests.bench.worker import tubeherd_run

_JOBS: Final = 40_000
_LINES: Final = 25


def profile(*options: str) -> str:
    """Return the functions in which a slot spends most time, beanstalkd and the worker on one core."""
    cores = PINNED.cores
    with bench_elsewhere(cores), beanstalkd(cores) as broker:
        broker.fill(_JOBS)
        with tubeherd_run(broker, *options, cores=cores, sampled=True) as worker:
            first, last = worker.wait_for_notes(2)
            shares = worker.samples()
    job = (last.time - first.time) / _JOBS * 1e6
    lines = [
        f"{job:.1f} us a job, sampled; a write includes what beanstalkd does on the same core",
        "   own us  with callees  function",
    ]
    for name, own, with_callees in sorted(shares, key=lambda share: -share[1])[:_LINES]:
        lines.append(f"{own * job:9.1f} {with_callees * job:13.1f}  {name}")
    return "\n".join(lines)
