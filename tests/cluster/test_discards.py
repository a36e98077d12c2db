"""Discards: buried jobs are deleted by the annotation, and no others."""

EXECUTORS = """
from tubeherd import executor

@executor("mail")
def mail(payload):
    raise {"ann": KeyError, "bob": ValueError, "eve": ConnectionRefusedError}[payload["to"]]("no such customer")
"""


def test_jobs_are_discarded_by_error_and_by_id_and_the_status_says_so(namespace, queue, eventually):
    namespace.executors(EXECUTORS)
    namespace.make_pool("mail", ["mail"], replicas=1, retry={"delays": []})
    namespace.wait_ready("mail")
    client = queue.client()
    jobs = [client.put_in("mail", b'{"to": "%b"}' % to) for to in (b"ann", b"bob", b"eve", b"ann", b"bob")]
    eventually(lambda: queue.count("mail") == (0, 0, 0, 5), "the jobs are buried")
    eventually(
        lambda: errors(namespace) == {"KeyError": 2, "ValueError": 2, "ConnectionRefusedError": 1}, "and why", 60
    )
    namespace.make_pool("mail", ["mail"], replicas=0, retry={"delays": []})
    eventually(lambda: not namespace.find("pods", "tubeherd.io/pool=mail"), "nobody takes the jobs")
    queue.put("mail", 1, delay=600)

    annotate(namespace, eventually, "discard=error/OSError")
    refusal = namespace.condition("mail", "DiscardAccepted")
    assert (refusal["status"], refusal["reason"]) == ("False", "BadDiscard")
    assert "known errors: ValueError, KeyError, ConnectionRefusedError; nothing was deleted" in refusal["message"]
    annotate(namespace, eventually, "discard=mail:error/ValueError")
    assert queue.count("mail") == (0, 0, 1, 3)
    last = namespace.status("mail")["lastDiscard"]
    assert (last["value"], last["deleted"], last["unsure"], last["skipped"]) == ("mail:error/ValueError", 2, 0, 0)
    annotate(namespace, eventually, f"discard=job/{jobs[2]}")
    annotate(namespace, eventually, f"kick=job/{jobs[0]}", "discard=all")
    assert queue.count("mail") == (1, 0, 1, 0), "first the kick, and of what is left only what is buried"
    eventually(lambda: errors(namespace) == {}, "the status shows no reason of jobs that are gone", 60)

    described = namespace.kubectl("describe", "wp", "mail").stdout
    for said in (
        "discard=mail:error/ValueError: 2 buried jobs deleted (mail 2)",
        f"discard=job/{jobs[2]}: 1 buried job deleted (mail 1)",
        f"kick=job/{jobs[0]}: 1 buried job put back (mail 1)",
        "discard=all: 1 buried job deleted (mail 1)",
    ):
        assert said in described
    client.close()


def annotate(namespace, eventually, *annotations):
    """Set annotations of the pool, and wait until they are gone and nothing of them is under way."""
    namespace.kubectl("annotate", "workerpool", "mail", *annotations)

    def is_over():
        pool = namespace.get("workerpool", "mail")
        return (
            not pool["metadata"].get("annotations", {}).keys() & {"kick", "discard"} and "request" not in pool["status"]
        )

    eventually(is_over, f"{annotations} are done")


def errors(namespace):
    return {group["error"]: group["count"] for group in namespace.status("mail").get("burials", [])}
