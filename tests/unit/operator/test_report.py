"""What is reported after a pass: status, Events, the annotation of a kick, and when to look again."""

from dataclasses import replace

import pytest

from tubeherd_operator.decisions.counts import Counts
from tubeherd_operator.decisions.findings import Finding, PoolEvent, stamp
from tubeherd_operator.decisions.request import Known
from tubeherd_operator.decisions.request_report import CONDITIONS, Reason
from tubeherd_operator.decisions.status import changes, read_status

NOW = "2026-11-25T12:00:00Z"
SERVER = "beanstalkd.queue.svc:11300"
LOST = Counts(error="cannot reach beanstalkd at x: refused")


def settled(pools, spec=None, **metadata):
    """Return a pool whose status is what the operator wrote last, all being well."""
    return pools.pool(spec, pools.status(pools.seen(pools.pool(spec))), **metadata)


def kicked(pools):
    """Return a pool whose status shows a kick that is done, and whose annotation is gone."""
    pool = settled(pools)
    finding = Finding(CONDITIONS["kick"], "True", Reason.KICKED, "kick=5: 5 buried jobs put back (mail 5)")
    pool["status"]["conditions"].append(stamp(finding, None, 2, NOW).model_dump(by_alias=True))
    done = {"value": "5", "time": NOW, "kicked": 5, "unsure": 0, "skipped": 0}
    pool["status"]["lastKick"] = done | {"tubes": [{"name": "mail", "kicked": 5, "unsure": 0, "skipped": 0}]}
    return pool


def events(report):
    return [(event.type, event.reason) for event in report.events]


def conditions(report):
    return {condition.type: condition for condition in report.status.conditions}


def states(report):
    return {type_: (condition.status, condition.reason) for type_, condition in conditions(report).items()}


def foreign(pools, pool):
    live = pools.live(pool)
    live["metadata"]["ownerReferences"] = []
    live["spec"]["replicas"] = 9
    return live


def test_pool_whose_config_map_cannot_be_watched_is_looked_at_again_after_a_minute(pools):
    pool = pools.pool({"tubes": ["mail"], "executors": {"configMap": "jobs"}})
    assert pools.report(pools.seen(pool, executors_watched=False)).again_after == 60
    assert pools.report(pools.seen(pool)).again_after is None


# Status


def test_nothing_is_reported_where_nothing_differs(pools):
    pool = settled(pools)
    report = pools.report(pools.seen(pool), now="later")
    assert (report.events, report.again_after) == ([], None)
    assert changes(report.status, pool) == {}


def test_counts_of_all_tubes_and_of_each(pools):
    found = pools.status(pools.seen(counts=pools.counts(ready=1, reserved=2, delayed=3, buried=4)))
    assert [found[state] for state in ("ready", "reserved", "delayed", "buried")] == [2, 4, 6, 8]
    assert found["tubes"][1] == {"name": "sms", "ready": 1, "reserved": 2, "delayed": 3, "buried": 4}


@pytest.mark.parametrize(
    ("spec", "live", "shown"),
    [
        ({"replicas": 3}, {"readyReplicas": 2}, "2/3"),
        ({"replicas": 3}, {"readyReplicas": 3}, "3/3"),
        ({}, {}, "1/1"),
        ({"replicas": 2, "suspend": True}, {"readyReplicas": 1}, "1/0"),
    ],
)
def test_ready_pods_of_those_that_are_wanted(pools, spec, live, shown):
    pool = pools.pool({"tubes": ["mail"], **spec})
    deployment = pools.live(pool)
    deployment["status"] |= live
    assert pools.status(pools.seen(pool, deployment=deployment))["pods"] == shown


def test_another_tube_shows_at_once(pools):
    pool = pools.pool({"tubes": ["mail"], "replicas": 1}, settled(pools)["status"])
    assert [tube["name"] for tube in pools.status(pools.seen(pool))["tubes"]] == ["mail"]


def test_last_counts_stay_while_the_server_is_away(pools):
    before = pools.pool(status=pools.status(pools.seen(counts=pools.counts(buried=4))))
    assert pools.status(pools.seen(before, counts=LOST))["buried"] == 8


def test_counts_that_somebody_overwrites_while_the_server_is_away_are_repaired(pools):
    pool = pools.pool(status=changes(pools.report(pools.seen(counts=pools.counts(buried=4))).status, {}))
    pool["status"] |= {"buried": 99, "tubes": None}
    report = pools.report(pools.seen(pool, counts=replace(pools.counts(buried=4), error=LOST.error)))
    assert (report.status.buried, [tube.buried for tube in report.status.tubes]) == (8, [4, 4])
    assert "the counts in the status are the last known" in conditions(report)["ServerReachable"].message


@pytest.mark.parametrize("counts", [None, LOST], ids=["not asked yet", "out of reach"])
def test_counts_of_another_server_are_shown_no_longer(pools, counts):
    before = pools.status(pools.seen(counts=pools.counts(buried=4)))
    pool = pools.pool({"tubes": ["mail", "sms"], "server": "elsewhere:11300"}, before, generation=3)
    report = pools.report(pools.seen(pool, counts=counts))
    assert (report.status.server, report.status.buried, report.status.tubes) == ("elsewhere:11300", None, None)
    server = conditions(report)["ServerReachable"]
    assert "last known" not in server.message
    assert server.observed_generation == 3
    away = pools.pool(pool["spec"], changes(report.status, {}), generation=3)
    assert pools.status(pools.seen(away, counts=pools.counts(buried=1)))["buried"] == 2


