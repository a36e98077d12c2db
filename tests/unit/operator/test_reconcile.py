"""What a pass does when the API server or beanstalkd fails in the middle of it."""

from contextlib import suppress
from copy import deepcopy
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from tests.support.api_server import DOWN, Errands, StoredPool, Tubes
from tubeherd_operator.cluster.client import ClusterError
from tubeherd_operator.decisions.autoscale import Demand, Scale
from tubeherd_operator.decisions.counts import Counts
from tubeherd_operator.decisions.drift import differences
from tubeherd_operator.decisions.errands import Step
from tubeherd_operator.decisions.retries import Served
from tubeherd_operator.decisions.tubes import PoolTubes
from tubeherd_operator.objects import Key
from tubeherd_operator.passes.idle_pods import IdlePods
from tubeherd_operator.passes.reconcile import Reconciler, Refused
from tubeherd_operator.settings import OperatorSettings

KEY = Key("shop", "mail")
SERVER = "beanstalkd.queue.svc:11300"
LOST = Counts(error="cannot reach beanstalkd at x: refused")


@pytest.fixture
def cluster(pools):
    pool = pools.pool(annotations={"kick": "5"})
    return StoredPool(pool, pools.live(pool))


@pytest.fixture
def servers(pools):
    return Errands(Tubes(mail=2, sms=9), pools.counts())


@pytest.fixture
def counted():
    """The requests that have come to their end, each with the jobs that it kicked or deleted."""
    return []


@pytest.fixture
def new_reconciler(cluster, servers, counted):
    """Start the operator anew: it knows nothing but what is stored."""

    def make():
        servers.give(KEY, None)
        settings = OperatorSettings(default_image="tubeherd-worker:1", default_server=SERVER)
        now = datetime(2026, 11, 25, 12, tzinfo=UTC)

        def done(deed, jobs):
            counted.append((deed, jobs))

        return Reconciler(cluster, cluster, servers, settings, cluster.note_event, lambda: now, request_done=done)

    return make


@pytest.fixture
def reconciler(new_reconciler):
    return new_reconciler()


@pytest.fixture
def work(servers):
    """Run passes and errands until nothing is left to do."""

    def until_quiet(reconciler, lost=""):
        for _ in range(20):
            again = reconciler.reconcile(KEY)
            if servers.waits:
                servers.run(lost if servers.asks_for_a_step else "")
            elif again is None:
                return
        raise AssertionError("there is always something to do")

    return until_quiet


def whats(cluster):
    return [what for what, _ in cluster.writes]


def test_kick_is_done_reported_and_its_annotation_removed(reconciler, cluster, servers, work, counted):
    work(reconciler)
    assert counted == [("kick", 5)]
    assert cluster.held["status"]["lastKick"] == {
        "value": "5",
        "time": "2026-11-25T12:00:00Z",
        "kicked": 5,
        "unsure": 0,
        "skipped": 0,
        "tubes": [
            {"name": "mail", "kicked": 2, "unsure": 0, "skipped": 0},
            {"name": "sms", "kicked": 3, "unsure": 0, "skipped": 0},
        ],
    }
    assert cluster.condition("KickAccepted")["status"] == "True"
    assert "5 buried jobs put back (mail 2, sms 3)" in cluster.condition("KickAccepted")["message"]
    assert cluster.held["metadata"]["annotations"] == {}
    assert "request" not in cluster.held["status"]
    assert servers.tubes.kicked == 5
    assert (cluster.events("Kicked"), cluster.events("AnnotationRemoved")) == (1, 0)
    before = len(cluster.writes)
    reconciler.reconcile(KEY)
    assert len(cluster.writes) == before, "the next pass has nothing to do"


def test_first_pass_over_a_new_pool_makes_its_deployment_and_the_next_does_the_rest(
    reconciler, cluster, servers, pools
):
    cluster.live, cluster.held_budgets, cluster.held = None, [], pools.pool()
    assert reconciler.reconcile(KEY) == 0, "the next follows at once"
    assert whats(cluster) == ["apply"]
    reconciler.reconcile(KEY)
    assert whats(cluster)[1:] == ["budget", "status", "event"]
    assert (cluster.condition("Ready")["reason"], cluster.events("Created")) == ("Starting", 1)


def test_first_pass_over_a_new_pool_whose_deployment_is_refused_says_so(reconciler, cluster, pools):
    cluster.live, cluster.held_budgets, cluster.held = None, [], pools.pool()
    cluster.fail["apply"] = ClusterError(422, "the image is not allowed")
    with pytest.raises(ClusterError):
        reconciler.reconcile(KEY)
    assert cluster.condition("Ready")["reason"] == "DeploymentRefused"


