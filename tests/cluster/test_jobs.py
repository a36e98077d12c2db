"""Jobs that fail, as the pool's status shows them; kicks; a memory limit; a server that goes and comes back."""

import time

import pytest


def counts(status):
    return tuple(status[state] for state in ("ready", "reserved", "delayed", "buried"))


@pytest.fixture
def pool(namespace, eventually):
    """Make a pool without pods whose tubes are counted, so that jobs stay as the test puts them."""

    def make(*tubes):
        namespace.make_pool("mail", list(tubes), replicas=0)
        eventually(lambda: "buried" in namespace.status("mail"), "the tubes are counted", 20)

    return make


@pytest.fixture
def kick(namespace, eventually):
    """Set the kick annotation, wait until it was dealt with and return the status."""

    def annotate(value):
        namespace.kubectl("annotate", "workerpool", "mail", f"kick={value}")
        eventually(lambda: not is_annotated(namespace), "the annotation is gone", 15)
        return namespace.status("mail")

    return annotate


def is_annotated(namespace):
    return "kick" in namespace.get("workerpool", "mail")["metadata"].get("annotations", {})


def kicked(status):
    return {tube["name"]: tube["kicked"] for tube in status["lastKick"]["tubes"] if tube["kicked"]}


def test_job_that_fails_twice_is_buried_and_counted_within_five_seconds(namespace, queue, eventually):
    namespace.make_pool("mail", ["fail"], replicas=1, retry={"delays": ["1s"]})
    namespace.wait_ready("mail")
    queue.put("fail", 3)
    eventually(lambda: queue.count("fail") == (0, 0, 0, 3), "the jobs are buried", 30)
    buried_at = time.monotonic()
    eventually(lambda: namespace.status("mail")["buried"] == 3, "the status shows it", 10)
    assert time.monotonic() - buried_at < 5
    (tube,) = namespace.status("mail")["tubes"]
    assert (tube["name"], tube["buried"]) == ("fail", 3)
    shown = namespace.kubectl("get", "wp", "mail").stdout
    assert "BURIED" in shown
    assert " 3 " in shown


def test_kick_all_puts_buried_jobs_back_and_no_delayed_one(namespace, queue, pool, kick, eventually):
    pool("ok", "other")
    queue.bury("ok", 3)
    queue.bury("other", 2)
    queue.put("ok", 4, delay=3600)
    queue.put("empty", 1, delay=3600)
    status = kick("all")
    assert queue.count("ok") == (3, 0, 4, 0)
    assert queue.count("other") == (2, 0, 0, 0)
    assert queue.count("empty") == (0, 0, 1, 0)
    assert status["lastKick"]["value"] == "all"
    assert status["lastKick"]["kicked"] == 5
    assert kicked(status) == {"ok": 3, "other": 2}
    (event,) = eventually(lambda: namespace.events("Kicked"), "an event has the counts", 10)
    assert "ok 3" in event
    assert "other 2" in event
    eventually(lambda: namespace.status("mail")["buried"] == 0, "nothing is buried in the status", 5)


def test_kick_all_with_nothing_buried_promotes_no_delayed_job(queue, pool, kick):
    pool("ok")
    queue.put("ok", 4, delay=3600)
    assert kick("all")["lastKick"]["kicked"] == 0
    assert queue.count("ok") == (0, 0, 4, 0)


def test_kick_of_a_number_is_that_many_in_all(queue, pool, kick):
    pool("ok", "other")
    queue.bury("ok", 3)
    queue.bury("other", 3)
    queue.put("ok", 4, delay=3600)
    assert sum(kicked(kick("4")).values()) == 4
    assert queue.count("ok")[3] + queue.count("other")[3] == 2
    assert queue.count("ok")[2] == 4
    assert sum(kicked(kick("9999999999")).values()) == 2


def test_kick_of_one_tube(queue, pool, kick):
    pool("ok", "other")
    queue.bury("ok", 3)
    queue.bury("other", 3)
    assert kicked(kick("other:2")) == {"other": 2}
    assert queue.count("ok") == (0, 0, 0, 3)
    assert queue.count("other") == (2, 0, 0, 1)
    assert kicked(kick("ok:all")) == {"ok": 3}


