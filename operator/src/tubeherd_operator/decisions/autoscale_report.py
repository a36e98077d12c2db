"""What the user reads of autoscaling."""

from tubeherd.formats.durations import format_duration
from tubeherd_operator.decisions.autoscale import Demand, Rule, Scale


def why(rule: Rule, scale: Scale) -> str:
    """Return why an autoscaled pool wants so many replicas."""
    demand = scale.demand
    if demand is None:
        return "how many jobs there are is not known, see the condition ServerReachable"
    jobs = f"{_jobs(demand.ready)} wait{'s' if demand.ready == 1 else ''} and {demand.reserved:,} run"
    return f"{jobs}{'s' if demand.reserved == 1 else ''}, {_measure(rule, demand)}{_bound(rule, demand)}"


def replicas_in_words(number: int) -> str:
    """Return a number of replicas in words."""
    return f"{number} replica{'' if number == 1 else 's'}"


def _jobs(count: int) -> str:
    return f"{count:,} job{'' if count == 1 else 's'}"


def _measure(rule: Rule, demand: Demand) -> str:
    if rule.target_wait is None:
        return f"{rule.jobs_per_replica:,} per replica"
    wait = f"to wait at most {_seconds(rule.target_wait)}"
    if demand.seconds is None:
        return f"{wait}; how long they take is not known yet"
    return f"{wait}; they take about {_seconds(demand.seconds)} each, {rule.at_a_time} at a time in a replica"


def _bound(rule: Rule, demand: Demand) -> str:
    if demand.replicas > rule.most:
        return f"; that would be {demand.replicas:,}, but maxReplicas is {rule.most}"
    if demand.replicas < rule.least:
        return f"; that would be {demand.replicas}, but minReplicas is {rule.least}"
    return ""


def _seconds(seconds: float) -> str:
    """Return a time with two digits: more would pretend that it is exact."""
    if seconds < 1:
        return f"{seconds * 1000:.2g}ms"
    return format_duration(float(f"{seconds:.2g}")) if seconds >= 10 else f"{seconds:.2g}s"
