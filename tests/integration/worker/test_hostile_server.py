"""Servers that are no beanstalkd, or a mad one: the worker lives, says what is wrong, and neither hangs nor spins."""

import random
import re
import time

import psutil
import pytest

from tests.support.beanstalkd import NOTHING
from tests.support.executors import WAITING, WAITING_ASYNC
from tests.support.hostile import (
    answering,
    burying_and_going,
    closing,
    closing_at_the_second_reserve,
    one_job,
    without_end,
)
from tests.support.network import free_address
from tests.support.replies import stats_job
from tests.support.waiting import wait_for

RUNNING = """
from traces import note
from tubeherd import executor
@executor("mail")
def mail(payload: dict):
    note(f"ran {payload}")
    if "fail" in payload: raise ValueError("as asked")
"""
RUNNING_ASYNC = RUNNING.replace("def mail", "async def mail")
FLUSHING = """
from tubeherd import events
@events.flush.connect
def flush(reason, count): pass
"""


RANDOM = bytes(byte for byte in random.Random(1).randbytes(3000) if byte not in b"\r\n") + b"\r\n"  # noqa: S311
STRANGE = {
    "http": answering(any=b"HTTP/1.1 400 Bad Request\r\nServer: nginx\r\n\r\n<html>\r\n"),
    "tls": answering(any=b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + RANDOM),
    "smtp": answering(b"220 mail.example.org ESMTP Postfix\r\n", any=b"502 5.5.2 Error: command not recognized\r\n"),
    "random": answering(RANDOM, any=RANDOM),
    "nothing but ends": answering(any=b"\r\n\r\n\r\n"),
    "endless line": without_end(b"x" * 4096),
    "endless zeros": without_end(b"\0" * 4096),
    "answer to another": answering(reserve_with_timeout=b"INSERTED 7\r\n"),
    "no numbers": answering(reserve_with_timeout=b"RESERVED seven two\r\n{}\r\n"),
    "too few": answering(reserve_with_timeout=b"RESERVED 7\r\n"),
    "negative size": answering(reserve_with_timeout=b"RESERVED 7 -2\r\n{}\r\n"),
    "huge size": answering(reserve_with_timeout=b"RESERVED 7 99999999999999\r\n{}\r\n"),
    "longer than said": answering(reserve_with_timeout=b"RESERVED 7 2\r\n{} and more\r\n"),
    "unknown word": answering(reserve_with_timeout=b"MAYBE 7 2\r\n"),
}
REFUSALS = {
    word: answering(**{command: f"{word}\r\n".encode()})
    for command, words in {
        "watch": ["BAD_FORMAT", "UNKNOWN_COMMAND", "OUT_OF_MEMORY"],
        "reserve_with_timeout": ["INTERNAL_ERROR", "DRAINING", "JOB_TOO_BIG"],
    }.items()
    for word in words
}
SENSELESS = {
    "huge id": answering(reserve_with_timeout=b"RESERVED %d 2\r\n{}\r\n" % 2**70, stats_job=stats_job(id=2**70)),
    "negative id": answering(reserve_with_timeout=b"RESERVED -7 2\r\n{}\r\n", stats_job=stats_job(id=-7)),
    "another's id": answering(stats_job=stats_job(id=8)),
    "huge ttr": answering(stats_job=stats_job(ttr=2**70)),
    "negative ttr": answering(stats_job=stats_job(ttr=-1)),
    "negative count": answering(stats_job=stats_job(releases=-1)),
    "no number": answering(stats_job=stats_job(ttr="x")),
    "no statistics": answering(stats_job=b"OK 3\r\nabc\r\n"),
    "refused statistics": answering(stats_job=b"INTERNAL_ERROR\r\n"),
}
CLOSING = {
    "at once": closing(),
    "after a watch": closing("watch"),
    "after a reserve": closing("reserve-with-timeout"),
}


def check_that_it_lives_with(scripts, said, beanstalkd, serve, run_worker, tries=3):
    """Let each slot meet one script after the other, so many times, then a real beanstalkd on the same port."""
    beanstalkd.kill()
    server = serve(*scripts.values(), port=beanstalkd.port)
    slots = len(scripts)
    worker = run_worker(server.server, RUNNING, "--concurrency", str(slots))
    worker.wait_for(lambda: len(server.times) >= tries * slots, f"each slot has tried {tries} times")
    assert len(server.times) <= server.most_connections(slots)
    warnings = [line for line in worker.lines() if line["level"] not in ("info", "debug")]
    assert len(warnings) >= (tries - 1) * slots
    for line in warnings:
        assert line["server"] == server.server
        assert re.fullmatch(rf"(?:{said}); trying again in \d\.\d s", line["event"], re.ASCII), line
    server.close()
    beanstalkd.start()
    beanstalkd.put("mail", b"{}")
    worker.wait_for(lambda: beanstalkd.count("mail") == NOTHING, "the job is done")
    assert worker.notes() == ["ran {}"]
    assert worker.stop() == 0


