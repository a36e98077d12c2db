"""/healthz tells that the supervisor is alive, /readyz that a slot is connected, /metrics what became of jobs."""

import http.client
import resource
import selectors
import signal
import socket
import tempfile
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.beanstalkd import NOTHING
from tests.support.executors import CODE, WAITING, WAITING_ASYNC
from tests.support.waiting import PATIENCE, wait_for
from tubeherd.supervisor.health import HealthServer

IN_TURN = 15
"""Seconds; to wait for the answers about LANES leases in turn, up to a second for each, would take longer."""
LANES = 30


def get(address, path, method="GET", seconds=PATIENCE):
    connection = http.client.HTTPConnection(address, timeout=seconds)
    try:
        connection.request(method, path)
        response = connection.getresponse()
        return response.status, response.read().decode()
    except ConnectionRefusedError:
        return 0, ""
    finally:
        connection.close()


def test_ready_only_while_connected(beanstalkd, run_worker, address):
    beanstalkd.kill()
    worker = run_worker(beanstalkd.server, WAITING, "--health", address)
    worker.wait_for_line("cannot reach beanstalkd")
    assert get(address, "/healthz") == (200, "ok\n")
    assert get(address, "/readyz") == (503, "no slot is connected to beanstalkd\n")
    beanstalkd.start()
    worker.wait_for(lambda: get(address, "/readyz") == (200, "ok\n"), "ready")
    beanstalkd.kill()
    worker.wait_for(lambda: get(address, "/readyz")[0] == 503, "not ready")
    assert get(address, "/healthz")[0] == 200
    beanstalkd.start()
    worker.wait_for(lambda: get(address, "/readyz")[0] == 200, "ready again")
    assert get(address, "/metrics-of-another")[0] == 404
    assert get(address, "/healthz", "POST")[0] == 404
    assert worker.stop() == 0
    assert get(address, "/healthz")[0] == 0


def test_ready_while_jobs_run_but_not_while_the_worker_stops(beanstalkd, run_worker, address):
    beanstalkd.put("mail", "1")
    worker = run_worker(beanstalkd.server, WAITING, "--health", address)
    worker.wait_for_notes("begun 1 attempt 1 lost 0")
    assert get(address, "/readyz")[0] == 200
    worker.ask_to_stop()
    assert get(address, "/readyz")[0] == 503
    assert get(address, "/healthz")[0] == 200
    worker.allow("go")
    assert worker.exit_code() == 0


def test_not_ready_while_executors_are_imported(beanstalkd, run_worker, address):
    worker = run_worker(
        beanstalkd.server,
        "from traces import note, wait_for\nnote('begun')\nwait_for('go')" + WAITING,
        "--health",
        address,
    )
    worker.wait_for_notes("begun")
    assert (get(address, "/healthz")[0], get(address, "/readyz")[0]) == (200, 503)
    worker.allow("go")
    worker.wait_for(lambda: get(address, "/readyz")[0] == 200, "ready")
    assert worker.stop() == 0


def test_peers_that_say_nothing_or_too_much_hold_nobody_up(beanstalkd, run_worker, address):
    worker = run_worker(beanstalkd.server, WAITING, "--health", address)
    worker.wait_for(lambda: get(address, "/readyz")[0] == 200, "ready")
    host, port = address.split(":")
    peers = [socket.create_connection((host, int(port))) for _ in range(60)]
    try:
        for peer in peers[:20]:
            peer.sendall(b"GET /healthz HTTP/1.1\r\nX: ")
        for peer in peers[20:30]:
            peer.sendall(b"x" * 100_000)
        assert get(address, "/healthz")[0] == 200
        peers[30].sendall(b"\r\n\r\n")
        assert peers[30].recv(100).startswith(b"HTTP/1.1 404")
        for piece in (b"GET /hea", b"lthz HTTP", b"/1.1\r\n\r\n"):
            peers[31].sendall(piece)
        assert peers[31].recv(100).startswith(b"HTTP/1.1 200")
    finally:
        for peer in peers:
            peer.close()
    assert get(address, "/healthz")[0] == 200
    assert worker.stop() == 0