def test_change_whose_status_could_not_be_written_is_reported_later(reconciler, cluster, pools):
    cluster.held = pools.pool({"tubes": ["mail", "sms"], "replicas": 2})
    cluster.fail["status"] = DOWN
    with pytest.raises(ClusterError):
        reconciler.reconcile(KEY)
    assert (whats(cluster), cluster.live["spec"]["replicas"]) == (["apply"], 2)
    del cluster.fail["status"]
    reconciler.reconcile(KEY)
    assert cluster.events("Updated") == 1
    reconciler.reconcile(KEY)
    assert cluster.events("Updated") == 1


def test_kick_goes_on_at_once_though_the_deployment_is_refused(reconciler, cluster, servers, pools):
    cluster.held = pools.pool({"tubes": ["mail", "sms"], "replicas": 2}, annotations={"kick": "5"})
    states = []
    for _ in range(3):
        cluster.fail["apply"] = ClusterError(422, "the image is not allowed")
        with pytest.raises(Refused) as refused:
            reconciler.reconcile(KEY)
        states.append((cluster.held["status"].get("request", {}).get("state"), refused.value.again_after))
        if servers.waits and not servers.asks_for_a_step:
            servers.run()
    assert states == [(None, None), ("accepted", 0.0), ("running", None)]


def test_intent_is_stored_before_its_first_command(reconciler, cluster, servers):
    states = []
    for _ in range(3):
        reconciler.reconcile(KEY)
        states.append(cluster.held["status"].get("request", {}).get("state"))
        assert servers.tubes.kicked == 0
        if servers.waits and not servers.asks_for_a_step:
            servers.run()
    assert states == [None, "accepted", "running"]
    assert servers.asks_for_a_step
    shares = cluster.held["status"]["request"]["tubes"]
    assert [(share["name"], share["allotted"], share["asked"]) for share in shares] == [("mail", 2, 2), ("sms", 3, 3)]


def test_same_value_set_again_at_once_is_another_kick(reconciler, cluster, servers, work):
    work(reconciler)
    cluster.annotate("5")
    work(reconciler)
    assert servers.tubes.kicked == 10
    assert cluster.held["status"]["lastKick"]["kicked"] == 5


def test_same_value_set_again_before_the_kick_is_closed_is_another_kick(reconciler, cluster, servers, work):
    while cluster.annotation is not None:
        reconciler.reconcile(KEY)
        if servers.waits:
            servers.run()
    assert cluster.held["status"]["request"]["state"] == "done"
    cluster.annotate("5")
    work(reconciler)
    assert servers.tubes.kicked == 10


def test_discard_and_kick_that_are_asked_for_at_once_are_done_one_after_the_other(
    reconciler, cluster, servers, work, counted
):
    cluster.annotate("all", "discard")
    reconciler.reconcile(KEY)
    waits = "discard=all waits until kick=5 is over and that annotation is gone"
    assert cluster.condition("DiscardAccepted")["message"] == waits
    work(reconciler)
    assert servers.tubes.done == {"kick": 5, "discard": 6}
    assert counted == [("kick", 5), ("discard", 6)]
    status = cluster.held["status"]
    assert (status["lastKick"]["kicked"], status["lastDiscard"]["deleted"]) == (5, 6)
    assert cluster.condition("DiscardAccepted")["message"] == "discard=all: 6 buried jobs deleted (sms 6)"
    assert cluster.condition("KickAccepted")["reason"] == "Kicked"
    assert (cluster.annotations, status.get("request")) == ({}, None)
    assert (cluster.events("Kicked"), cluster.events("Discarded"), cluster.events("Waiting")) == (1, 1, 0)


def test_discard_whose_condition_waits_for_a_kick_and_that_is_taken_back_leaves_no_condition(
    reconciler, cluster, servers, work
):
    cluster.annotate("all", "discard")
    reconciler.reconcile(KEY)
    cluster.annotate(None, "discard")
    work(reconciler)
    assert "DiscardAccepted" not in {condition["type"] for condition in cluster.held["status"]["conditions"]}
    assert servers.tubes.done == {"kick": 5}


