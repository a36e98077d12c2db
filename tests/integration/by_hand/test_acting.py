"""Jobs are kicked and deleted by hand: those that were chosen, no more, and none that others hold."""

import tracemalloc
from contextlib import closing

import pytest

from tests.support.beanstalkd import NOTHING
from tests.support.burials import RECORDS, put_record
from tests.support.proxies import Interceptor
from tests.support.waiting import wait_for
from tubeherd import BrokenOff, QueueManager
from tubeherd.by_hand.changing.acting import Acting
from tubeherd.by_hand.changing.choice import choose


@pytest.fixture
def queue(beanstalkd):
    with QueueManager(beanstalkd.server) as queue:
        yield queue


def state_of(beanstalkd, job):
    return beanstalkd.stats_job(job)["state"]


def test_kick_of_a_tube_puts_all_buried_jobs_back_and_no_delayed_one(beanstalkd, queue):
    beanstalkd.bury("mail", 3)
    beanstalkd.put("mail", delay=1000)
    acted = queue.kick("mail")
    assert (acted.deed, acted.done, acted.of, acted.unsure, acted.stopped) == ("kicked", 3, 3, 0, None)
    (change,) = acted.tubes
    assert (change.name, change.before.buried, change.after.buried, change.after.ready) == ("mail", 3, 0, 3)
    assert queue.kick("mail").done == 0
    assert beanstalkd.count("mail") == NOTHING | {"ready": 3, "delayed": 1}


def test_kick_with_a_count_puts_back_those_that_were_buried_first(beanstalkd, queue):
    ids = beanstalkd.bury_many("mail", 5)
    assert queue.kick("mail", count=2).done == 2
    assert [state_of(beanstalkd, job) for job in ids] == ["ready", "ready", "buried", "buried", "buried"]


def test_kick_of_all_tubes_leaves_those_of_tubeherd_and_counts_over_all(beanstalkd, queue):
    beanstalkd.bury_many("mail", 3)
    beanstalkd.bury_many("sms", 3)
    beanstalkd.bury_many(RECORDS, 2)
    acted = queue.kick(all_tubes=True, count=4)
    assert acted.done == 4
    assert sum(change.done for change in acted.tubes) == 4
    assert beanstalkd.count("mail")["buried"] + beanstalkd.count("sms")["buried"] == 2
    assert queue.kick(all_tubes=True).done == 2
    assert beanstalkd.count(RECORDS) == NOTHING | {"buried": 2}


def test_kick_by_ids_kicks_buried_jobs_only_and_says_why_others_are_left(beanstalkd, queue):
    (buried,) = beanstalkd.bury_many("mail", 1)
    (record,) = beanstalkd.bury_many(RECORDS, 1)
    delayed, ready = beanstalkd.put("mail", delay=1000), beanstalkd.put("sms")
    held = beanstalkd.put("fax")
    client = beanstalkd.client()
    client.reserve_job(held)
    acted = queue.kick(jobs=[buried, delayed, ready, held, record, 999, buried])
    assert (acted.done, acted.of) == (1, 6)
    assert dict(acted.refused) == {
        delayed: "it is delayed, not buried",
        ready: "it is ready, not buried",
        held: "it is reserved: somebody works on it",
        record: f"it is in tube {RECORDS}, which is one of Tubeherd's own",
        999: "there is no such job",
    }
    assert state_of(beanstalkd, buried) == "ready"
    assert state_of(beanstalkd, delayed) == "delayed"
    assert state_of(beanstalkd, record) == "buried"


def test_kick_by_error_kicks_those_whose_record_says_so(beanstalkd, queue):
    ids = beanstalkd.bury_many("mail", 4)
    put_record(beanstalkd, ids[0])
    put_record(beanstalkd, ids[1], error="ValueError")
    put_record(beanstalkd, ids[2], kind="deadline", error="DeadlinePassed")
    acted = queue.kick("mail", error="KeyError")
    assert (acted.done, acted.errors) == (1, None)
    assert [state_of(beanstalkd, job) for job in ids] == ["ready", "buried", "buried", "buried"]
    assert queue.kick(all_tubes=True, error="deadline").done == 1
    assert queue.kick("mail", error="KeyErr").errors == ("ValueError",)
    assert queue.kick("sms", error="KeyError").errors is None, "none is buried"


def test_kick_by_age_leaves_younger_jobs(beanstalkd, queue):
    ids = beanstalkd.bury_many("mail", 3)
    assert queue.kick("mail", older_than="1h").done == 0
    wait_for(lambda: beanstalkd.stats_job(ids[-1])["age"] >= 1, "the jobs are a second old")
    assert queue.kick("mail", older_than=1, count=2).done == 2
    assert queue.kick(all_tubes=True, older_than=1).done == 1
    assert beanstalkd.count("mail") == NOTHING | {"ready": 3}


@pytest.mark.parametrize("choice", [{}, {"count": 2}, {"error": "KeyError"}, {"jobs": [1, 2]}])
@pytest.mark.parametrize("deed", ["kick", "delete"])
def test_dry_run_counts_and_changes_nothing(beanstalkd, queue, choice, deed):
    ids = beanstalkd.bury_many("mail", 2)
    for job in ids:
        put_record(beanstalkd, job)
    acted = getattr(queue, deed)(None if "jobs" in choice else "mail", **choice, dry_run=True)
    assert (acted.done, acted.dry_run) == (2, True)
    after = [beanstalkd.stats_job(job) for job in ids]
    assert [(stats["state"], stats["kicks"]) for stats in after] == [("buried", 0)] * 2


