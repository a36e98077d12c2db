"""The accounting of a campaign, on made-up records: it must be able to say that a job was lost."""

from datetime import UTC, datetime

import pytest

from tests.chaos import faults, ledger
from tests.chaos.jobs import Job
from tests.chaos.ledger import Alive, Hit, Line, Run
from tubeherd import BurialKind, BurialRecord

NUMBER, ID, SLOT, SUPERVISOR = 7, 107, 50, 40
QUICK = Job(NUMBER, "plain", "quick", 0, b"")
FAILING = QUICK._replace(kind="fail", times=3)
RAN = Run(NUMBER, ID, 1, SLOT, SUPERVISOR, 10.0, 11.0)
BROKEN_OFF = RAN._replace(ended=None)
AGAIN = Run(NUMBER, ID, 2, 51, SUPERVISOR, 20.0, 21.0)


def account(job=QUICK, state=None, runs=(), lines=(), hits=(), alive=(), burials=None):
    states = {NUMBER: state} if state else {}
    if burials is None:
        burials = [record(BurialKind.INVALID if job.kind == "invalid" else BurialKind.EXCEPTION)]
    return ledger.account([job], {NUMBER: ID}, states, runs, lines, hits, alive, burials)


def record(kind, traceback="KeyError: 'the cause'", job=ID):
    error = "RuntimeError" if kind is BurialKind.EXCEPTION else None
    return BurialRecord(job, "plain", datetime.now(UTC), kind, error, None, "as told", 3, "worker", traceback)


def line(event, reason="", at=12.0, supervisor=SUPERVISOR):
    return Line(at, supervisor, event, ID, reason)


# What became of a job


def test_job_that_ran_to_its_end_and_is_gone_is_not_lost():
    result = account(runs=[RAN])
    assert result.jobs == {"ran to the end and was deleted": 1}
    assert (result.lost, result.broken) == ([], [])


@pytest.mark.parametrize("runs", [[], [BROKEN_OFF], [BROKEN_OFF, AGAIN._replace(ended=None)]])
def test_job_that_is_gone_and_never_ran_to_its_end_is_lost(runs):
    result = account(runs=runs)
    assert (result.jobs, result.lost) == ({"lost": 1}, [NUMBER])
    assert ledger.report(result)[-1] == "lost 1: numbers 7"


@pytest.mark.parametrize(
    ("reason", "fate"),
    [
        ("RuntimeError: as told", "buried: its last attempt failed"),
        ("payload is not valid: number: Field required", "buried: its payload is not valid"),
        ("payload is no JSON: ValueError", "buried: its payload is not valid"),
        ("lost 10 times: its worker died", "buried: its deliveries were lost too often"),
    ],
)
def test_buried_job_is_counted_by_its_reason(reason, fate):
    assert account(state="buried", lines=[line("buried", reason)]).jobs == {fate: 1}


def test_buried_job_without_a_reason_in_a_log_is_told_apart():
    assert account(state="buried", runs=[RAN]).jobs == {"buried, its reason not logged": 1}


@pytest.mark.parametrize("state", ["ready", "delayed"])
def test_job_that_waits_is_in_its_tube(state):
    result = account(state=state)
    assert result.jobs == {f"still in its tube, {state}": 1}
    assert (result.lost, result.broken) == ([], [])


# Promises beyond that


def test_job_that_nobody_is_left_to_hold_breaks_a_promise():
    assert account(state="reserved").broken == ["job 7 is reserved, and no worker is left"]


@pytest.mark.parametrize("job", [QUICK._replace(kind="invalid"), QUICK._replace(kind="fail", times=3)])
def test_job_that_can_never_end_must_be_buried(job):
    assert not account(job, "buried").broken
    assert "not buried but ready" in account(job, "ready").broken[0]
    assert "not buried but deleted" in account(job).broken[0]


@pytest.mark.parametrize(
    ("burials", "promise"),
    [
        ([], "job 7 is buried without a record"),
        ([record(BurialKind.EXCEPTION, job=ID + 1)], "job 7 is buried without a record"),
        ([record(BurialKind.INVALID)], "job 7 (fail) is recorded as invalid"),
        (
            [record(BurialKind.EXCEPTION, "RuntimeError: as told")],
            "job 7 has a record without the cause of its failure",
        ),
    ],
)
def test_burial_must_have_its_record(burials, promise):
    assert account(FAILING, "buried", burials=burials).broken == [promise]
    assert not account(burials=burials, runs=[RAN]).broken


def test_poison_is_recorded_as_such_whatever_its_payload():
    assert not account(QUICK._replace(kind="invalid"), "buried", burials=[record(BurialKind.POISON)]).broken


LATE = line("failed, retry later", "the job ran longer than its timeout of 2 s", at=12.0)


@pytest.mark.parametrize(
    "event",
    [
        "no connection for the verdict on a dead slot's job: beanstalkd makes it ready",
        "the slot died, and the verdict on its job was lost: it has gone; the job may run again",
        "executed, but its verdict was lost: it may run again",
        "lease was gone: its TTR passed (give such jobs a longer one), or somebody deleted the job",
    ],
)
def test_line_about_a_run_whose_lease_was_lost_is_no_verdict_on_the_next_run(event):
    lost = line(event, "the job ran longer than its timeout of 2 s", at=12.0)
    result = account(runs=[BROKEN_OFF, AGAIN], lines=[lost], alive=[Alive(NUMBER, SLOT, 12.1)])
    assert not any("it still went on" in promise for promise in result.broken)