def test_kick_of_thousands_goes_in_steps_of_a_thousand(reconciler, cluster, servers, work):
    servers.tubes.buried = {"mail": 1500, "sms": 1700}
    cluster.annotate("all")
    work(reconciler)
    steps = [dict(errand.work.most) for errand in servers.given if isinstance(errand.work, Step)]
    assert steps == [{"mail": 1000}, {"mail": 500, "sms": 500}, {"sms": 1000}, {"sms": 200}]
    assert cluster.held["status"]["lastKick"]["kicked"] == 3200
    progress = {value["conditions"][-1]["message"] for what, value in cluster.writes if "conditions" in value}
    assert "kick=all: 2000 of 3200 buried jobs put back so far" in progress


def test_jobs_of_a_kick_that_is_stopped_are_counted_too(reconciler, cluster, servers, work, counted):
    servers.tubes.buried = {"mail": 3000}
    cluster.annotate("all")
    while not servers.tubes.kicked:
        reconciler.reconcile(KEY)
        if servers.waits:
            servers.run()
    cluster.annotate(None)
    work(reconciler)
    assert cluster.held["status"]["lastKick"]["kicked"] == 1000
    assert counted == [("kick", 1000)]


def test_no_job_is_buried(reconciler, cluster, servers, work):
    servers.tubes.buried = {}
    work(reconciler)
    assert cluster.held["status"]["lastKick"]["kicked"] == 0
    assert cluster.condition("KickAccepted")["message"] == "kick=5: 0 buried jobs put back, as none was buried"
    servers.tubes.buried = {"mail": 1}
    cluster.annotate("5")
    work(reconciler)
    assert cluster.held["status"]["lastKick"]["kicked"] == 1, "the jobs are counted anew"


def test_jobs_are_counted_anew_for_a_kick_that_was_taken_back_before_they_were_counted(
    reconciler, cluster, servers, work
):
    reconciler.reconcile(KEY)
    cluster.annotate(None)
    servers.run()
    work(reconciler)
    servers.tubes.buried = {"mail": 4, "sms": 9}
    cluster.annotate("5")
    work(reconciler)
    assert cluster.held["status"]["lastKick"]["tubes"][0] == {"name": "mail", "kicked": 4, "unsure": 0, "skipped": 0}


def test_passes_that_cannot_begin_a_kick_fail_one_after_the_other_so_that_they_come_more_slowly(
    reconciler, cluster, servers
):
    reconciler.reconcile(KEY)
    servers.run()
    cluster.fail = {"status": DOWN}
    for _ in range(5):
        with pytest.raises(ClusterError):
            reconciler.reconcile(KEY)
    assert len(servers.given) == 1, "the jobs were counted once"


def test_step_that_waits_is_not_run_for_a_new_pool_of_the_same_name(reconciler, cluster, servers, pools):
    while not servers.asks_for_a_step:
        reconciler.reconcile(KEY)
        if servers.waits and not servers.asks_for_a_step:
            servers.run()
    cluster.held = pools.pool(uid="another", resourceVersion="1000")
    reconciler.reconcile(KEY)
    assert not servers.waits


def test_jobs_are_counted_anew_for_a_kick_that_could_not_begin_for_a_minute(
    reconciler, cluster, servers, work, monkeypatch
):
    reconciler.reconcile(KEY)
    servers.run()
    cluster.fail = {"status": DOWN}
    with pytest.raises(ClusterError):
        reconciler.reconcile(KEY)
    cluster.fail = {}
    with monkeypatch.context() as patch:
        patch.setattr("tubeherd_operator.passes.requests.COUNTED_SECONDS", 0.0)
        reconciler.reconcile(KEY)
    servers.tubes.buried = {"mail": 4, "sms": 9}
    work(reconciler)
    assert cluster.held["status"]["lastKick"]["tubes"][0] == {"name": "mail", "kicked": 4, "unsure": 0, "skipped": 0}


@pytest.mark.parametrize("lost", ["before", "after"])
def test_answer_that_is_lost_counts_as_that_many_put_back(reconciler, cluster, servers, work, lost):
    work(reconciler, lost)
    assert servers.tubes.kicked == (2 if lost == "before" else 5)
    last = cluster.held["status"]["lastKick"]
    assert (last["kicked"], last["unsure"]) == (5, 3)
    message = cluster.condition("KickAccepted")["message"]
    assert "at most 5 buried jobs put back (mail 2, sms at most 3), the last answer was lost" in message
    assert cluster.annotation is None


def test_all_may_be_asked_for_again(reconciler, cluster, servers, work):
    cluster.annotate("all")
    servers.tubes.buried = {"mail": 5}
    reconciler.reconcile(KEY)
    servers.run()
    reconciler.reconcile(KEY)
    reconciler.reconcile(KEY)
    servers.run("before")
    work(reconciler)
    assert servers.tubes.kicked == 5
    last = cluster.held["status"]["lastKick"]
    assert (last["kicked"], last["unsure"]) == (10, 5)


