"""A hundred thousand buried jobs, with as many records as are kept: status, Events and memory stay small."""

import json
from contextlib import closing

import pytest

from tests.support.burials import RECORDS, as_written
from tests.support.operator_processes import process_of
from tubeherd.burials.record import RECORDS_MOST

pytestmark = pytest.mark.home_node("it looks at the memory of the operator's process")
TUBES = [f"tube-{number}" for number in range(50)]


def fill(queue):
    """Bury 100,000 jobs, and put a record for every tenth: in 50 tubes, with 97 errors at 13 places."""
    with closing(queue.client()) as client:
        jobs = [(tube, job) for tube in TUBES for job in client.bury_many(tube, 2000)][::10]
        for number, (tube, job) in enumerate(jobs):
            why = {
                "error": f"Error{number % 97}",
                "place": f"mail.py:{number % 13}",
                "message": f"{number} " + "x" * 490,
            }
            client.put_in(RECORDS, as_written(job, tube=tube, traceback="y" * 4000, **why), priority=65536, ttr=120)
    assert len(jobs) == RECORDS_MOST


def mebibytes(operator):
    """Return how much memory the operator takes that leads."""
    return process_of(operator.lease()["holderIdentity"].partition("_")[0]).memory_full_info().pss / 2**20


def test_hundred_thousand_burials_stay_bounded_also_for_an_operator_that_was_away(
    namespace, queue, operator, eventually
):
    fill(queue)
    before = eventually(lambda: mebibytes(operator), "the operator leads")
    namespace.make_pool("mail", TUBES, replicas=0)
    eventually(lambda: namespace.status("mail").get("burials"), "the status shows reasons")
    status = namespace.status("mail")
    assert (status["buried"], len(status["burials"]), len(status["recentBurials"])) == (100_000, 10, 10)
    assert len(json.dumps(status)) < 32 * 1024
    assert eventually(lambda: len(namespace.event_objects("JobsBuried")) == 6, "five reasons and one for the rest")
    assert mebibytes(operator) - before < 64

    operator.stop()
    try:
        namespace.kubectl("annotate", "workerpool", "mail", "discard=error/Error3")
    finally:
        operator.start()
    eventually(lambda: namespace.status("mail").get("lastDiscard"), "the operator that was away does what was asked")
    assert namespace.status("mail")["lastDiscard"]["deleted"] == len(range(3, RECORDS_MOST, 97))
    namespace.kubectl("annotate", "workerpool", "mail", "discard=all")
    eventually(lambda: namespace.status("mail")["buried"] == 0, "all are deleted", 120)
    eventually(lambda: "burials" not in namespace.status("mail"), "and no reason is shown any more")
    assert mebibytes(operator) < 192, "the chart's limit is 256 MiB"
    assert len(namespace.event_objects("JobsBuried")) == 6, "nothing was reported twice"
