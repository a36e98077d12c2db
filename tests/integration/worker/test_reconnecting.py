"""Connections that are cut, go silent or lead to something else than beanstalkd: the worker neither hangs nor spins."""

import socket

import pytest

from tests.support.beanstalkd import NOTHING
from tests.support.executors import NOTING, WAITING
from tests.support.hostile import answering, closing
from tests.support.network import free_port


def test_worker_starts_without_beanstalkd_and_finds_it_later(beanstalkd, run_worker):
    beanstalkd.put_numbers("mail", 3)
    beanstalkd.kill()
    worker = run_worker(beanstalkd.server, WAITING)
    line = worker.wait_for_line("cannot reach beanstalkd")
    assert line["event"].startswith(f"cannot reach beanstalkd at {beanstalkd.server}: Connection refused; trying again")
    beanstalkd.start()
    worker.allow("go")
    worker.wait_for(lambda: beanstalkd.count("mail") == NOTHING, "all are done")
    assert [note for note in worker.notes() if note.startswith("done")] == ["done 0", "done 1", "done 2"]
    assert worker.stop() == 0


@pytest.mark.slow
def test_lane_warns_only_now_and_then_that_beanstalkd_is_out_of_reach(beanstalkd, run_worker):
    beanstalkd.kill()
    rarely = "from tubeherd.slot import slot\nslot._QUIET_SECONDS = 36000.0\n"
    worker = run_worker(beanstalkd.server, rarely + WAITING, "--log-level", "debug")
    worker.wait_for(lambda: len(worker.lines("cannot reach beanstalkd")) >= 3, "three attempts")
    assert [line["level"] for line in worker.lines("cannot reach beanstalkd")][:3] == ["warning", "debug", "debug"]
    for _ in range(2):
        beanstalkd.start()
        worker.wait_for(lambda: beanstalkd.waiting("mail"), "it waits")
        before = len(worker.lines("cannot reach beanstalkd", level="warning"))
        beanstalkd.kill()
        worker.wait_for_lines("cannot reach beanstalkd", before + 1, level="warning")
    assert worker.stop() == 0


def test_idle_connection_that_is_cut_is_opened_again_for_the_same_tubes(beanstalkd, run_worker):
    worker = run_worker(
        beanstalkd.server,
        """
        from traces import note
        from tubeherd import executor
        for tube in ("mail", "news", "never"):
            executor(tube)(lambda payload, tube=tube: note(f"{tube} {payload}"))
        """,
        "--exclude", "never",
    )  # fmt: skip
    worker.wait_for(lambda: beanstalkd.waiting("news"), "it waits")
    beanstalkd.kill()
    beanstalkd.start()
    worker.wait_for(lambda: beanstalkd.waiting("news"), "it waits")
    worker.wait_for_lines("connected", 2)
    for tube in ("default", "never", "mail", "news"):
        beanstalkd.put(tube, "1")
    worker.wait_for_notes("mail 1", "news 1")
    assert beanstalkd.count("default") == beanstalkd.count("never") == NOTHING | {"ready": 1}
    assert worker.stop() == 0


@pytest.mark.parametrize("direction", ["in", "out"])
def test_connections_cut_at_every_stage_lose_no_job(beanstalkd, proxy, run_worker, direction):
    """One connection after the other is cut, each some bytes later: in a watch, reserve, stats-job, delete, answer."""
    total = 40
    beanstalkd.put_numbers("mail", total)
    step = 11 if direction == "out" else 53
    # The first back-off is short, but it grows while no reserve comes through: so each third connection is left whole
    # until it has got a job.
    for number in range(1, 46):
        proxy.cut[number] = (direction, 150 + step * number if number % 3 == 0 else step * number)
    worker = run_worker(
        proxy.server,
        NOTING,
        "--max-lost-deliveries", "0", "--concurrency", "3",
    )  # fmt: skip
    worker.wait_for(lambda: beanstalkd.count("mail") == NOTHING, "all are done")
    assert {int(note) for note in worker.notes()} == set(range(total))
    assert proxy.connections > 5
    assert worker.stop() == 0


@pytest.mark.slow
def test_verdict_whose_answer_never_comes(beanstalkd, proxy, run_worker):
    """The other side holds the connection open and says nothing more: noticed, logged, and left behind.

    So is, after 5 s, a peer of the health server that asks for nothing.
    """
    beanstalkd.put_numbers("mail", 2)
    port = free_port()
    worker = run_worker(proxy.server, WAITING, "--health", f"127.0.0.1:{port}")
    worker.wait_for(worker.notes, "the job runs")
    peer = socket.create_connection(("127.0.0.1", port), 1)
    proxy.silent.add(1)
    worker.allow("go")
    worker.wait_for_line("executed, but its verdict was lost")
    worker.wait_for_line("beanstalkd gave no answer within 10 s; trying again in 0.")
    with peer:
        assert peer.recv(1) == b""
    worker.wait_for(lambda: beanstalkd.count("mail") == NOTHING, "both are done")
    # The delete had reached beanstalkd, and so had the reserve of the next job.
    assert [note for note in worker.notes() if note.startswith("done")] == ["done 0", "done 1"]
    assert worker.notes()[2] == "begun 1 attempt 1 lost 1"
    assert worker.stop() == 0


def test_slot_killed_while_the_answer_to_a_command_is_out(beanstalkd, proxy, run_worker):
    beanstalkd.put_numbers("mail", 2)
    worker = run_worker(proxy.server, WAITING)
    worker.wait_for(worker.notes, "the job runs")
    proxy.silent.add(1)
    worker.allow("go")
    worker.wait_for(lambda: beanstalkd.count("mail")["reserved"] == 1 and len(worker.notes()) == 2, "a reserve is out")
    worker.wait_for(lambda: beanstalkd.stats()["cmd-delete"] == 1, "the first job is deleted")
    worker.kill_slot()
    worker.wait_for_notes("begun 1 attempt 1 lost 1", "done 1")
    worker.wait_for(lambda: beanstalkd.count("mail") == NOTHING, "both are done")
    assert worker.lines("the slot died: signal 9 (SIGKILL)", phase="command")
    assert worker.notes().count("done 0") == 1
    assert worker.stop() == 0


@pytest.mark.parametrize(
    ("script", "line"),
    [
        (closing(), ""),
        (
            answering(any=b"HTTP/1.1 400 Bad Request\r\n\r\n"),
            "the server's answer is not beanstalkd's (WATCHING was expected)",
        ),
        (answering(any=b"INTERNAL_ERROR\r\n"), "beanstalkd answered INTERNAL_ERROR"),
        (answering(any=b"WATCHING 1\r\n"), "the server's answer is not beanstalkd's (RESERVED was expected)"),
    ],
    ids=["closes", "http", "internal-error", "reserve"],
)
def test_server_that_is_no_beanstalkd_is_asked_less_and_less_often(serve, run_worker, script, line):
    server = serve(script)
    worker = run_worker(server.server, WAITING)
    worker.wait_for(lambda: len(server.times) >= 4, "four connections")
    begin, *_, end = server.times[:4]
    assert end - begin >= 0.05 + 0.1 + 0.2  # the shortest pauses that the jitter allows
    first = worker.lines(line, level="warning")[0]["event"]
    assert "; trying again in 0.1 s" in first
    assert not worker.lines("the slot")
    assert len(server.times) <= server.most_connections(slots=1)
    assert worker.stop() == 0
