"""Why jobs are buried, in a pool's status and Events."""

EXECUTORS = """
from tubeherd import executor

@executor("mail")
def mail(payload):
    raise ConnectionRefusedError("the mail server is down")

@executor("report")
def report(payload: dict):
    payload["customer"]
"""


def errors(namespace):
    return {group["error"]: group["count"] for group in namespace.status("mail").get("burials", [])}


def test_status_and_events_say_why_jobs_are_buried_and_an_operator_that_was_away_catches_up(
    namespace, queue, operator, eventually
):
    namespace.executors(EXECUTORS)
    namespace.make_pool("mail", ["mail", "report"], replicas=1, retry={"delays": []})
    namespace.wait_ready("mail")
    queue.put("mail", 3)
    eventually(lambda: queue.count("mail")[3] == 3, "the jobs are buried")
    eventually(lambda: errors(namespace) == {"ConnectionRefusedError": 3}, "the status shows why", 90)

    (group,) = namespace.status("mail")["burials"]
    (pod,) = namespace.find("pods", "tubeherd.io/pool=mail")
    (recent, *others) = namespace.status("mail")["recentBurials"]
    assert (group["tube"], group["kind"], group["place"]) == ("mail", "exception", "jobs.py:6")
    assert group["message"] == "ConnectionRefusedError: the mail server is down"
    assert recent["job"] == group["job"]
    assert recent["worker"] == pod["metadata"]["name"]
    assert len(others) == 2
    assert "ConnectionRefusedError" in namespace.kubectl("get", "wp", "mail", "-o", "wide").stdout
    (event,) = eventually(lambda: namespace.events("JobsBuried"), "an Event says why")
    assert event == "jobs of tube mail are buried: ConnectionRefusedError at jobs.py:6: the mail server is down"
    assert event in namespace.kubectl("describe", "wp", "mail").stdout

    operator.stop()
    try:
        queue.put("report", 2)
        eventually(lambda: queue.count("report")[3] == 2, "more jobs are buried meanwhile")
    finally:
        operator.start()
    eventually(lambda: errors(namespace) == {"ConnectionRefusedError": 3, "KeyError": 2}, "the status has all", 90)
    eventually(lambda: len(namespace.event_objects("JobsBuried")) == 2, "and the new reason has an Event")
    assert {found["count"] for found in namespace.event_objects("JobsBuried")} == {1}, "nothing is reported twice"