def test_what_is_no_beanstalkd_is_told_as_such(beanstalkd, serve, run_worker):
    said = r"the server's answer is not beanstalkd's \([A-Za-z -]+ was expected\)"
    check_that_it_lives_with(STRANGE, said, beanstalkd, serve, run_worker)


def test_refusals_and_closed_connections_are_told_in_one_line(beanstalkd, serve, run_worker):
    said = r"beanstalkd (?:answered .{5,40}|closed the connection.{0,50})|the connection to beanstalkd broke: .{5,80}"
    check_that_it_lives_with(REFUSALS | CLOSING, said, beanstalkd, serve, run_worker, tries=5)


def test_what_makes_no_sense_in_a_job_is_asked_less_and_less_often(beanstalkd, serve, run_worker):
    said = r"the server's answer is not beanstalkd's \([A-Za-z -]+ was expected\)|beanstalkd answered .{5,40}"
    check_that_it_lives_with(SENSELESS, said, beanstalkd, serve, run_worker)


def test_answers_that_dribble_are_taken(serve, run_worker):
    server = serve(one_job(pause=0.001))
    worker = run_worker(server.server, RUNNING)
    worker.wait_for_line("deleted", job=7)
    assert worker.notes() == ["ran {}"]
    assert len(server.times) == 1
    assert worker.stop() == 0


PATIENT = """
import random
from tubeherd.queue import wire
wire.REPLY_SECONDS = 3600.0
random.uniform = lambda least, most: 3600.0  # from which the pause is taken
"""
"""Has a slot wait an hour for an answer, and as long until it connects again."""


def test_worker_that_waits_for_an_answer_stops_at_once(serve, run_worker):
    scripts = [
        answering(watch=b""),
        answering(watch=b"WATCHI"),
        answering(reserve_with_timeout=b"RESERVED 7 1073741000\r\nab"),
        answering(stats_job=b""),
        without_end(b"x", pause=0.1),
        without_end(b"x", pause=0.1, after="ignore"),
    ]
    server = serve(*scripts)
    worker = run_worker(server.server, PATIENT + RUNNING, "--concurrency", str(len(scripts)))
    worker.wait_for(lambda: server.commands == 1 + 1 + 3 + 4 + 1 + 2, "each slot waits")
    worker.wait_for(lambda: len(server.times) == len(scripts), "each slot is connected")
    assert worker.stop() == 0
    assert len(server.times) == len(scripts)


def test_answer_that_came_too_early_makes_no_pause_shorter(serve, run_worker):
    server = serve(closing_at_the_second_reserve)
    worker = run_worker(server.server, RUNNING)
    worker.wait_for(lambda: len(server.times) >= 6, "six connections")
    assert server.times[5] - server.times[0] >= 0.05 + 0.1 + 0.2 + 0.4 + 0.8, (
        "the shortest pauses that the jitter allows"
    )
    assert worker.stop() == 0


def test_lane_that_waits_for_its_next_connection_stops_at_once(serve, run_worker):
    server = serve(answering(delete=b"OUT_OF_MEMORY\r\n"))
    worker = run_worker(server.server, PATIENT + RUNNING_ASYNC, "--async-concurrency", "2")
    worker.wait_for_line("beanstalkd answered OUT_OF_MEMORY; trying again in 3600.0 s")
    assert worker.stop() == 0


def test_lanes_that_are_connected_go_on_while_another_cannot_connect(beanstalkd, interceptor, run_worker):
    interceptor.most_connections = 2
    worker = run_worker(interceptor.server, WAITING_ASYNC, "--async-concurrency", "3")
    beanstalkd.put_numbers("mail", 2)
    worker.wait_for(lambda: len(worker.notes()) == 2, "two lanes are connected")
    worker.wait_for_line("beanstalkd closed the connection; trying again in ")
    worker.allow("go")
    worker.wait_for_lines("deleted", 2)  # two lanes are idle
    beanstalkd.put_numbers("mail", 5)
    worker.wait_for_lines("deleted", 7)
    assert worker.stop() == 0


