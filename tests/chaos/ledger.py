"""The accounting of a campaign: what became of every job, and why jobs ran more than once. Pure functions."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any, Final, NamedTuple

from tests.chaos import faults
from tests.chaos.jobs import Job
from tubeherd import BurialKind, BurialRecord

UNEXPLAINED: Final = "unexplained"
RAN: Final = "ran to the end and was deleted"
NO_REASON: Final = "buried, its reason not logged"
LOST: Final = "lost"


class Run(NamedTuple):
    """One run of a job, as its executor recorded it; times are Unix times in seconds."""

    number: int
    job: int
    attempt: int
    slot: int
    supervisor: int
    began: float
    ended: float | None = None


class Alive(NamedTuple):
    """That something which a run had started was still going on, as it recorded itself."""

    number: int
    slot: int
    at: float


_OF_LOST_LEASES: Final = (
    "no connection for the verdict on a dead",
    "the slot died, and the verdict on its job was lost",
    "executed, but its verdict was lost",
    "lease was gone",
)
"""How lines begin about a run whose lease was lost: a later run in another slot of the same worker may go on."""


class Line(NamedTuple):
    """A log line about a job, of the worker with that supervisor."""

    at: float
    supervisor: int
    event: str
    job: int
    reason: str = ""


class Hit(NamedTuple):
    """A fault as it happened: to these processes, or to all where none is named."""

    at: float
    until: float
    kind: str
    pids: frozenset[int] = frozenset()


class Account(NamedTuple):
    """What became of the jobs."""

    jobs: Counter[str]
    """Jobs by their fate."""
    lost: list[int]
    """Jobs that are not in beanstalkd any more and never ran to their end."""
    broken: list[str]
    """Promises that were broken, beyond the lost jobs."""
    runs: int
    again: Counter[str]
    """Runs beyond a job's first, by cause."""
    unexplained: list[int]


def read_runs(records: Iterable[str]) -> list[Run]:
    """Return the runs in the order of their beginnings. Raises ValueError for a record that cannot be read."""
    runs: dict[tuple[int, int], list[Run]] = defaultdict(list)
    for record in records:
        match record.split():
            case ["begin", number, job, attempt, slot, supervisor, at]:
                run = Run(int(number), int(job), int(attempt), int(slot), int(supervisor), float(at))
                runs[run.number, run.slot].append(run)
            case ["end", number, slot, at]:
                began = runs[int(number), int(slot)]
                began[-1] = began[-1]._replace(ended=float(at))
            case ["alive", *_]:
                pass
            case _:
                raise ValueError(f"no record: {record!r}")
    return sorted((run for some in runs.values() for run in some), key=lambda run: run.began)


def read_alive(records: Iterable[str]) -> list[Alive]:
    """Return what was recorded by threads and processes that runs had started."""
    words = (record.split() for record in records if record.startswith("alive"))
    return [Alive(int(number), int(slot), float(at)) for _, number, slot, at in words]


def account(
    jobs: Sequence[Job],
    ids: Mapping[int, int],
    states: Mapping[int, str],
    runs: Sequence[Run],
    lines: Sequence[Line],
    hits: Sequence[Hit],
    alive: Sequence[Alive],
    burials: Sequence[BurialRecord],
) -> Account:
    """Account for every job.

    `ids` holds beanstalkd's id of each number, `states` the state of each number that is still in beanstalkd, at the
    end, when no worker runs any more. `burials` are the records of burials that are there then.
    """
    by_number: dict[int, list[Run]] = defaultdict(list)
    for run in runs:
        by_number[run.number].append(run)
    by_job: dict[int, list[Line]] = defaultdict(list)
    for line in lines:
        by_job[line.job].append(line)
    fates = {job.number: _fate(job, states, by_number[job.number], by_job[ids[job.number]]) for job in jobs}
    causes = [
        (number, _cause(run, again, by_job[run.job], hits))
        for number, some in by_number.items()
        for run, again in pairwise(some)
    ]
    return Account(
        jobs=Counter(fates.values()),
        lost=[number for number, fate in fates.items() if fate == LOST],
        broken=[
            *_broken(jobs, ids, states, by_number),
            *_outlived(by_number, by_job, alive),
            *_without_record(jobs, ids, states, burials),
        ],
        runs=len(runs),
        again=Counter(cause for _, cause in causes),
        unexplained=[number for number, cause in causes if cause == UNEXPLAINED],
    )