def test_kick_that_was_not_sent_goes_on_when_beanstalkd_is_back(reconciler, cluster, servers, work, pools):
    reconciler.reconcile(KEY)
    servers.run()
    reconciler.reconcile(KEY)
    reconciler.reconcile(KEY)
    servers.counted = LOST
    servers.run("unsent")
    reconciler.reconcile(KEY)
    assert cluster.condition("KickAccepted")["reason"] == "Waiting"
    assert cluster.annotation == "5"
    servers.counted = pools.counts()
    work(reconciler)
    assert servers.tubes.kicked == cluster.held["status"]["lastKick"]["kicked"] == 5
    assert cluster.held["status"]["lastKick"]["unsure"] == 0


@pytest.mark.parametrize("passes", range(1, 6))
def test_operator_that_is_killed_puts_no_more_back(new_reconciler, cluster, servers, work, passes):
    """Kill it after so many passes; if a kick is under way, beanstalkd carries it out."""
    killed = new_reconciler()
    for _ in range(passes):
        killed.reconcile(KEY)
        if servers.waits and not servers.asks_for_a_step:
            servers.run()
    if servers.waits:
        servers.run()
    work(new_reconciler())
    assert servers.tubes.kicked == cluster.held["status"]["lastKick"]["kicked"] == 5
    assert (cluster.annotation, cluster.held["status"].get("request")) == (None, None)


@pytest.mark.parametrize("effect", ["fail", "lose"])
@pytest.mark.parametrize("what", ["status", "remove"])
@pytest.mark.parametrize("passes", range(6))
def test_kick_is_done_once_though_the_api_server_fails(reconciler, cluster, servers, work, what, effect, passes):
    for number in range(9):
        setattr(cluster, effect, {what: DOWN} if number == passes else {})
        with suppress(ClusterError):
            reconciler.reconcile(KEY)
        if servers.waits:
            servers.run()
    work(reconciler)
    assert servers.tubes.kicked == cluster.held["status"]["lastKick"]["kicked"] == 5
    assert cluster.held["status"]["lastKick"]["unsure"] == 0, "no answer of beanstalkd was lost"
    assert cluster.annotation is None


def test_two_operators_kick_once(new_reconciler, cluster, servers, work, pools):
    other_servers = Errands(servers.tubes, pools.counts())
    one = new_reconciler()
    settings = OperatorSettings(default_image="i", default_server=SERVER)
    other = Reconciler(cluster, cluster, other_servers, settings, cluster.note_event)
    for _ in range(20):
        for reconciler, asked in ((one, servers), (other, other_servers)):
            reconciler.reconcile(KEY)
            if asked.waits:
                asked.run()
    assert servers.tubes.kicked == 5
    assert cluster.annotation is None


def test_annotation_whose_removal_is_refused_kicks_once_and_says_so(new_reconciler, cluster, servers):
    def look(reconciler, times):
        for _ in range(times):
            with suppress(ClusterError):
                reconciler.reconcile(KEY)
            if servers.waits:
                servers.run()

    cluster.fail = {"remove": ClusterError(403, "admission webhook denied the request")}
    for _ in range(3):
        look(new_reconciler(), 8)
        shown = cluster.condition("KickAccepted")
        assert (shown["status"], shown["reason"]) == ("True", "AnnotationStays")
        assert "admission webhook denied the request" in shown["message"]
    assert servers.tubes.kicked == 5
    assert (cluster.events("Kicked"), cluster.events("AnnotationStays")) == (1, 1)
    cluster.fail = {}
    look(new_reconciler(), 8)
    assert (cluster.annotation, cluster.held["status"].get("request")) == (None, None)
    assert cluster.condition("KickAccepted")["reason"] == "Kicked"
    assert cluster.events("AnnotationRemoved") == 1
    assert servers.tubes.kicked == 5


def test_kick_that_is_done_and_meets_the_same_value_removes_it_and_says_so(new_reconciler, cluster, servers, work):
    reconciler = new_reconciler()
    while cluster.annotation is not None:
        reconciler.reconcile(KEY)
        if servers.waits:
            servers.run()
    cluster.annotate("5")
    work(new_reconciler())  # it cannot know that the annotation was gone in between
    assert cluster.annotation is None
    assert servers.tubes.kicked == 5
    assert cluster.events("AnnotationRemoved") == 1


