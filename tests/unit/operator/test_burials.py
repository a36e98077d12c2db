"""Why jobs are buried: what the status shows of it, and which reasons have an Event."""

from datetime import UTC, datetime, timedelta

import pytest

from tubeherd.burials.record import BurialRecord
from tubeherd.policy import BurialKind
from tubeherd_operator.decisions.burials import Burials, burial_news, burials_of, by_tube, shown_groups, shown_recent
from tubeherd_operator.decisions.counts import Counts
from tubeherd_operator.decisions.retries import served_by
from tubeherd_operator.decisions.status import WorkerPoolStatus, read_status
from tubeherd_operator.decisions.tubes import PoolTubes

NOON = datetime(2026, 11, 25, 12, tzinfo=UTC)
REFUSED = "ConnectionRefusedError"


def record(job, error=REFUSED, *, tube="mail", place="mail.py:12", kind=BurialKind.EXCEPTION, message=None, **more):
    """Return the record of a job that was buried `job` seconds after noon."""
    message = message or f"{error}: no"
    after = NOON + timedelta(seconds=job)
    return BurialRecord(job, tube, after, kind, error, place, message, 2, more.get("worker", "mail-1"))


def burials(*records, tubes=("mail", "sms")):
    """Return the burials of a pool, from records in any order."""
    return burials_of(PoolTubes(tuple(tubes)), by_tube(records))


def status_after(found):
    return WorkerPoolStatus(burials=shown_groups(found), recent_burials=shown_recent(found))


def messages(found, before=None):
    return [event.message for event in burial_news(found, before or WorkerPoolStatus())]


def test_largest_group_comes_first_with_its_times_and_its_newest_burial_as_a_sample():
    found = burials(record(1), record(3), record(2), record(4, "KeyError", message="KeyError: 'a'"))
    first, second = (group.model_dump(by_alias=True) for group in shown_groups(found))
    assert first == {
        "tube": "mail",
        "kind": "exception",
        "error": REFUSED,
        "place": "mail.py:12",
        "count": 3,
        "first": "2026-11-25T12:00:01Z",
        "last": "2026-11-25T12:00:03Z",
        "message": f"{REFUSED}: no",
        "job": 3,
    }
    assert (second["error"], second["count"], second["job"]) == ("KeyError", 1, 4)


def test_newest_burials_are_shown_with_the_pod_that_buried_them():
    found = burials(*(record(job, worker=f"mail-{job}") for job in range(1, 15)))
    shown = shown_recent(found)
    assert [each.job for each in shown] == [*range(14, 4, -1)]
    assert (shown[0].time, shown[0].worker, shown[0].error) == ("2026-11-25T12:00:14Z", "mail-14", REFUSED)


def test_only_the_pools_own_tubes_are_shown():
    found = burials(record(1), record(2, tube="sms"), record(3, tube="report"))
    assert [group.tube for group in found.groups] == ["sms", "mail"]
    assert [each.tube for each in found.recent] == ["sms", "mail"]


@pytest.mark.parametrize(
    ("kind", "error", "shown"),
    [
        (BurialKind.EXCEPTION, "KeyError", "KeyError"),
        (BurialKind.KILLED, None, "killed"),
        (BurialKind.INVALID, "ValidationError", "invalid"),
        (BurialKind.EXCEPTION, None, "exception"),
    ],
)
def test_error_is_the_word_that_tubeherd_why_and_kick_have(kind, error, shown):
    found = burials(record(1, error, kind=kind, place=None))
    for each in (*shown_groups(found), *shown_recent(found)):
        assert (each.kind, each.error, each.place) == (kind, shown, None)


def test_status_and_events_are_bounded_and_print_whatever_the_records_say():
    """As many as the reader keeps at most, each with a reason of its own."""
    nasty = "\x1b[2J\n" + "é" * 400
    found = burials(
        *(record(job, f"E{job}", place=f"{nasty}{job}", message=nasty, worker=nasty) for job in range(10_000))
    )
    status = status_after(found)
    assert (len(status.burials), len(status.recent_burials)) == (10, 10)
    text = status.model_dump_json(exclude_none=True)
    assert len(text.encode()) < 50_000
    assert r"\u001b" not in text
    assert all(len(value) <= 300 for each in status.burials for value in (each.error, each.place, each.message))
    events = messages(found)
    assert len(events) == 6
    assert all(len(message) < 1000 for message in events)
    assert events[-1] == ("jobs are buried for 9,995 further reasons: tubeherd why in a pod of the pool lists them all")


def test_each_new_group_has_one_event_with_the_reason():
    found = burials(record(1), record(2), record(3, None, kind=BurialKind.MEMORY, place=None, message="over 128 MiB"))
    assert messages(found) == [
        f"jobs of tube mail are buried: {REFUSED} at mail.py:12: no",
        "jobs of tube mail are buried: memory: over 128 MiB",
    ]
    (event, _) = burial_news(found, WorkerPoolStatus())
    assert (event.type, event.reason) == ("Warning", "JobsBuried")
    assert event.in_log == f"jobs of tube mail are buried: {REFUSED} at mail.py:12", "no message of an exception"