def test_stop_while_leases_are_gone_lets_the_other_lanes_finish(beanstalkd, interceptor, run_worker):
    worker = run_worker(interceptor.server, WAITING_ASYNC, "--async-concurrency", "3")
    job = beanstalkd.put("mail", b"{}")
    worker.wait_for_notes("begun")
    interceptor.answers["stats-job"] = [b"NOT_FOUND"] * 200
    beanstalkd.put_numbers("mail", 200)
    worker.wait_for_line("lease was gone before the job began", job=2)
    worker.ask_to_stop()
    worker.allow("go")
    assert worker.exit_code() == 0
    assert worker.lines("deleted", job=job)
    assert not worker.lines("the slot")


# What it costs


def cpu_seconds(worker):
    """Return the CPU time that the worker has used, ended slots included."""
    supervisor = psutil.Process(worker.process.pid)
    times = [process.cpu_times() for process in (supervisor, *supervisor.children())]
    return sum(it.user + it.system for it in times) + times[0].children_user + times[0].children_system


def wait_until_they_rest(workers, most, asked=lambda: [0]):
    """Wait until for a while each of the workers has used no more than this share of a core, and asked little.

    On a busy machine a worker may still start long after it has asked for the first time; one that spins never rests.
    """

    def rest():
        before, asked_before, begin = [cpu_seconds(worker) for worker in workers], asked(), time.monotonic()
        time.sleep(2)  # the time in which it is measured; nothing is awaited by it
        lasted = time.monotonic() - begin
        shares[:] = [(cpu_seconds(worker) - used) / lasted for worker, used in zip(workers, before, strict=True)]
        shares.append([(now - earlier) / lasted for now, earlier in zip(asked(), asked_before, strict=True)])
        *used, commands = shares
        return max(used) < most and max(commands) < 75

    shares = []
    wait_for(rest, lambda: f"they use these shares of a core, and send so many commands a second: {shares}")


@pytest.mark.slow
def test_worker_without_a_beanstalkd_costs_next_to_nothing(serve, run_worker):
    closes, silent = serve(closing()), serve(answering(watch=b""))
    addresses = [free_address(), "nowhere.invalid", closes.server, silent.server]
    workers = [run_worker(address, RUNNING) for address in addresses]
    for worker in workers[:3]:
        worker.wait_for_line("", level="warning")
    workers[3].wait_for(lambda: silent.commands, "it has asked")
    wait_until_they_rest(workers, 0.02)
    assert len(closes.times) <= closes.most_connections(slots=1)
    assert (len(silent.times), silent.commands) == (1, 1)


def test_burial_in_place_of_a_release_is_told_also_where_the_server_goes_after_it(serve, run_worker):
    failing = """
    from tubeherd import events, executor
    from traces import note
    @executor("mail")
    def mail(payload: bytes): raise ValueError("no paper")
    @events.job_buried.connect
    def heard(job, reason, **_): note(f"heard {reason}")
    """
    worker = run_worker(serve(burying_and_going).server, failing)
    worker.wait_for_line("buried by beanstalkd, which is out of memory", reason="ValueError: no paper")
    worker.wait_for_notes("heard ValueError: no paper")


@pytest.mark.slow
def test_server_that_answers_at_once_makes_no_slot_spin(serve, run_worker):
    refused = one_job(delete=b"OUT_OF_MEMORY\r\n")
    runs = [
        (answering(reserve_with_timeout=b"DEADLINE_SOON\r\n"), RUNNING, []),
        (answering(reserve_with_timeout=b"TIMED_OUT\r\n"), RUNNING, []),
        (answering(stats_job=b"NOT_FOUND\r\n"), RUNNING, []),
        (answering(stats_job=b"NOT_FOUND\r\n"), RUNNING_ASYNC, ["--async-concurrency", "2"]),
        (refused, RUNNING + FLUSHING, ["--ack-after-flush"]),
        (refused, RUNNING_ASYNC + FLUSHING, ["--ack-after-flush", "--async-concurrency", "2"]),
    ]
    servers = [serve(script) for script, _, _ in runs]
    workers = [
        run_worker(server.server, executors, *options)
        for server, (_, executors, options) in zip(servers, runs, strict=True)
    ]
    for worker, server in zip(workers, servers, strict=True):
        worker.wait_for(lambda server=server: server.commands > 2, "it has asked")
    wait_until_they_rest(workers, 0.05, lambda: [server.commands for server in servers])
    assert all(len(server.times) <= server.most_connections(slots=2) for server in servers)
    assert [worker.stop() for worker in workers] == [0] * len(workers)