def test_kick_of_which_the_api_server_stores_no_intent_is_not_begun(reconciler, cluster, servers):
    write = cluster.write_status

    def write_without_intent(namespace, name, patch, version=None):
        return write(namespace, name, {key: value for key, value in patch.items() if key != "request"}, version)

    cluster.write_status = write_without_intent
    reconciler.reconcile(KEY)
    servers.run()
    with pytest.raises(ClusterError, match="no job is kicked or deleted: update the CRD"):
        reconciler.reconcile(KEY)
    assert not servers.asks_for_a_step


@pytest.mark.parametrize("value", [None, "sms:1"])
def test_kick_ends_early_if_its_annotation_goes_or_changes(reconciler, cluster, servers, work, value):
    servers.tubes.buried = {"mail": 3000, "sms": 9}
    cluster.annotate("mail:all")
    reconciler.reconcile(KEY)
    servers.run()
    reconciler.reconcile(KEY)
    reconciler.reconcile(KEY)
    servers.run()
    cluster.annotate(value)
    reconciler.reconcile(KEY)
    last = cluster.held["status"]["lastKick"]
    assert (last["value"], last["kicked"]) == ("mail:all", 1000)
    assert "the rest was left, because" in cluster.condition("KickAccepted")["message"]
    assert cluster.annotation == value
    work(reconciler)
    assert servers.tubes.kicked == (1001 if value else 1000)
    assert cluster.annotation is None


def test_slow_kick_rests_between_its_steps_and_another_kick_does_not_wait_for_that(reconciler, cluster, servers, work):
    cluster.annotate("all@1/h")
    for _ in range(4):
        reconciler.reconcile(KEY)
        if servers.waits:
            servers.run()
    assert servers.tubes.kicked == 1
    assert 3000 < reconciler.reconcile(KEY) <= 3600
    assert "1 of 11 buried jobs put back so far" in cluster.condition("KickAccepted")["message"]
    assert not servers.waits
    cluster.annotate("5")
    work(reconciler)
    assert servers.tubes.kicked == 6


def test_pool_without_its_resource_version_in_the_cache_kicks_once(reconciler, cluster, servers, work):
    """A pass may see the pool as it was before the last write: it changes nothing then."""
    for behind in (0, 0, 1, 0, 2, 0, 1, 0):
        cluster.behind = behind
        reconciler.reconcile(KEY)
        if servers.waits:
            servers.run()
    work(reconciler)
    assert servers.tubes.kicked == cluster.held["status"]["lastKick"]["kicked"] == 5


def test_pool_is_not_ready_before_the_rollout_that_its_change_begins(reconciler, cluster):
    cluster.annotate(None)
    reconciler.reconcile(KEY)
    assert cluster.condition("Ready")["status"] == "True"
    cluster.held["metadata"]["generation"] += 1
    cluster.held["spec"]["image"] = "shop/mail:7"
    reconciler.reconcile(KEY)
    ready = cluster.condition("Ready")
    assert (ready["status"], ready["reason"], ready["observedGeneration"]) == ("False", "Starting", 3)
    cluster.live["status"]["observedGeneration"] += 1
    reconciler.reconcile(KEY)
    assert cluster.condition("Ready")["status"] == "True"


@pytest.mark.parametrize("status", [400, 403, 422, 500])
def test_refused_deployment_is_reported_once_and_tried_again(reconciler, cluster, status):
    cluster.annotate(None)
    cluster.live = None
    cluster.fail = {"apply": ClusterError(status, "containers[0].env: duplicate entries")}
    for _ in range(2):
        with pytest.raises(ClusterError):
            reconciler.reconcile(KEY)
    assert cluster.condition("Ready")["reason"] == "DeploymentRefused"
    assert "duplicate entries" in cluster.condition("Ready")["message"]
    assert [what for what, _ in cluster.writes] == ["status", "event"]


@pytest.mark.parametrize("status", [0, 409, 429, 503])
def test_api_server_in_trouble_is_no_fault_of_the_spec(reconciler, cluster, status):
    cluster.live = None
    cluster.fail = {"apply": ClusterError(status, "try again")}
    with pytest.raises(ClusterError):
        reconciler.reconcile(KEY)
    assert cluster.writes == []


@pytest.mark.parametrize("pool", [None, {"metadata": {"deletionTimestamp": "now"}}])
def test_pool_that_is_gone_or_going_is_left_alone(reconciler, cluster, pool):
    cluster.held = pool
    assert reconciler.reconcile(KEY) is None
    assert cluster.writes == []