def test_clear_deletes_what_nobody_holds(beanstalkd, queue):
    beanstalkd.bury_many("mail", 3)
    held = beanstalkd.put("mail")
    client = beanstalkd.client()
    client.reserve_job(held)
    for delay in (0, 0, 1000, 1000):
        beanstalkd.put("mail", delay=delay)
        beanstalkd.put("sms", delay=delay)
    acted = queue.clear("mail")
    assert (acted.deed, acted.done) == ("deleted", 7)
    assert beanstalkd.count("mail") == NOTHING | {"reserved": 1}
    assert beanstalkd.count("sms") == NOTHING | {"ready": 2, "delayed": 2}


@pytest.mark.parametrize("state", ["ready", "delayed", "buried"])
def test_clear_of_one_state_leaves_the_others(beanstalkd, queue, state):
    buried = beanstalkd.bury_many("mail", 8)
    for job in buried[:4]:  # so that jobs with ids in a row are in different states
        beanstalkd.kick_job(job)
    for delay in (0, 1000) * 4 + (0, 0, 0, 0, 1000, 1000, 1000, 1000):
        beanstalkd.put("mail", delay=delay)
    before = beanstalkd.count("mail")
    assert queue.clear("mail", states=[state]).done == before[state]
    assert beanstalkd.count("mail") == before | {state: 0}


def test_clear_works_on_a_tube_that_is_paused(beanstalkd, queue):
    beanstalkd.put("mail")
    queue.pause("mail", "1h")
    assert queue.clear("mail", states="ready").done == 1


def test_delete_takes_buried_jobs_only_unless_other_states_are_given(beanstalkd, queue):
    ids = beanstalkd.bury_many("mail", 3)
    beanstalkd.put("mail")
    assert queue.delete("mail", count=1).done == 1
    assert not beanstalkd.exists(ids[0])
    assert queue.delete("mail").done == 2
    assert beanstalkd.count("mail") == NOTHING | {"ready": 1}


@pytest.mark.slow
def test_many_jobs_need_no_more_memory_than_a_few(beanstalkd):
    ids = beanstalkd.bury_many("mail", 20_000)
    wait_for(lambda: beanstalkd.stats_job(ids[-1])["age"] >= 1, "beanstalkd counts whole seconds of age")
    queue = QueueManager(beanstalkd.server)
    tracemalloc.start()
    try:
        assert queue.kick("mail", older_than=0.001, count=10_000).done == 10_000
        assert queue.kick("mail").done == 10_000
        assert queue.clear("mail").done == 20_000
        assert tracemalloc.get_traced_memory()[1] < 1_500_000
    finally:
        tracemalloc.stop()
        queue.close()
    assert beanstalkd.count("mail") == NOTHING


def test_stop_while_the_tubes_are_counted_changes_nothing(beanstalkd):
    beanstalkd.bury("mail", 1)
    acted = Acting(beanstalkd.server, choose(None, all_tubes=True), "kicked", stop=lambda: True).run()
    assert (acted.done, acted.stopped) == (0, "asked")
    acted = Acting(beanstalkd.server, choose("mail"), "kicked", stop=lambda: True, dry_run=True).run()
    assert (acted.done, acted.stopped) == (0, "asked")


def test_counting_of_all_tubes_shows_how_far_it_is(beanstalkd):
    shown = []

    def show(counted, of):
        shown.append((counted, of))

    def kick():
        return Acting(beanstalkd.server, choose(None, all_tubes=True), "kicked", dry_run=True, show_count=show).run()

    beanstalkd.put("fax")
    assert kick().done == 0
    assert shown == []  # nothing is buried on the whole server, so no tube is asked for
    beanstalkd.bury("mail", 2)
    assert kick().done == 2
    of = shown[0][1]
    assert of >= 2
    assert shown == [(counted, of) for counted in range(1, of + 1)]


NOTHING_KICKED = "0 jobs were kicked"
UNSURE = f"{NOTHING_KICKED}, and up to 3 more, because the last answers were lost"


@pytest.mark.parametrize(
    ("command", "answer", "said"),
    [
        ("use", b"OUT_OF_MEMORY", f"beanstalkd answered OUT_OF_MEMORY; {NOTHING_KICKED}"),
        ("kick", b"OUT_OF_MEMORY", f"beanstalkd answered OUT_OF_MEMORY; {NOTHING_KICKED}"),
        ("use", b"mad", f"the server's answer is not beanstalkd's (USING was expected); {NOTHING_KICKED}"),
        ("kick", b"mad", f"the server's answer is not beanstalkd's (KICKED was expected); {UNSURE}"),
    ],
)
def test_only_a_kick_without_an_answer_may_have_kicked_more(beanstalkd, command, answer, said):
    beanstalkd.bury("mail", 3)
    with closing(Interceptor(beanstalkd.port)) as interceptor:
        interceptor.answers[command] = [answer]
        with QueueManager(interceptor.server) as queue, pytest.raises(BrokenOff) as broken:
            queue.kick("mail")
    assert str(broken.value) == said
    assert broken.value.acted.unsure == (3 if UNSURE in said else 0)
    assert beanstalkd.count("mail") == NOTHING | {"buried": 3}