def test_same_kick_again_kicks_again(queue, pool, kick):
    pool("ok")
    for _ in range(3):
        queue.bury("ok", 1)
        assert kicked(kick("all")) == {"ok": 1}


@pytest.mark.parametrize("value", ["0", "-1", "many", "ok:", "ok:0", "nobody:all", "1.5", "ok:all:all"])
def test_bad_kick_is_said_and_kicks_nothing(namespace, queue, pool, kick, eventually, value):
    pool("ok")
    queue.bury("ok", 2)
    status = kick(value)
    assert queue.count("ok") == (0, 0, 0, 2)
    assert "lastKick" not in status
    condition = namespace.condition("mail", "KickAccepted")
    assert condition["status"] == "False"
    assert f"kick={value!r}" in condition["message"]
    assert eventually(lambda: namespace.events(condition["reason"]), "a warning event", 10)


def test_kick_set_while_the_operator_is_down_is_carried_out_once(namespace, queue, operator, pool, eventually):
    pool("ok")
    queue.bury("ok", 5)
    operator.stop()
    try:
        namespace.kubectl("annotate", "workerpool", "mail", "kick=2")
    finally:
        operator.start()
    eventually(lambda: not is_annotated(namespace), "the annotation is gone", 15)
    assert queue.count("ok") == (2, 0, 0, 3)
    assert kicked(namespace.status("mail")) == {"ok": 2}
    assert namespace.condition("mail", "KickAccepted")["status"] == "True"


def test_kick_waits_for_a_server_out_of_reach(namespace, queue, pool, eventually):
    pool("ok")
    queue.stop()
    eventually(lambda: namespace.condition("mail", "ServerReachable")["status"] == "False", "the condition says so", 20)
    namespace.kubectl("annotate", "workerpool", "mail", "kick=all")
    eventually(lambda: "kick=all waits" in namespace.condition("mail", "KickAccepted")["message"], "it waits", 20)
    assert namespace.get("workerpool", "mail")["metadata"]["annotations"]["kick"] == "all"
    queue.start()
    eventually(lambda: namespace.status("mail")["lastKick"]["value"] == "all", "it was carried out", 30)
    assert namespace.condition("mail", "KickAccepted")["status"] == "True"
    eventually(lambda: namespace.condition("mail", "ServerReachable")["status"] == "True", "the condition says so", 20)


def test_kick_taken_back_while_it_waits_is_forgotten(namespace, queue, pool, eventually):
    pool("ok")
    queue.stop()
    eventually(lambda: namespace.condition("mail", "ServerReachable")["status"] == "False", "the condition says so", 20)
    namespace.kubectl("annotate", "workerpool", "mail", "kick=all")
    eventually(lambda: namespace.condition("mail", "KickAccepted"), "it waits", 20)
    namespace.kubectl("annotate", "workerpool", "mail", "kick-")

    def forgotten():
        return "KickAccepted" not in {condition["type"] for condition in namespace.status("mail")["conditions"]}

    eventually(forgotten, "the condition is gone", 10)
    queue.start()
    queue.bury("ok", 1)
    eventually(lambda: namespace.status("mail")["buried"] == 1, "the tubes are counted again", 30)
    assert queue.count("ok") == (0, 0, 0, 1)


def test_job_over_its_memory_is_retried_then_buried_and_the_container_lives(namespace, queue, eventually):
    namespace.make_pool("mail", ["hog"], replicas=1, memoryLimit="128Mi", retry={"delays": ["1s"]})
    namespace.wait_ready("mail")
    queue.put("hog")
    eventually(lambda: queue.count("hog") == (0, 0, 0, 1), "the job is buried", 60)
    with_stats = queue.client()
    stats = with_stats.stats_job(_buried_id(with_stats))
    with_stats.close()
    assert stats["releases"] == 1, "it was retried once"
    (pod,) = namespace.find("pods", "tubeherd.io/pool=mail")
    assert pod["status"]["containerStatuses"][0]["restartCount"] == 0
    assert pod["status"]["containerStatuses"][0]["ready"] is True


def _buried_id(client):
    client.use("hog")
    return client.peek_buried().id