def test_more_burials_of_a_known_group_are_no_event():
    before = status_after(burials(record(1)))
    assert messages(burials(record(1), record(2)), before) == []
    assert messages(burials(record(2)), before) == [], "the first one was kicked"
    assert messages(burials(record(1), record(2, place="mail.py:13")), before) != [], "another place"


def test_group_that_went_and_comes_again_has_the_same_event_again():
    found = burials(record(1))
    assert messages(burials(record(9)), status_after(burials())) == messages(found)


def test_operator_that_was_away_reports_what_is_new_since_and_nothing_twice():
    before = status_after(burials(record(1)))
    assert messages(burials(record(1), record(50, "KeyError", message="'a'")), before) == [
        "jobs of tube mail are buried: KeyError at mail.py:12: 'a'"
    ]


def test_group_that_the_status_has_no_room_for_has_its_event_only_once():
    many = [record(job, f"E{job}") for job in range(12)]
    before = status_after(burials(*many))
    assert messages(burials(*many), before) == [], "two of them are not in the status"
    assert messages(burials(*many, record(99, "New")), before) == [
        "jobs of tube mail are buried: New at mail.py:12: no"
    ]
    assert messages(burials(*many, record(99, "New")), status_after(burials(*many, record(99, "New")))) == []


# In a pass


def buried(pools, found, *, shown=None, spec=None, **seen):
    """Return an observation with these burials, of a pool whose status was written after `shown`."""
    seen.setdefault("counts", pools.counts(buried=1))
    status = pools.status(pools.seen(pools.pool(spec), counts=pools.counts(buried=1), burials=shown)) if shown else None
    return pools.seen(pools.pool(spec, status), burials=found, **seen)


def test_pass_writes_groups_and_newest_burials_and_their_event(pools):
    report = pools.report(buried(pools, burials(record(1))))
    assert [event.reason for event in report.events] == ["JobsBuried"]
    assert [group.count for group in report.status.burials] == [1]
    assert [each.job for each in report.status.recent_burials] == [1]
    again = pools.report(buried(pools, burials(record(1)), shown=burials(record(1))))
    assert again.events == []


def test_nothing_buried_shows_no_fields(pools):
    status = pools.status(buried(pools, burials()))
    assert not {"burials", "recentBurials"} & status.keys()


def test_tube_in_which_nothing_is_buried_any_more_shows_nothing_before_the_records_are_read_again(pools):
    found = burials(record(1), record(2, tube="sms"))
    counts = Counts({**pools.counts(("mail",), buried=0).tubes, **pools.counts(("sms",), buried=1).tubes})
    status = pools.status(buried(pools, found, counts=counts))
    assert [group["tube"] for group in status["burials"]] == ["sms"]
    assert [each["tube"] for each in status["recentBurials"]] == ["sms"]


@pytest.mark.parametrize(
    "seen",
    [{"found": None}, {"counts": Counts(error="cannot reach it")}],
    ids=["records not read yet", "server out of reach"],
)
def test_last_known_burials_stand_while_they_cannot_be_read(pools, seen):
    shown = burials(record(1))
    report = pools.report(buried(pools, seen.pop("found", burials()), shown=shown, **seen))
    assert [group.count for group in report.status.burials] == [1]
    assert [event for event in report.events if event.reason == "JobsBuried"] == []


def test_burials_of_another_server_are_shown_no_longer(pools):
    status = pools.status(buried(pools, None, shown=burials(record(1)), server="other:11300"))
    assert not {"burials", "recentBurials"} & status.keys()


def test_pool_that_keeps_no_records_shows_none(pools):
    spec = {"tubes": ["mail", "sms"], "burialRecords": False}
    assert not served_by(pools.seen(pools.pool(spec)).pool.spec).records
    pool = pools.pool(spec, pools.status(buried(pools, burials(record(1)))))
    assert not {"burials", "recentBurials"} & pools.status(pools.seen(pool)).keys()


def test_status_that_was_stored_is_read_again_as_it_was():
    status = status_after(burials(record(1), record(2, None, kind=BurialKind.KILLED, place=None)))
    stored = status.model_dump(mode="json", by_alias=True, exclude_none=True)
    assert read_status({"status": stored}) == status


def test_no_burials_are_equal_to_those_of_no_records():
    assert burials() == Burials()


def test_burials_are_shown_of_tubes_that_globs_match_and_that_are_not_excluded(pools):
    records = [record(1, tube="reports.a"), record(2, tube="reports.test"), record(3, tube="sms")]
    tubes = PoolTubes(("reports.*",), ("*.test",))
    found = burials_of(tubes, by_tube(records))
    assert [group.tube for group in found.groups] == ["reports.a"]
    counts = Counts({**pools.counts(("reports.a",), buried=1).tubes}, matching=1)
    pool = pools.pool({"tubes": ["reports.*"], "excludeTubes": ["*.test"]})
    assert [group["tube"] for group in pools.status(pools.seen(pool, burials=found, counts=counts))["burials"]] == [
        "reports.a"
    ]
    gone = Counts({}, matching=0)  # the tube does not exist any more, so nothing is buried there
    assert "burials" not in pools.status(pools.seen(pool, burials=found, counts=gone))
