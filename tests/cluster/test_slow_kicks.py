"""Kicks at a rate: they keep to it, and stop when their jobs fail again or their annotation goes."""

import time

import pytest


@pytest.fixture
def kicked_slowly(namespace, queue, eventually):
    """Bury so many jobs of a pool, begin to kick them at a rate, and return when that was."""

    def kick(tube, count, rate, **spec):
        queue.bury(tube, count)
        namespace.make_pool("mail", [tube], retry={"delays": []}, **spec)
        eventually(lambda: namespace.status("mail").get("buried") == count, "the jobs are counted")
        began = time.monotonic()
        namespace.kubectl("annotate", "workerpool", "mail", f"kick=all@{rate}/s")
        return began

    return kick


def outcome(namespace):
    """Return what came of a kick that is over, in a message; raises AssertionError while it is under way."""
    condition = namespace.condition("mail", "KickAccepted")
    assert condition["reason"] == "Kicked", condition
    return condition["message"]


def test_slow_kick_keeps_to_its_rate(namespace, queue, kicked_slowly, eventually):
    began = kicked_slowly("ok", 250, 50, replicas=0)
    seen = []

    def is_done():
        seen.append((queue.count("ok")[0], time.monotonic() - began))
        return seen[-1][0] == 250

    eventually(is_done, "all jobs are put back")
    too_fast = [(ready, seconds) for ready, seconds in seen if ready > 50 * (seconds + 1)]
    assert not too_fast, "at most those of a second at once"
    assert eventually(lambda: outcome(namespace), "it is over") == "kick=all@50/s: 250 buried jobs put back (ok 250)"


def test_slow_kick_is_stopped_when_most_of_its_jobs_fail_again(namespace, queue, kicked_slowly, eventually):
    kicked_slowly("fail", 200, 20, replicas=1)
    message = eventually(lambda: outcome(namespace), "it is stopped", 90)
    assert "of the jobs were buried again, and 0 were done" in message
    kicked = namespace.status("mail")["lastKick"]["kicked"]
    assert 10 <= kicked < 200
    eventually(lambda: queue.count("fail") == (0, 0, 0, 200), "all of them are buried")


def test_slow_kick_ends_when_its_annotation_is_removed(namespace, queue, kicked_slowly, eventually):
    kicked_slowly("ok", 200, 10, replicas=0)
    eventually(lambda: queue.count("ok")[0] >= 10, "some are put back")
    namespace.kubectl("annotate", "workerpool", "mail", "kick-")
    message = eventually(lambda: outcome(namespace), "it is over")
    ready, _, _, buried = queue.count("ok")
    why = "the rest was left, because its annotation was removed"
    assert message == f"kick=all@10/s: {ready} buried jobs put back (ok {ready}); {why}"
    assert (ready + buried, buried > 0) == (200, True)