def _fate(job: Job, states: Mapping[int, str], runs: Sequence[Run], lines: Sequence[Line]) -> str:
    state = states.get(job.number)
    if state is None:
        return RAN if any(run.ended for run in runs) else LOST
    if state != "buried":
        return f"still in its tube, {state}"
    reasons = [line.reason for line in lines if line.event == "buried" and line.reason]
    return f"buried: {_kind_of_burial(reasons[-1])}" if reasons else NO_REASON


def _kind_of_burial(reason: str) -> str:
    if reason.startswith("payload is"):
        return "its payload is not valid"
    if reason.startswith("lost "):
        return "its deliveries were lost too often"
    return "its last attempt failed"


def _broken(
    jobs: Sequence[Job], ids: Mapping[int, int], states: Mapping[int, str], runs: Mapping[int, Sequence[Run]]
) -> Iterable[str]:
    for job in jobs:
        if not job.may_end and states.get(job.number) != "buried":
            yield f"job {job.number} ({job.kind}, can never end) is not buried but {states.get(job.number, 'deleted')}"
        if states.get(job.number) == "reserved":
            yield f"job {job.number} is reserved, and no worker is left"
        if job.kind == "invalid" and runs[job.number]:
            yield f"job {job.number} ran with a payload that is not valid"
        if any(run.job != ids[job.number] for run in runs[job.number]):
            yield f"job {job.number} ran with the payload of another"


def _outlived(
    runs: Mapping[int, Sequence[Run]], lines: Mapping[int, Sequence[Line]], alive: Sequence[Alive]
) -> Iterable[str]:
    """Yield what went on after the verdict on the run that had started it, if that was stopped at its deadline."""
    last = {(one.number, one.slot): one.at for one in alive}  # of each run the latest, as the records are in order
    for (number, slot), at in last.items():
        run = next(run for run in reversed(runs[number]) if run.slot == slot)
        next_began = min((other.began for other in runs[number] if other.began > run.began), default=float("inf"))
        verdict = next((line for line in lines[run.job] if _is_for_lateness(line, run, next_began)), None)
        if verdict and at > verdict.at:
            yield f"job {number} was stopped at its deadline, and {at - verdict.at:.3f} s later it still went on"


def _is_for_lateness(line: Line, run: Run, next_began: float) -> bool:
    """Return whether a line reports the verdict on this run; after a lost lease another run may go on beside it."""
    in_time = run.began < line.at < next_began and not line.event.startswith(_OF_LOST_LEASES)
    return line.supervisor == run.supervisor and in_time and "ran longer" in line.reason


def _without_record(
    jobs: Sequence[Job], ids: Mapping[int, int], states: Mapping[int, str], burials: Sequence[BurialRecord]
) -> Iterable[str]:
    """Yield each buried job that has no record, or a wrong one. A campaign buries fewer jobs than there are records."""
    records = {record.job: record for record in burials}
    for job in jobs:
        record = records.get(ids[job.number])
        if states.get(job.number) != "buried":
            continue
        if record is None:
            yield f"job {job.number} is buried without a record"
        elif record.kind is not BurialKind.POISON and (job.kind == "invalid") != (record.kind is BurialKind.INVALID):
            yield f"job {job.number} ({job.kind}) is recorded as {record.kind}"
        elif job.kind == "fail" and record.kind is BurialKind.EXCEPTION and not _is_chained(record):
            yield f"job {job.number} has a record without the cause of its failure"


def _is_chained(record: BurialRecord) -> bool:
    return record.error == "RuntimeError" and "KeyError: 'the cause'" in (record.traceback or "")


def _cause(run: Run, again: Run, lines: Sequence[Line], hits: Sequence[Hit]) -> str:
    """Return why a job ran again after that run."""
    struck = [hit for hit in hits if hit.at <= again.began and hit.until >= run.began and _touches(hit, run)]
    kinds = {hit.kind for hit in struck}
    # The worker's own words about that run come first: what it logged before the next run of the job in it.
    until = again.began if again.supervisor == run.supervisor else float("inf")
    told = [line for line in lines if line.supervisor == run.supervisor and run.began <= line.at <= until]
    for line in told:
        if cause := _told_cause(line, kinds):
            return cause
    return _first_of(_STRUCK, kinds) or ("supervisor killed" if run.supervisor == 1 else UNEXPLAINED)