def test_health_is_answered_while_beanstalkd_says_nothing(beanstalkd, run_worker, address):
    """Leases are to be kept meanwhile: the supervisor must not wait for each answer in turn."""
    beanstalkd.put_numbers("mail", LANES, ttr=4)
    options = ("--health", address, "--async-concurrency", str(LANES), "--job-timeout", "60s")
    worker = run_worker(beanstalkd.server, WAITING_ASYNC, *options)
    worker.wait_for(lambda: len(worker.notes()) == LANES, "all jobs run")
    with beanstalkd.stopped():
        for _ in range(25):  # while all are touched
            assert get(address, "/healthz", seconds=IN_TURN)[0] == 200
            signal.sigtimedwait([], 0.1)
    worker.allow("go")
    worker.wait_for_lines("deleted", LANES)
    assert worker.stop() == 0


@pytest.mark.slow
def test_health_is_answered_while_beanstalkd_says_nothing_about_hundreds_of_leases(beanstalkd, run_worker, address):
    """They are touched all at once: the supervisor must not wait for each answer in turn, however shortly."""
    lanes = 400
    beanstalkd.put_numbers("mail", lanes, ttr=8)
    options = ("--health", address, "--async-concurrency", str(lanes), "--job-timeout", "60s")
    worker = run_worker(beanstalkd.server, WAITING_ASYNC, *options)
    worker.wait_for(lambda: len(worker.notes()) == lanes, "all jobs run")
    with beanstalkd.stopped():
        for _ in range(40):
            assert get(address, "/healthz", seconds=IN_TURN)[0] == 200
            signal.sigtimedwait([], 0.1)
    worker.allow("go")
    worker.wait_for_lines("deleted", lanes)
    assert worker.stop() == 0


def test_metrics_begin_with_how_many_jobs_run(beanstalkd, run_worker, address):
    def running():
        return get(address, "/metrics")[1].splitlines()[2]

    worker = run_worker(beanstalkd.server, WAITING, "--health", address)
    worker.wait_for(lambda: get(address, "/readyz")[0] == 200, "ready")
    assert running() == "tubeherd_jobs_running 0.0"
    beanstalkd.put("mail", "1")
    worker.wait_for_notes("begun 1 attempt 1 lost 0")
    assert running() == "tubeherd_jobs_running 1.0"
    worker.allow("go")
    worker.wait_for_line("deleted")
    worker.wait_for(lambda: running() == "tubeherd_jobs_running 0.0", "no job runs")
    assert worker.stop() == 0


COUNTED = """
import os, signal
from prometheus_client import Counter
from tubeherd import executor
PAGES = Counter("pages", "Pages printed.")
@executor("mail")
def mail(payload):
    if payload == "fail": raise ValueError
    if payload == "die": os.kill(os.getpid(), signal.SIGKILL)
    PAGES.inc(payload)
"""


def test_metrics_tell_what_became_of_jobs_whoever_gave_the_verdict(beanstalkd, run_worker, address):
    """Slots are recycled and killed meanwhile: nothing is forgotten, and there are no more files than slots."""
    for body in (b"1", b"2", b"3", b"4", b'"fail"', b'"die"', b"no JSON"):
        beanstalkd.put("mail", body)
    options = ("--health", address, "--max-jobs", "2", "--retry-delays", "1h")
    worker = run_worker(beanstalkd.server, COUNTED, *options)
    worker.wait_for(lambda: beanstalkd.count("mail") == NOTHING | {"delayed": 2, "buried": 1}, "done")

    def metrics():
        return set(get(address, "/metrics")[1].splitlines())

    expected = {
        'tubeherd_job_seconds_count{tube="mail",verdict="deleted"} 4.0',
        'tubeherd_job_seconds_count{tube="mail",verdict="retried"} 2.0',
        'tubeherd_job_seconds_count{tube="mail",verdict="buried"} 1.0',
        'tubeherd_job_seconds_bucket{le="600.0",tube="mail",verdict="deleted"} 4.0',
        "pages_total 10.0",
    }
    worker.wait_for(lambda: expected <= metrics(), f"these metrics: {expected}, not {metrics()}")
    took = next(
        line for line in metrics() if line.startswith('tubeherd_job_seconds_sum{tube="mail",verdict="deleted"}')
    )
    assert 0 < float(took.split()[1]) < PATIENCE
    (folder,) = Path(tempfile.gettempdir()).glob(f"tubeherd-metrics-{worker.process.pid}-*")
    assert [file.name for file in folder.iterdir()] == ["counter_slot0.db"]
    assert worker.stop() == 0
    assert not folder.exists()