def test_only_what_differs_is_written(pools):
    pool = kicked(pools)
    assert pool["status"]["lastKick"]["kicked"] == 5
    report = pools.report(pools.seen(pool, counts=pools.counts(buried=1)))
    assert changes(report.status, pool).keys() == {"buried", "tubes"}
    assert changes(read_status(pool), pool | {"status": pool["status"] | {"gone": 2}}) == {"gone": None}


def test_status_that_is_not_understood_is_built_anew(pools):
    pool = settled(pools)
    pool["status"]["conditions"] = [{"type": "Ready"}]
    assert states(pools.report(pools.seen(pool)))["Ready"] == ("True", "Running")


def test_reason_of_another_version_is_nothing_to_stumble_over(pools):
    pool = settled(pools)
    pool["status"]["conditions"][0] |= {"status": "False", "reason": "OfTheFuture"}
    pool["status"]["conditions"].append(pool["status"]["conditions"][0] | {"type": "Future"})
    assert states(pools.report(pools.seen(pool))).keys() == {"Ready", "Available", "Progressing", "ServerReachable"}


def test_condition_keeps_its_place_in_the_list(pools):
    pool = kicked(pools)
    for live in (foreign(pools, pool), pools.live(pool)):
        types = [entry["type"] for entry in pool["status"]["conditions"]]
        pool["status"] = pools.status(pools.seen(pool, deployment=live))
        after = [entry["type"] for entry in pool["status"]["conditions"]]
        assert [type_ for type_ in after if type_ in types] == [type_ for type_ in types if type_ in after]


# What the plan brought


def test_applied_deployment_is_reported(pools):
    seen = pools.seen(deployment=None, counts=None)
    report = pools.report(seen, deployment=pools.live(pools.pool()) | {"status": {}})
    assert events(report) == [("Normal", "Created")]


def test_refused_deployment_is_reported_once_and_is_not_created(pools):
    seen = pools.seen(settled(pools), deployment=None)
    report = pools.report(seen, refusal=ValueError("env: duplicate entries"))
    assert events(report) == [("Warning", "DeploymentRefused")]
    ready = conditions(report)["Ready"]
    assert (ready.status, ready.reason) == ("False", "DeploymentRefused")
    message = "the API server refuses the pool's Deployment: env: duplicate entries; correct the pool's spec"
    assert ready.message == report.events[0].message == message
    before = pools.pool(status=changes(report.status, {}))
    assert pools.report(pools.seen(before, deployment=None), refusal=ValueError("other words")).events == []


def test_pods_of_an_earlier_spec_do_not_run_one_that_was_refused(pools):
    found = states(pools.report(pools.seen(), refusal=ValueError("no")))
    assert found["Progressing"] == ("False", "Stalled")
    assert found["Available"][0] == "True"


def test_refused_deployment_is_reported_though_beanstalkd_was_not_asked_yet(pools):
    pool = settled(pools)
    report = pools.report(pools.seen(pool, deployment=None, counts=None), refusal=ValueError("no"))
    assert states(report)["Ready"] == ("False", "DeploymentRefused")
    assert states(report)["ServerReachable"] == ("True", "Reachable")
    assert changes(report.status, pool).keys() == {"conditions"}


def test_foreign_deployment_is_a_conflict(pools):
    pool = pools.pool()
    report = pools.report(pools.seen(pool, deployment=foreign(pools, pool)))
    assert states(report)["Conflict"] == ("True", "ForeignDeployment")
    assert states(report)["Ready"] == ("False", "Conflict")
    assert events(report) == [("Warning", "ForeignDeployment")]
    assert report.status.replicas == 0, "its pods are not the pool's"
    assert report.again_after is not None, "no watch reports a foreign Deployment's end"


def test_conflict_ends_with_its_cause(pools):
    pool = pools.pool()
    conflict = pools.pool(status=pools.status(pools.seen(pool, deployment=foreign(pools, pool))))
    assert "Conflict" not in states(pools.report(pools.seen(conflict, deployment=None)))


def test_pool_without_a_server_says_so(pools):
    for pool in (pools.pool(), settled(pools)):
        report = pools.report(pools.seen(pool, deployment=None, counts=None, server=None))
        assert states(report)["Ready"] == ("False", "NoServer")
        assert states(report)["ServerReachable"] == ("Unknown", "NoServer")


def test_new_pool_has_a_status_before_beanstalkd_was_asked(pools):
    report = pools.report(pools.seen(counts=None))
    assert states(report)["ServerReachable"] == ("Unknown", "NotAskedYet")
    assert (report.status.observed_generation, report.status.replicas, report.status.buried) == (2, 1, None)