def test_bad_kick_is_reported_also_while_the_deployment_is_refused(reconciler, cluster):
    cluster.annotate("everything")
    cluster.live = None
    cluster.fail = {"apply": ClusterError(422, "no")}
    with pytest.raises(ClusterError):
        reconciler.reconcile(KEY)
    assert [value for what, value in cluster.writes if what == "event"] == ["BadKick", "DeploymentRefused"]


def test_pools_that_differ_in_their_retries_are_reported_until_they_agree(reconciler, cluster, servers):
    cluster.annotate(None)
    servers.beside = {Key("other", "bulk"): Served(PoolTubes(("mail",)), 3)}
    for _ in range(2):
        reconciler.reconcile(KEY)
    assert "other/bulk" in cluster.condition("RetriesDiffer")["message"]
    assert cluster.condition("Ready")["status"] == "True", "the pool works"
    assert [value for what, value in cluster.writes if what == "event"] == ["RetriesDiffer"]
    servers.beside = {Key("other", "bulk"): Served(PoolTubes(("mail",)), 1)}
    reconciler.reconcile(KEY)
    assert "RetriesDiffer" not in {entry["type"] for entry in cluster.held["status"]["conditions"]}


def test_what_every_pool_serves_is_known_before_the_first_pass(reconciler, cluster, servers, pools):
    cluster.all = [
        pools.pool(),
        pools.pool({"tubes": ["mail"], "retry": {"delays": []}, "server": "b:1"}, name="own-server"),
        pools.pool(name="going", deletionTimestamp="now"),
        pools.pool({"tubes": ["tubeherd.burials"]}, name="not-valid"),
        {"metadata": {"namespace": "shop", "name": "no-spec"}},
        pools.pool({"tubes": ["sms"]}, name="last"),
    ]
    reconciler.note_pools()
    assert servers.watched == {
        KEY: (SERVER, Served(PoolTubes(("mail", "sms")), 1)),
        Key("shop", "own-server"): ("b:1", Served(PoolTubes(("mail",)), 0)),
        Key("shop", "last"): (SERVER, Served(PoolTubes(("sms",)), 1)),
    }
    assert cluster.writes == []


def test_stored_pool_that_is_not_valid_says_so_and_is_neither_counted_nor_kicked(reconciler, cluster, servers, pools):
    servers.watched[KEY] = (SERVER, Served(PoolTubes(("mail",)), 1))
    cluster.held = pools.pool({"tubes": ["mail", "tubeherd.burials"]}, annotations={"kick": "all"})
    for _ in range(2):
        assert reconciler.reconcile(KEY) is None
    ready = cluster.condition("Ready")
    assert (ready["status"], ready["reason"]) == ("False", "InvalidSpec")
    assert "spec.tubes[1]: 'tubeherd.burials' is reserved" in ready["message"]
    assert (servers.watched, servers.given) == ({}, [])
    assert [what for what, _ in cluster.writes] == ["event", "status"]


def test_stored_pool_that_is_not_valid_has_an_event_though_the_api_server_refuses_its_status(
    reconciler, cluster, pools
):
    cluster.held = pools.pool({"tubes": ["mail"], "concurrency": "four"})
    cluster.fail = {"status": ClusterError(422, "spec.concurrency: must be an integer")}
    assert reconciler.reconcile(KEY) is None
    assert cluster.writes == [("event", "InvalidSpec")]
    cluster.fail = {"status": ClusterError(503, "down")}
    with pytest.raises(ClusterError):
        reconciler.reconcile(KEY)


def lose_owner(cluster):
    cluster.annotate(None)
    cluster.live["metadata"]["ownerReferences"] = []


def test_deployment_without_an_owner_is_adopted(reconciler, cluster):
    lose_owner(cluster)
    reconciler.reconcile(KEY)
    assert cluster.live["metadata"]["ownerReferences"][0]["uid"] == cluster.held["metadata"]["uid"]
    assert [value for what, value in cluster.writes if what == "event"] == ["Adopted"]


@pytest.mark.parametrize("stored", [None, {"deletionTimestamp": "now"}, {"uid": "another"}])
def test_deployment_is_not_adopted_by_a_pool_that_is_deleted_without_it(reconciler, cluster, stored):
    lose_owner(cluster)
    first = cluster.pool

    def deleted_then():
        cluster.pool = lambda *_: None if stored is None else {"metadata": cluster.held["metadata"] | stored}

    cluster.pool = lambda *_: (first(), deleted_then())[0]
    reconciler.reconcile(KEY)
    assert "apply" not in [what for what, _ in cluster.writes]
    assert cluster.condition("Conflict")["status"] == "True"