_STRUCK: Final = {
    faults.KILL_SUPERVISOR: "supervisor killed",
    faults.KILL_SLOT: "slot killed",
    faults.KILL_BROKER: "beanstalkd killed, verdict lost",
    faults.CUT: "connection cut, verdict lost",
    faults.ROUGH: "connection disturbed, verdict lost",
    faults.STOP_BROKER: "beanstalkd stopped, lease ran out",
    faults.STOP_SUPERVISOR: "supervisor stopped, lease ran out",
    faults.STOP_SLOT: "slot stopped, lease ran out",
    faults.ROLLOUT: "interrupted by a rollout",
}
"""What a fault means for the job of a run that it struck, the surest first."""


def _told_cause(line: Line, struck: set[str]) -> str | None:
    if line.event == "failed, retry later":
        if "SIGKILL" in line.reason and faults.KILL_SLOT in struck:
            return "slot killed"
        if "ran longer" in line.reason and struck & {faults.STOP_SLOT, faults.STOP_BROKER, faults.STOP_SUPERVISOR}:
            return "slot stopped past its job's time"
        return "retry after a failure"
    if line.event.startswith("released"):
        return next((cause for start, cause in _RELEASED.items() if line.reason.startswith(start)), None)
    if "verdict" in line.event or "connection broke" in line.event:
        return _first_of(_VERDICT_LOST, struck) or "verdict lost"
    if line.event.startswith("lease was gone"):
        return _first_of(_LEASE_GONE, struck) or "lease ran out"
    return None


_RELEASED: Final = {
    "reschedule": "reschedule",
    "abort": "abort",
    "the worker had to stop": "interrupted by a rollout",
    "executed, but not flushed": "executed, but its batch was not flushed",
    "not the job's fault": "its slot was killed for another job",
}
_VERDICT_LOST: Final = {
    faults.KILL_BROKER: "beanstalkd killed, verdict lost",
    faults.CUT: "connection cut, verdict lost",
    faults.ROUGH: "connection disturbed, verdict lost",
    faults.STOP_BROKER: "beanstalkd stopped, verdict lost",
}
_LEASE_GONE: Final = {
    faults.STOP_SLOT: "slot stopped, lease ran out",
    faults.STOP_SUPERVISOR: "supervisor stopped, lease ran out",
    faults.STOP_BROKER: "beanstalkd stopped, lease ran out",
    faults.KILL_BROKER: "beanstalkd killed, lease gone",
    faults.CUT: "connection cut, lease gone",
    faults.ROUGH: "connection disturbed, lease ran out",
}


def _first_of(meanings: Mapping[str, str], struck: set[str]) -> str | None:
    return next((meaning for kind, meaning in meanings.items() if kind in struck), None)


def _touches(hit: Hit, run: Run) -> bool:
    return not hit.pids or run.slot in hit.pids or run.supervisor in hit.pids


def line_of(fields: Mapping[str, Any], at: float, supervisor: int) -> Line | None:
    """Return the line of a log record, or None where it is not about a job."""
    if "job" not in fields:
        return None
    return Line(at, supervisor, str(fields["event"]), int(fields["job"]), str(fields.get("reason") or ""))


def report(account: Account) -> list[str]:
    """Return the table of counts, a line each, and the verdict in the last."""
    lines = [_row("jobs", account.jobs.total())]
    lines += [_row(f"  {fate}", count) for fate, count in sorted(account.jobs.items())]
    lines += [_row("runs", account.runs)]
    lines += [_row("  first of their job", account.runs - account.again.total())]
    lines += [_row(f"  again: {cause}", count) for cause, count in account.again.most_common()]
    if account.unexplained:
        lines.append(f"ran again, unexplained: {_some(account.unexplained)}")
    lines += [f"broken promise: {promise}" for promise in account.broken[:20]]
    lines.append(f"lost {len(account.lost)}" + (f": numbers {_some(account.lost)}" if account.lost else ""))
    return lines


def _row(words: str, count: int) -> str:
    return f"{words:<60}{count:>8}"


def _some(numbers: Sequence[int]) -> str:
    return " ".join(map(str, numbers[:50])) + (" ..." if len(numbers) > 50 else "")