def test_status_counts_the_pods_also_while_their_executors_are_missing(pools):
    pool = pools.pool(pools.full)
    live = pools.live(pool, "before")
    assert pools.report(pools.seen(pool, deployment=live, executors_digest=None)).status.replicas == 3


@pytest.mark.parametrize(
    ("generation", "observed", "status", "ready"),
    [
        (4, 4, {}, ("True", "Running")),
        (5, 4, {}, ("False", "Starting")),
        (5, 5, {}, ("True", "Running")),
        (5, 5, {"updatedReplicas": 0}, ("False", "Starting")),
        (1, 0, {"replicas": 0, "readyReplicas": 0, "updatedReplicas": 0}, ("False", "Starting")),
    ],
    ids=["changed nothing but notes", "rollout not begun", "rolled out at once", "rollout begun", "just created"],
)
def test_pool_is_ready_when_the_deployment_as_this_pass_leaves_it_is_rolled_out(
    pools, generation, observed, status, ready
):
    before = settled(pools)["status"]
    pool = pools.pool({"tubes": ["mail", "sms"], "replicas": 1, "image": "shop/mail:7"}, before, generation=3)
    seen = pools.seen(pool, deployment=pools.live(pools.pool()))
    applied = pools.live(pool)
    applied["metadata"]["generation"] = generation
    applied["status"] |= {"observedGeneration": observed} | status
    report = pools.report(seen, deployment=applied)
    assert events(report) == [("Normal", "Updated")]
    assert states(report)["Ready"] == ready
    assert conditions(report)["Ready"].observed_generation == 3


# Events


def test_lost_server_is_reported_once_and_so_is_its_return(pools):
    first = pools.report(pools.seen(settled(pools), counts=LOST))
    assert events(first) == [("Warning", "Unreachable")]
    away = pools.pool(status=changes(first.status, {}))
    assert pools.report(pools.seen(away, counts=LOST)).events == []
    assert events(pools.report(pools.seen(away))) == [("Normal", "Reachable")]


# Kicks


def test_done_kick_is_reported(pools):
    running = {"id": "1", "deed": "kick", "value": "5", "server": SERVER, "state": "running", "since": NOW}
    running |= {"tubes": [{"name": "mail", "allotted": 2, "done": 2}, {"name": "sms", "allotted": 3, "done": 3}]}
    pool = settled(pools, annotations={"kick": "5"})
    pool["status"]["request"] = running
    report = pools.report(pools.seen(pool, request=Known(now=NOW)))
    message = "kick=5: 5 buried jobs put back (mail 2, sms 3)"
    assert report.events == [PoolEvent("Normal", Reason.KICKED, message)]
    assert conditions(report)["KickAccepted"].message == message
    assert (report.status.request.state, report.status.last_kick.kicked, report.again_after) == ("done", 5, 0)


def test_bad_kick_is_reported_and_its_annotation_goes(pools):
    first = pools.report(pools.seen(pools.pool(status=settled(pools)["status"], annotations={"kick": "push:all"})))
    assert states(first)["KickAccepted"] == ("False", "BadKick")
    assert events(first) == [("Warning", "BadKick")]
    before = pools.pool(status=changes(first.status, {}), annotations={"kick": "push:1"})
    again = pools.report(pools.seen(before))
    assert events(again) == [("Warning", "BadKick")], "each bad kick is reported"


def test_kick_waits_for_a_server_out_of_reach(pools):
    pool = settled(pools, annotations={"kick": "all"})
    report = pools.report(pools.seen(pool, counts=LOST))
    assert states(report)["KickAccepted"] == ("False", "Waiting")
    assert ("Warning", "Waiting") in events(report)
    waiting = pools.pool(status=changes(report.status, {}))
    assert "KickAccepted" not in states(pools.report(pools.seen(waiting))), "its owner took the kick back"


def test_kick_waits_in_silence_until_the_server_was_asked(pools):
    pool = settled(pools, annotations={"kick": "all"})
    report = pools.report(pools.seen(pool, counts=None))
    assert report.events == []
    assert changes(report.status, pool) == {}, "a restart of the operator writes nothing"


def test_kick_that_is_over_stays_shown(pools):
    pool = kicked(pools)
    assert changes(pools.report(pools.seen(pool)).status, pool) == {}


def test_bad_kick_alone_changes_a_status_that_stands(pools):
    pool = settled(pools, annotations={"kick": "push:all"})
    report = pools.report(pools.seen(pool, counts=None))
    before = {entry["type"]: (entry["status"], entry["reason"]) for entry in pool["status"]["conditions"]}
    assert states(report) == before | {"KickAccepted": ("False", "BadKick")}


def test_ready_of_the_old_spec_stays_that_until_beanstalkd_was_counted(pools):
    before = pools.status(pools.seen(pools.pool()))
    pool = pools.pool({"tubes": ["mail", "sms"], "replicas": 1, "image": "shop/mail:7"}, before, generation=3)
    applied = pools.live(pool)
    applied["metadata"]["generation"] = 5
    report = pools.report(pools.seen(pool, counts=None), deployment=applied)
    assert report.status.observed_generation == 2
    assert (conditions(report)["Ready"].status, conditions(report)["Ready"].observed_generation) == ("True", 2)