def test_replicas_are_kept_before_they_are_given_up(reconciler, cluster, pools):
    cluster.annotate(None)
    del cluster.held["spec"]["replicas"]
    cluster.live["spec"]["replicas"] = 3
    reconciler.reconcile(KEY)
    applied = [value["spec"] for what, value in cluster.writes if what == "apply"]
    assert applied[0] == {"replicas": 3}
    assert "replicas" not in applied[1]


def test_setting_added_by_hand_is_removed(reconciler, cluster):
    cluster.annotate(None)
    cluster.live["spec"]["template"]["spec"]["containers"][0]["env"].append({"name": "TUBEHERD_X", "value": "1"})
    reconciler.reconcile(KEY)
    assert [what for what, _ in cluster.writes][:2] == ["patch", "apply"]


def test_note_of_the_defaults_is_added_without_an_event(reconciler, cluster, pools):
    cluster.annotate(None)
    cluster.live = pools.live(pools.pool(), version=1, image="tubeherd-worker:0")
    cluster.held_budgets = []
    before = deepcopy(cluster.live["spec"]["template"])
    note = cluster.live["metadata"]["annotations"].pop("tubeherd.io/defaults")
    reconciler.reconcile(KEY)
    assert whats(cluster) == ["apply", "status"]
    assert cluster.live["metadata"]["annotations"]["tubeherd.io/defaults"] == note
    pod = cluster.live["spec"]["template"]
    assert differences(pod, before) == [], "no pod is replaced"
    reconciler.reconcile(KEY)
    assert whats(cluster) == ["apply", "status"], "the next pass has nothing to do"
    outdated = cluster.condition("Outdated")
    assert (outdated["status"], outdated["reason"]) == ("True", "OldImage")


def test_budget_is_made_and_goes_when_another_one_selects_the_pods(reconciler, cluster):
    cluster.annotate(None)
    cluster.held_budgets = []
    reconciler.reconcile(KEY)
    reconciler.reconcile(KEY)
    assert whats(cluster) == ["budget", "status"]
    theirs = {"metadata": {"name": "theirs", "namespace": "shop"}, "spec": {"selector": {}}}
    cluster.held_budgets = [*cluster.held_budgets, theirs]
    reconciler.reconcile(KEY)
    reconciler.reconcile(KEY)
    assert whats(cluster)[2:] == ["delete budget", "event"]
    assert cluster.held_budgets == [theirs]
    cluster.held_budgets = []
    reconciler.reconcile(KEY)
    assert whats(cluster)[-1] == "budget"


def test_budget_that_is_refused_is_reported_once_and_tried_again(reconciler, cluster):
    cluster.annotate(None)
    cluster.held_budgets = []
    cluster.fail = {"budget": ClusterError(403, "exceeded quota")}
    for _ in range(2):
        with pytest.raises(ClusterError, match="quota"):
            reconciler.reconcile(KEY)
    assert whats(cluster) == ["status", "event"]
    assert cluster.condition("Unprotected")["reason"] == "BudgetRefused"
    assert cluster.condition("Ready")["status"] == "True"
    cluster.fail = {}
    reconciler.reconcile(KEY)
    assert "Unprotected" not in {entry["type"] for entry in cluster.held["status"]["conditions"]}


def test_after_a_write_whose_answer_was_lost_the_pool_is_asked_for_anew(reconciler, cluster):
    cluster.annotate(None)
    cluster.lose = {"status": DOWN}
    with pytest.raises(ClusterError):
        reconciler.reconcile(KEY)
    cluster.behind, cluster.lose = 1, {}
    reconciler.reconcile(KEY)
    assert cluster.behind == 0
    assert whats(cluster) == [], "the second pass saw what the first had written"


def test_pass_over_a_pool_at_rest_asks_the_api_server_for_nothing(reconciler, cluster, servers):
    cluster.annotate(None)
    reconciler.reconcile(KEY)
    settings = OperatorSettings(default_image="tubeherd-worker:1", default_server=SERVER)
    nobody = object()
    assert Reconciler(cluster, nobody, servers, settings, nobody).reconcile(KEY) is None


def running(pods, name, **annotations):
    """Return a pod of the pool that is ready."""
    found = pods.pod({"podIP": f"10.0.0.{name}", "conditions": [{"type": "Ready", "status": "True"}]})
    found["metadata"] |= {"name": name, "annotations": annotations}
    return found