# Verdicts that are refused


@pytest.mark.parametrize(
    ("executors", "options"),
    [(RUNNING, []), (RUNNING + FLUSHING, ["--ack-after-flush"])],
    ids=["at once", "after flush"],
)
def test_pause_is_short_again_once_a_verdict_was_carried_out(beanstalkd, interceptor, run_worker, executors, options):
    worker = run_worker(interceptor.server, executors, *options)
    for _ in range(4):
        interceptor.answers["delete"] = [b"OUT_OF_MEMORY"]
        worker.wait_for_line("deleted", job=beanstalkd.put("mail", b"{}"))
    pauses = worker.lines("beanstalkd answered OUT_OF_MEMORY; trying again in ")
    assert [line["event"].rpartition(" in ")[2] for line in pauses] == ["0.1 s"] * 4
    assert worker.stop() == 0


def test_verdict_that_is_refused_is_told_and_loses_no_job(beanstalkd, interceptor, run_worker):
    worker = run_worker(interceptor.server, RUNNING, "--retry-delays", "1h")
    cases = [("delete", b"{}", NOTHING), ("release", b'{"fail": 1}', NOTHING | {"delayed": 1})]
    cases += [("bury", b"[]", NOTHING | {"buried": 1})]
    for refusal in ("OUT_OF_MEMORY", "INTERNAL_ERROR"):
        for command, body, left in cases:
            interceptor.answers[command] = [refusal.encode()]
            job = beanstalkd.put("mail", body)
            worker.wait_for(lambda command=command: not interceptor.answers[command], f"{command} is refused")
            worker.wait_for(lambda left=left: beanstalkd.count("mail") == left, f"{command} works the second time")
            worker.wait_for_line("executed, but its verdict was lost: it may run again", job=job)
            assert any(refusal in line["event"] for line in worker.lines("beanstalkd answered"))
            if left != NOTHING:
                beanstalkd.delete(job)
    assert worker.stop() == 0


def test_delete_that_is_answered_as_a_burial_loses_no_job(beanstalkd, interceptor, run_worker):
    worker = run_worker(interceptor.server, RUNNING)
    interceptor.answers["delete"] = [b"BURIED"]
    job = beanstalkd.put("mail", b"{}")
    worker.wait_for(lambda: not interceptor.answers["delete"], "the delete is answered")
    worker.wait_for(lambda: beanstalkd.count("mail") == NOTHING, "the job ran again, and was deleted")
    assert worker.notes() == ["ran {}", "ran {}"]
    worker.wait_for_line("deleted", job=job)
    assert len(worker.lines("deleted", job=job)) == 1
    assert worker.stop() == 0


def test_lease_that_was_gone_at_once_costs_no_job_that_is_held_back(beanstalkd, interceptor, run_worker):
    held_up = RUNNING.replace("import note", "import note, wait_for") + "    wait_for('go')\n" + FLUSHING
    worker = run_worker(interceptor.server, held_up, "--ack-after-flush")
    held_back = beanstalkd.put("mail", b"{}")
    worker.wait_for_notes("ran {}")
    interceptor.answers["stats-job"] = [b"NOT_FOUND"]
    gone = beanstalkd.put("mail", b"{}")
    worker.allow("go")
    worker.wait_for_line("deleted", job=held_back)
    assert worker.lines("lease was gone before the job began", job=gone)
    assert not worker.lines("executed, but")
    assert len(worker.lines("connected")) == 1
    assert worker.stop() == 0


def test_verdict_on_a_lease_that_is_said_to_be_gone_loses_no_job(beanstalkd, interceptor, run_worker):
    worker = run_worker(interceptor.server, RUNNING)
    interceptor.answers["delete"] = [b"NOT_FOUND"]
    job = beanstalkd.put("mail", b"{}")
    worker.wait_for_line("lease was gone", job=job)
    assert not worker.lines("deleted")
    assert beanstalkd.count("mail") == NOTHING | {"reserved": 1}
    assert worker.stop() == 0
    worker.wait_for(lambda: beanstalkd.count("mail") == NOTHING | {"ready": 1}, "the job is back")