def test_more_metrics_than_one_write_takes_are_served_whole(beanstalkd, run_worker, address):
    beanstalkd.put("mail", "1")
    worker = run_worker(
        beanstalkd.server,
        """
        from prometheus_client import Counter
        from tubeherd import executor
        MANY = Counter("many", "Many.", ["number"])
        @executor("mail")
        def mail(payload):
            for number in range(2_000): MANY.labels("x" * 500 + str(number)).inc()
        """,
        "--health", address,
    )  # fmt: skip
    worker.wait_for_line("deleted")
    text = get(address, "/metrics")[1]
    assert len(text) > 1_000_000
    assert text.count("many_total{") == 2_000
    assert worker.stop() == 0


def test_no_temporary_directory_for_the_metrics_is_told(beanstalkd, run_worker, address, monkeypatch):
    monkeypatch.setenv("TMPDIR", "/proc/nowhere")
    worker = run_worker(
        beanstalkd.server, WAITING, "--health", address, prefix=["unshare", "--mount", "sh", "-c", READ_ONLY]
    )
    assert worker.exit_code() == 2
    assert "--health (TUBEHERD_HEALTH): no temporary directory for what /metrics shows" in worker.output()


def test_no_shared_memory_for_the_locks_is_told(beanstalkd, run_worker):
    shell = 'mount -t tmpfs -o ro none /dev/shm; exec "$0" "$@"'
    worker = run_worker(beanstalkd.server, WAITING, prefix=["unshare", "--mount", "sh", "-c", shell])
    needed = "which has to be writable and needs 4 KiB for each job that may run at the same time"
    reason = f"no semaphore can be made in /dev/shm, {needed}: Read-only file system"
    worker.wait_for_line(f"a slot could not be started ({reason}); trying again in 5 s", level="error")
    assert worker.stop() == 0


FILING = (
    CODE
    + """
from prometheus_client import Counter
FILES = Counter("files", "Files.", ["name"])
FOLDER = os.environ["PROMETHEUS_MULTIPROC_DIR"]
"""
)


def test_detail_of_the_place_alone_leaves_out_why_metrics_cannot_be_shown(beanstalkd, run_worker, address):
    worker = run_worker(beanstalkd.server, FILING, "--health", address, "--error-detail", "place")
    beanstalkd.put_code("FILES.labels('s3cret' + os.fsdecode(b'\\xff')).inc()")
    worker.wait_for_line("deleted")
    assert get(address, "/metrics")[0] == 500
    line = worker.wait_for_line("/metrics cannot be shown")
    assert line["event"] == "/metrics cannot be shown: UnicodeEncodeError"
    assert ".py:" in line["at"]