@pytest.mark.parametrize(("at", "broken"), [(11.9, False), (12.1, True)])
def test_nothing_that_a_late_run_started_may_go_on_after_its_verdict(at, broken):
    result = account(runs=[BROKEN_OFF, AGAIN], lines=[LATE], alive=[Alive(NUMBER, SLOT, 10.5), Alive(NUMBER, SLOT, at)])
    assert any("it still went on" in promise for promise in result.broken) == broken


def test_verdict_on_another_run_beside_it_does_not_count():
    beside = AGAIN._replace(began=11.0)
    assert not account(runs=[BROKEN_OFF, beside], lines=[LATE], alive=[Alive(NUMBER, SLOT, 13.0)]).broken


def test_what_was_not_stopped_at_its_deadline_may_go_on():
    failed = line("failed, retry later", "RuntimeError: as told")
    assert not account(runs=[BROKEN_OFF, AGAIN], lines=[failed], alive=[Alive(NUMBER, SLOT, 13.0)]).broken


def test_invalid_payload_must_not_run():
    assert "not valid" in account(QUICK._replace(kind="invalid"), "buried", [BROKEN_OFF]).broken[0]


def test_payload_must_be_the_jobs_own():
    assert account(runs=[RAN._replace(job=108)]).broken == ["job 7 ran with the payload of another"]


# Why a job ran again


@pytest.mark.parametrize(
    ("told", "hits", "cause"),
    [
        (line("failed, retry later", "RuntimeError: as told"), [], "retry after a failure"),
        (line("failed, retry later", "the slot died: signal 9 (SIGKILL)"), [], "retry after a failure"),
        (
            line("failed, retry later", "the slot died: signal 9 (SIGKILL)"),
            [Hit(11.5, 11.5, faults.KILL_SLOT, frozenset([SLOT]))],
            "slot killed",
        ),
        (
            line("failed, retry later", "the job ran longer than its timeout of 2 s"),
            [Hit(9.0, 15.0, faults.STOP_SLOT, frozenset([SLOT]))],
            "slot stopped past its job's time",
        ),
        (line("released", "reschedule"), [], "reschedule"),
        (line("released because of an Abort, which stops a worker", "abort"), [], "abort"),
        (line("released", "the worker had to stop before the job was done"), [], "interrupted by a rollout"),
        (line("released", "executed, but not flushed: the slot died"), [], "executed, but its batch was not flushed"),
        (line("released", "not the job's fault: the job ran longer"), [], "its slot was killed for another job"),
        (line("released", "nobody knows why"), [], "unexplained"),
        (
            line("executed, but its verdict was lost: it may run again"),
            [Hit(11.5, 11.5, faults.KILL_BROKER)],
            "beanstalkd killed, verdict lost",
        ),
        (line("no connection for the verdict on the job of a dead slot"), [], "verdict lost"),
        (line("executed, but the connection broke before it was deleted"), [], "verdict lost"),
        (
            line("lease was gone: its TTR passed"),
            [Hit(11.5, 18.0, faults.STOP_SUPERVISOR, frozenset([SUPERVISOR]))],
            "supervisor stopped, lease ran out",
        ),
        (line("deleted"), [], "unexplained"),
        (line("failed, retry later", at=9.0), [], "unexplained"),
        (line("failed, retry later", supervisor=41), [], "unexplained"),
        (line("deleted"), [Hit(11.5, 11.5, faults.KILL_SUPERVISOR, frozenset([SUPERVISOR]))], "supervisor killed"),
        (line("deleted"), [Hit(11.5, 11.5, faults.KILL_SUPERVISOR, frozenset([41]))], "unexplained"),
        (line("deleted"), [Hit(9.0, 9.5, faults.KILL_SUPERVISOR, frozenset([SUPERVISOR]))], "unexplained"),
        (line("deleted"), [Hit(20.5, 20.5, faults.KILL_BROKER)], "unexplained"),
    ],
)
def test_cause_of_a_second_run(told, hits, cause):
    result = account(runs=[RAN, AGAIN], lines=[told], hits=hits)
    assert (result.runs, result.again) == (2, {cause: 1})
    assert result.unexplained == ([NUMBER] if cause == "unexplained" else [])


# Records


def test_records_become_runs():
    records = ["begin 7 107 1 50 40 10.0", "begin 8 108 1 51 40 10.5", "end 7 50 11.0", "begin 7 107 2 50 40 20.0"]
    first, other, second = ledger.read_runs(records)
    assert first == RAN
    assert (other.number, other.ended) == (8, None)
    assert (second.attempt, second.ended) == (2, None)


@pytest.mark.parametrize("record", ["", "begin 7", "end 7 50", "delete 7"])
def test_record_that_cannot_be_read_is_an_error(record):
    with pytest.raises(ValueError, match="no record"):
        ledger.read_runs([record])