def test_release_that_beanstalkd_answers_with_a_burial_is_told_as_one(beanstalkd, interceptor, run_worker):
    """So it does where it has no memory for the delayed jobs; here a real bury takes the place of the release."""
    worker = run_worker(interceptor.server, RUNNING)
    interceptor.others["release"] = lambda line: b"bury %b %b\r\n" % tuple(line.split()[1:3])
    job = beanstalkd.put("mail", b'{"fail": 1}')
    worker.wait_for(lambda: beanstalkd.count("mail") == NOTHING | {"buried": 1}, "the job is buried")
    worker.wait_for(lambda: worker.lines("", job=job), "it is told")
    (line,) = worker.lines("", job=job)
    assert "buried" in line["event"]
    assert line["reason"] == "ValueError: as asked"
    assert worker.stop() == 0


HEARING = """
import os
from traces import note, wait_for
from tubeherd import Job, events, executor
@executor("mail")
def mail(payload: dict, job: Job):
    note(f"ran {payload}")
    if payload.get("die"): os._exit(9)
    if payload.get("fail"): raise ValueError("as asked")
@events.job_buried.connect
def buried(job, error, reason, attempts):
    note(f"buried: {reason}")
    wait_for("go")
"""


@pytest.mark.slow
def test_burial_in_place_of_a_release_is_told_to_the_listeners_while_the_next_lease_is_kept(
    beanstalkd, interceptor, run_worker
):
    interceptor.others["release"] = lambda line: b"bury %b %b\r\n" % tuple(line.split()[1:3])
    beanstalkd.put("mail", b'{"fail": 1}')
    job = beanstalkd.put("mail", b"{}", ttr=4)
    worker = run_worker(interceptor.server, HEARING, "--job-timeout", "1h")  # it counts while the listener runs
    worker.wait_for_notes("buried: ValueError: as asked")
    touched = []
    interceptor.others["touch"] = lambda line: touched.append(line) or line
    worker.wait_for(lambda: len(touched) == 2, "the lease of the next job is touched when half of it is gone, twice")
    assert beanstalkd.stats_job(job)["state"] == "reserved"
    worker.allow("go")
    worker.wait_for_line("deleted", job=job)
    assert worker.notes() == ["ran {'fail': 1}", "buried: ValueError: as asked", "ran {}"]
    assert worker.stop() == 0


def test_burial_in_place_of_a_dead_slots_release_is_told_in_the_next_slot(beanstalkd, interceptor, run_worker):
    interceptor.others["release"] = lambda line: b"bury %b %b\r\n" % tuple(line.split()[1:3])
    beanstalkd.put("mail", b'{"die": 1}')
    worker = run_worker(interceptor.server, HEARING)
    worker.allow("go")
    worker.wait_for_notes("buried: the slot died: exit code 9")
    assert worker.stop() == 0


def test_touch_that_is_refused_is_told_and_loses_no_job(beanstalkd, interceptor, run_worker):
    interceptor.answers["touch"] = [b"OUT_OF_MEMORY", b"BURIED x", b"RELEASED"]
    jobs = [beanstalkd.put("mail", b"{}", ttr=2) for _ in range(3)]
    worker = run_worker(interceptor.server, WAITING, "--concurrency", "3")
    worker.wait_for_lines("cannot keep the lease", 3)
    told = "".join(line["event"] for line in worker.lines("cannot keep the lease"))
    assert "OUT_OF_MEMORY" in told
    assert told.count("the server's answer is not beanstalkd's") == 2
    worker.allow("go")
    worker.wait_for(lambda: {line["job"] for line in worker.lines("deleted")} == set(jobs), "the jobs are done")
    assert beanstalkd.count("mail") == NOTHING
    assert worker.stop() == 0


def test_verdict_on_the_job_of_a_dead_slot_that_is_refused_is_told(beanstalkd, interceptor, run_worker):
    worker = run_worker(interceptor.server, WAITING)
    job = beanstalkd.put("mail", b"{}")
    worker.wait_for_notes("begun {} attempt 1 lost 0")
    interceptor.answers["stats-job"] = [b"INTERNAL_ERROR"]
    worker.kill_slot()
    line = worker.wait_for_line("the slot died, and the verdict on its job was lost", job=job)
    assert "INTERNAL_ERROR" in line["event"]
    worker.allow("go")
    worker.wait_for(lambda: beanstalkd.count("mail") == NOTHING, "the job is done")
    assert worker.stop() == 0