def test_metrics_that_cannot_be_shown_end_nothing(beanstalkd, run_worker, address):
    """A label that is no text, and a job that removes or damages the files of the metrics."""
    worker = run_worker(beanstalkd.server, FILING, "--health", address, "--max-jobs", "1")
    beanstalkd.put_code("FILES.labels(os.fsdecode(b'\\xff')).inc()")
    worker.wait_for_line("deleted")
    assert get(address, "/metrics")[0] == 500
    worker.wait_for_line("/metrics cannot be shown")
    beanstalkd.put_code("for name in glob.glob(FOLDER + '/*'): open(name, 'r+b').write(b'x' * 4096)")
    worker.wait_for_lines("deleted", 2)
    assert get(address, "/metrics")[0] == 500
    beanstalkd.put_code("shutil.rmtree(FOLDER)")
    beanstalkd.put_code("pass")
    worker.wait_for_lines("deleted", 4)
    assert get(address, "/healthz") == (200, "ok\n")
    counted = 'tubeherd_job_seconds_count{tube="code",verdict="deleted"} 4.0'
    worker.wait_for(lambda: counted in get(address, "/metrics")[1], "the jobs are counted, after they are logged")
    beanstalkd.put_code("FILES.labels('back').inc()")
    worker.wait_for(lambda: 'files_total{name="back"} 1.0' in get(address, "/metrics")[1], "metrics are written again")
    assert worker.stop() == 0


def test_processes_that_jobs_fork_damage_no_metrics_and_leave_no_files(beanstalkd, run_worker, address):
    beanstalkd.put_numbers("mail", 20)
    worker = run_worker(
        beanstalkd.server,
        """
        import multiprocessing
        from prometheus_client import Counter
        from tubeherd import executor
        PAGES = Counter("pages", "Pages printed.")
        def count(): PAGES.inc()
        @executor("mail")
        def mail(payload):
            PAGES.inc()
            fork = multiprocessing.get_context("fork")
            process = fork.Process(target=count if payload == 7 else int)
            process.start()
            process.join()
        """,
        "--health", address,
    )  # fmt: skip
    worker.wait_for_lines("deleted", 20)
    status, text = get(address, "/metrics")
    assert (status, "pages_total 21.0" in text.splitlines()) == (200, True)
    (folder,) = Path(tempfile.gettempdir()).glob(f"tubeherd-metrics-{worker.process.pid}-*")
    worker.wait_for(
        lambda: {path.name for path in folder.iterdir()} == {"counter_slot0.db", "counter_ended.db"},
        "the file of the process that counted is added to that of all that have ended",
    )
    assert "pages_total 21.0" in get(address, "/metrics")[1].splitlines()
    assert worker.stop() == 0


def test_peers_that_are_dropped_for_newer_ones_end_nothing(beanstalkd, run_worker, address):
    host, port = address.split(":")
    worker = run_worker(beanstalkd.server, WAITING, "--health", address)
    worker.wait_for(lambda: get(address, "/healthz")[0] == 200, "it listens")
    with ExitStack() as peers:
        for number in range(300):
            peer = peers.enter_context(socket.create_connection((host, int(port)), timeout=PATIENCE))
            if number % 2:
                peer.sendall(b"GET /healthz HTTP/1.1\r\n\r\n")
    worker.wait_for(lambda: get(address, "/healthz")[0] == 200, "it still answers")
    assert not worker.lines("a request could not be answered")
    assert worker.stop() == 0


def test_requests_wait_while_no_more_files_can_be_opened(address, logged):
    host, port = address.split(":")
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    with selectors.DefaultSelector() as selector, socket.socket() as peer:
        server = HealthServer(address, selector, lambda: True, lambda: b"")
        peer.connect((host, int(port)))
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, limits[1]))
        try:
            ((accepting, _),) = selector.select(PATIENCE)
            accepting.data()
            assert selector.select(0) == [], "the loop is not woken again and again"
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        assert [line["event"] for line in logged()] == [
            "a request for /healthz, /readyz or /metrics has to wait: Too many open files"
        ]
        peer.sendall(b"GET /healthz HTTP/1.1\r\n\r\n")
        peer.setblocking(False)
        wait_for(lambda: go_on(server, selector, peer) == b"HTTP/1.1 200", "the answer")
        server._listener.close()


def go_on(server, selector, peer):
    """Have the server do one pass of its loop, and return what the peer has received."""
    for key, _ in selector.select(0):
        key.data()
    server.finish_pass()
    try:
        return peer.recv(12)
    except BlockingIOError:
        return b""


READ_ONLY = 'for folder in /tmp /var/tmp; do mount --bind -o ro $folder $folder; done; cd /proc; exec "$0" "$@"'