@pytest.fixture
def autoscaled(pools, servers):
    """An autoscaled pool of three pods, of which one is to stay."""
    spec = {"tubes": ["mail"], "autoscale": {"maxReplicas": 5, "jobsPerReplica": 9}}
    pool = pools.pool(spec, status={"autoscale": {"desiredReplicas": 3, "lastScaleTime": "2026-11-25T11:00:00Z"}})
    live = pools.live(pool)
    live["spec"]["replicas"] = 3
    cluster = StoredPool(pool, live)
    cluster.own_replica_sets = [pools.replica_set()]
    cluster.own_pods = [running(pools, name) for name in ("1", "2", "3")]
    servers.counted = replace(pools.counts(("mail",)), scale=Scale(1, Demand(1, 0, 1)))
    return cluster


def reconciler_of(cluster, servers, ask):
    settings = OperatorSettings(default_image="tubeherd-worker:1", default_server=SERVER)
    now = datetime(2026, 11, 25, 12, tzinfo=UTC)
    return Reconciler(cluster, cluster, servers, settings, cluster.note_event, lambda: now, ask)


def test_idle_pods_are_marked_before_the_number_falls(autoscaled, servers):
    asked = []

    def ask(addresses):
        asked.append(addresses)
        return {"1": 0, "2": 1, "3": 0}

    reconciler_of(autoscaled, servers, ask).reconcile(KEY)
    assert asked == [{"1": "10.0.0.1", "2": "10.0.0.2", "3": "10.0.0.3"}]
    assert [write for write in autoscaled.writes if write[0] == "mark"] == [
        ("mark", ("1", "-1000")),
        ("mark", ("3", "-1000")),
    ]
    assert whats(autoscaled)[:3] == ["mark", "mark", "apply"]
    assert autoscaled.live["spec"]["replicas"] == 1
    assert autoscaled.events("Scaled") == 1
    assert autoscaled.held["status"]["autoscale"] == {"desiredReplicas": 1, "lastScaleTime": "2026-11-25T12:00:00Z"}


def test_deployment_is_not_given_back_to_a_pool_that_goes_while_its_pods_are_asked(autoscaled, servers, pools):
    def ask(addresses):
        autoscaled.held = pools.pool(autoscaled.held["spec"], uid="another")
        return dict.fromkeys(addresses, 0)

    reconciler_of(autoscaled, servers, ask).reconcile(KEY)
    assert "apply" not in whats(autoscaled)


def test_number_falls_though_pods_cannot_be_marked(autoscaled, servers):
    autoscaled.fail["mark"] = ClusterError(403, "pods is forbidden")
    reconciler_of(autoscaled, servers, lambda addresses: dict.fromkeys(addresses, 0)).reconcile(KEY)
    assert autoscaled.live["spec"]["replicas"] == 1


def test_number_falls_later_while_the_pods_of_others_are_asked(autoscaled, servers, monkeypatch):
    reconciler = reconciler_of(autoscaled, servers, lambda addresses: dict.fromkeys(addresses, 0))
    with monkeypatch.context() as patch:
        patch.setattr(IdlePods, "mark", lambda *_: False)
        assert reconciler.reconcile(KEY) == 2
    assert autoscaled.live["spec"]["replicas"] == 3
    assert autoscaled.events("Scaled") == 0
    reconciler.reconcile(KEY)
    assert autoscaled.live["spec"]["replicas"] == 1


@pytest.mark.parametrize("replicas", [0, 3, 5])
def test_no_pod_is_asked_if_it_does_not_matter_which_goes(autoscaled, servers, replicas):
    servers.counted = replace(servers.counted, scale=Scale(replicas, Demand(replicas, 0, replicas)))
    reconciler_of(autoscaled, servers, lambda _: pytest.fail("a pod was asked")).reconcile(KEY)
    assert autoscaled.live["spec"]["replicas"] == replicas


@pytest.mark.parametrize(("status", "begun"), [({"desiredReplicas": 3, "lastScaleTime": "then"}, 3), (None, 4)])
def test_autoscaling_begins_with_what_the_status_says_or_else_the_deployment(pools, servers, status, begun):
    spec = {"tubes": ["mail"], "autoscale": {"maxReplicas": 5, "jobsPerReplica": 9}}
    pool = pools.pool(spec, status=status and {"autoscale": status})
    live = pools.live(pool)
    live["spec"]["replicas"] = 4
    seen = []
    servers.watch = lambda *watched: seen.append(watched[3])
    reconciler_of(StoredPool(pool, live), servers, lambda _: {}).note_pools()
    assert seen == [begun]
