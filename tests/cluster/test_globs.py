"""Pools whose tubes are globs: served, counted, kicked and shown; and what the API server refuses of globs."""

from contextlib import closing

EXECUTORS = """
from tubeherd import Job, executor

@executor("reports.*")
def report(payload, job: Job):
    if job.tube.startswith("reports.bad"):
        raise LookupError(f"no data in {job.tube}")
"""


def tubes(namespace, pool="reports"):
    return {tube["name"]: tube["buried"] for tube in namespace.status(pool).get("tubes", [])}


def kick(namespace, eventually, value, pool="reports"):
    namespace.kubectl("annotate", "workerpool", pool, f"kick={value}")

    def gone():
        return "kick" not in namespace.get("workerpool", pool)["metadata"].get("annotations", {})

    eventually(gone, "the annotation is gone")
    return namespace.status(pool)["lastKick"]


def test_tubes_that_come_later_are_served_shown_and_kicked_by_name_and_by_glob(namespace, queue, eventually):
    namespace.executors(EXECUTORS)
    namespace.make_pool("reports", ["reports.*"], excludeTubes=["reports.test*"], replicas=1, retry={"delays": []})
    namespace.wait_ready("reports")
    eventually(lambda: namespace.status("reports")["tubesTotal"] == 0, "nothing is counted yet")

    queue.put("reports.a", 3)
    eventually(lambda: queue.count("reports.a") == (0, 0, 0, 0), "the jobs of a new tube are done")

    for tube in ("reports.bad1", "reports.bad2", "reports.test1"):
        queue.put(tube, 2)
    eventually(lambda: namespace.status("reports")["buried"] == 4, "the buried jobs are counted")
    shown = tubes(namespace)
    assert {tube: shown[tube] for tube in ("reports.bad1", "reports.bad2")} == {"reports.bad1": 2, "reports.bad2": 2}
    assert queue.count("reports.test1") == (2, 0, 0, 0)
    assert "reports.test1" not in shown
    assert namespace.status("reports")["tubesTotal"] == len(shown)
    eventually(lambda: namespace.status("reports")["burials"], "the status says why", 90)
    assert {group["error"] for group in namespace.status("reports")["burials"]} == {"LookupError"}

    queue.bury("reports.test2", 1)
    one = kick(namespace, eventually, "reports.bad1:1")
    assert (one["kicked"], [tube["name"] for tube in one["tubes"]]) == (1, ["reports.bad1"])
    both = kick(namespace, eventually, "reports.bad?:all")
    assert {tube["name"] for tube in both["tubes"]} == {"reports.bad1", "reports.bad2"}
    kick(namespace, eventually, "reports.test2:all")
    assert namespace.condition("reports", "KickAccepted")["reason"] == "BadKick"
    assert queue.count("reports.test2") == (0, 0, 0, 1)


def test_too_many_tubes_are_bounded_and_a_condition_says_so(namespace, queue, eventually):
    with closing(queue.client()) as client:
        for number in range(150):
            client.put_in(f"few.{number:04}")
        for number in range(2100):
            client.put_in(f"many.{number:04}")
        client.watch("many.0007")
        client.bury(client.reserve_job(client.put_in("many.0007")))
    namespace.make_pool("few", ["few.*"], replicas=0)
    namespace.make_pool("many", ["many.*"], excludeTubes=["many.0000"], replicas=0)

    eventually(lambda: namespace.condition("few", "TubesLeftOut")["reason"] == "NotAllShown", "it says so")
    status = namespace.status("few")
    assert (status["tubesTotal"], status["ready"], len(status["tubes"])) == (150, 150, 100)

    eventually(lambda: namespace.condition("many", "TubesLeftOut")["reason"] == "NotAllCounted", "it says so")
    status = namespace.status("many")
    assert (status["tubesTotal"], status["ready"], status["buried"], len(status["tubes"])) == (2000, 2000, 1, 100)
    assert status["tubes"][0]["name"] == "many.0007"
    assert namespace.condition("many", "TubesLeftOut")["message"].startswith("2099 tubes match")
    eventually(lambda: namespace.events("NotAllCounted"), "an Event says so too")
    done = kick(namespace, eventually, "all", pool="many")
    assert [(tube["name"], tube["kicked"]) for tube in done["tubes"]] == [("many.0007", 1)]


BAD = [
    ({"tubes": ["a b*"]}, "spec.tubes[0]", "write the name of a tube or a glob"),
    ({"tubes": ["[ab]*"]}, "spec.tubes[0]", "write the name of a tube or a glob"),
    ({"tubes": ["*" * 201]}, "spec.tubes[0]", "Too long"),
    ({"tubes": ["tubeherd.*"]}, "spec.tubes[0]", "reserved"),
    ({"tubes": ["reports.*", "reports.*"]}, "spec.tubes[1]", "Duplicate"),
    ({"excludeTubes": ["tubeherd.burials"]}, "spec.excludeTubes[0]", "reserved"),
    ({"excludeTubes": []}, "spec.excludeTubes", "at least 1 item"),
    ({"excludeTubes": [f"t{number}" for number in range(65)]}, "spec.excludeTubes", "at most 64"),
    ({"tubes": ["mail"], "excludeTubes": ["mail"]}, "spec", "so no tube is left"),
    ({"tubes": ["mail"], "command": {"reports.*": "true"}}, "spec", "each tube of command must be among tubes"),
]


def test_bad_globs_are_refused(namespace):
    for spec, field, reason in BAD:  # in one namespace, because to make one takes longer than a refusal
        refusal = namespace.refusal(namespace.pool_object("bad", {"tubes": ["reports.*"], **spec}))
        assert field in refusal, spec
        assert reason in refusal, spec
