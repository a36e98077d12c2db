"""The metrics of the operator itself, which each operator shows, whether or not it acts."""

from collections import Counter
from collections.abc import Iterator, Mapping

from prometheus_client.metrics_core import Metric as Family

from tubeherd.version import version
from tubeherd_operator.metric_table import KNOWN_POOLS, LEADER, OPERATOR_INFO, QUEUE_POOLS, WATCHES
from tubeherd_operator.passes.work_queue import Depth


def families(*, acts: bool, pools: int, watches: Mapping[str, bool], queue: Depth) -> Iterator[Family]:
    """Yield what is known of an operator.

    `pools` is how many it knows. `watches` says of each watch whether it is open; the first word of its name is the
    kind of objects that it watches.
    """
    yield OPERATOR_INFO.of([((version(),), 1)])
    yield LEADER.single(acts)
    yield KNOWN_POOLS.single(pools)
    states = Counter((name.split()[0], "open" if is_open else "failing") for name, is_open in watches.items())
    kinds = sorted({kind for kind, _ in states})
    yield WATCHES.of(((kind, state), states[kind, state]) for kind in kinds for state in ("open", "failing"))
    if acts:  # otherwise every pool waits there for the day on which this operator acts
        yield QUEUE_POOLS.of(((state,), count) for state, count in queue._asdict().items())
