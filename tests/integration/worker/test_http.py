"""Jobs that are done over HTTP: answers are verdicts, and all that a worker promises holds as for Python."""

import json
import subprocess
import threading
import time
from email.utils import formatdate

import pytest

from tests.support.beanstalkd import NOTHING
from tests.support.burials import burial_records
from tests.support.http import Server
from tests.support.waiting import PATIENCE, wait_for
from tubeherd.processing.deadlines import too_long_reason

NONE = ""
"""No executors in Python."""


@pytest.fixture
def http():
    """Start HTTP servers: `http(respond)`; all are closed after the test."""
    servers = []

    def start(respond, certificate=None):
        servers.append(Server(respond, certificate))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


@pytest.fixture
def run_http(beanstalkd, run_worker):
    """Run a worker that sends the jobs of `mail` to a URL: `run_http(url, *options)`."""

    def start(url, *options, executors=NONE):
        return run_worker(beanstalkd.server, executors, "--http", f"mail={url}", *options)

    return start


def as_the_job_says(handler, request):
    said = json.loads(request.body)
    handler.answer(said["status"], said.get("body", "").encode(), **said.get("headers", {}))


def test_answer_is_the_verdict(beanstalkd, http, run_http):
    server = http(as_the_job_says)
    jobs = {
        status: beanstalkd.put_json("mail", {"status": status, "body": f"body\nof {status}"})
        for status in (200, 201, 202, 299, 301, 304, 400, 401, 404, 408, 409, 429, 500, 502, 503, 599)
    }
    jobs[204] = beanstalkd.put_json("mail", {"status": 204})
    worker = run_http(server.url, "--retry-delays", "none", "--reschedule-delay", "90s")
    for status in (200, 201, 202, 204, 299):
        worker.wait_for_line("deleted", job=jobs[status])
    for status in (409, 429, 503):
        line = worker.wait_for_line("released", job=jobs[status])
        assert (line["delay"], line["reason"]) == (90, f"answered {status}: body of {status}")
    worker.wait_for_lines("buried", 9)
    records = {record["job"]: record for record in burial_records(beanstalkd)}
    for status in (301, 400, 401, 404, 408, 500, 502, 599):
        record = records.pop(jobs[status])
        # The status is part of the error, so that failures of different causes are of different groups.
        assert (record["kind"], record["error"], record["place"]) == ("exception", f"HttpFailed{status}", server.url)
        assert record["message"] == f"HttpFailed: answered {status}: body of {status}"
        assert record["traceback"] == f"body\nof {status}"
    (record,) = records.values()  # that of 304, which has no body
    assert record["message"] == "HttpFailed: answered 304"


@pytest.mark.parametrize(
    ("value", "least", "most"),
    [("7", 7, 7), ("99999", 3600, 3600), ("soon", 60, 60), (None, 60, 60), ("DATE", 1, 100)],
)
def test_server_says_when_the_job_is_to_come_again(beanstalkd, http, run_http, value, least, most):
    value = formatdate(time.time() + 100, usegmt=True) if value == "DATE" else value
    server = http(lambda handler, _: handler.answer(503, **({} if value is None else {"Retry_After": value})))
    job = beanstalkd.put("mail", "1")
    worker = run_http(server.url)
    line = worker.wait_for_line("released", job=job)
    assert least <= line["delay"] <= most + 1  # one second more shows that the job has not failed


def test_body_and_facts_are_sent_and_secrets_are_not_logged(beanstalkd, http, run_http):
    server = http(lambda handler, _: handler.answer(500))
    body = bytes(range(256)) * 250
    job = beanstalkd.put("mail", body, priority=9)
    url = server.url.replace("//", "//user:p%40s3cret@") + "/jobs/mail?key=s3cret"
    worker = run_http(url, "--retry-delays", "none", "--log-level", "debug")
    line = worker.wait_for_line("buried", job=job)
    (request,) = server.requests
    assert (request.body, request.path) == (body, "/jobs/mail?key=s3cret")
    sent = {name: text for name, text in request.headers.items() if name.startswith("tubeherd-job-")}
    assert sent.pop("tubeherd-job-age").isdigit()
    assert sent == {
        "tubeherd-job-id": str(job),
        "tubeherd-job-tube": "mail",
        "tubeherd-job-attempt": "1",
        "tubeherd-job-priority": "9",
        "tubeherd-job-lost-deliveries": "0",
    }
    assert request.headers["content-type"] == "application/json"
    assert request.headers["authorization"] == "Basic dXNlcjpwQHMzY3JldA=="
    assert line["at"] == f"{server.url}/jobs/mail"
    assert "s3cret" not in worker.output()
    assert "s3cret" not in str(burial_records(beanstalkd))


def endless(handler, request, status, part=b"x" * 10):
    handler.send_response(status)
    handler.send_header("Transfer-Encoding", "chunked")
    handler.end_headers()
    while True:
        handler.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
        time.sleep(0.02)


def slow_headers(handler, _):
    handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
    while True:
        handler.wfile.write(b"X-Slow: 1\r\n")
        time.sleep(0.05)


def huge(handler, _):
    handler.send_response(200)
    handler.send_header("Content-Length", str(300 << 20))
    handler.end_headers()
    for _ in range(300):
        handler.wfile.write(b"x" * (1 << 20))


def broken(handler, _):
    handler.send_response(200)
    handler.send_header("Content-Length", "100")
    handler.end_headers()
    handler.wfile.write(b"Fatal error")
    handler.close_connection = True


def huge_headers(handler, _):
    handler.wfile.write(b"HTTP/1.1 200 OK\r\n" + b"".join(b"X-%d: %s\r\n" % (n, b"x" * 1000) for n in range(1000)))
    handler.wfile.write(b"Content-Length: 0\r\n\r\n")


def no_http(handler, _):
    handler.wfile.write(b"\x00\x01 220 smtp.example.com ESMTP\r\n\r\n")
    handler.close_connection = True


def silent(handler, _):
    time.sleep(1000)


def hangs_up(handler, _):
    handler.close_connection = True


LATE = too_long_reason(2)


@pytest.mark.parametrize(
    ("respond", "event", "reason"),
    [
        (lambda handler, request: endless(handler, request, 500), "buried", "HttpFailed: answered 500: xxxxxxxxxx"),
        (lambda handler, request: endless(handler, request, 409), "released", "answered 409: xxxxxxxxxx"),
        (lambda handler, request: endless(handler, request, 200), "buried", LATE),
        (slow_headers, "buried", LATE),
        (silent, "buried", LATE),
        (huge, "deleted", ""),
        (broken, "buried", "HttpUnanswered: no whole answer: "),
        (huge_headers, "buried", "HttpUnanswered: no whole answer: "),
        (no_http, "buried", "HttpUnanswered: no whole answer: "),
        (hangs_up, "buried", "HttpUnanswered: no whole answer: "),
    ],
    ids=[
        "endless-500", "endless-409", "endless-200", "slow-headers", "silent", "huge", "broken", "huge-headers",
        "no-http", "hangs-up",
    ],
)  # fmt: skip
def test_whatever_a_server_does_the_job_gets_its_verdict(beanstalkd, http, run_http, respond, event, reason):
    timeout = "2s" if reason == LATE else "60s"
    job = beanstalkd.put("mail", "1")
    worker = run_http(http(respond).url, "--retry-delays", "none", "--job-timeout", timeout, "--max-memory", "110Mi")
    line = worker.wait_for_line(event, job=job)
    assert (line.get("reason") or "").startswith(reason)
    assert len(line.get("reason") or "") <= 500
    beanstalkd.delete(job) if event != "deleted" else None
    assert worker.stop() == 0
    assert beanstalkd.count("mail") == NOTHING


def test_redirect_is_not_followed(beanstalkd, http, run_http):
    target = http(lambda handler, _: handler.answer(200))
    server = http(lambda handler, _: handler.answer(307, Location=f"{target.url}/other?key=s3cret"))
    job = beanstalkd.put("mail", "1")
    worker = run_http(server.url, "--retry-delays", "none")
    line = worker.wait_for_line("buried", job=job)
    assert line["reason"] == (
        f"HttpFailed: answered 307, a redirect to {target.url}/other: name the right URL, none is followed"
    )
    assert target.requests == []


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://127.0.0.1:1/", "HttpUnanswered: no connection: Connection refused"),
        ("http://localhost:1/", "HttpUnanswered: no connection: Connection refused"),
        ("http://nowhere.invalid/", "HttpUnanswered: no connection: "),
    ],
)
def test_server_that_cannot_be_reached_fails_the_job(beanstalkd, run_http, url, reason):
    job = beanstalkd.put("mail", "1")
    worker = run_http(url, "--retry-delays", "none", "--job-timeout", "30s")
    line = worker.wait_for_line("buried", job=job)
    assert line["reason"].startswith(reason)
    assert line["at"] == url


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A file with a certificate for 127.0.0.1, which is its own authority, and its key."""
    folder = tmp_path_factory.mktemp("certificate")
    name = ["-subj", "/CN=test", "-addext", "subjectAltName=IP:127.0.0.1"]
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", folder / "key.pem"]
    command = ["openssl", "req", "-x509", *key, "-days", "2", *name, "-out", folder / "certificate.pem"]
    subprocess.run(command, check=True, capture_output=True)
    both = folder / "both.pem"
    both.write_text((folder / "certificate.pem").read_text() + (folder / "key.pem").read_text())
    return str(both)


def test_certificate_that_nobody_trusts_fails_the_job(beanstalkd, http, run_http, certificate):
    server = http(lambda handler, _: handler.answer(200), certificate)
    job = beanstalkd.put("mail", "1")
    worker = run_http(server.url, "--retry-delays", "none")
    line = worker.wait_for_line("buried", job=job)
    assert line["reason"].startswith(
        "HttpUnanswered: no connection: its certificate is not trusted: self-signed certif"
    )
    assert server.requests == []


def test_certificate_of_an_authority_of_ones_own_is_trusted_for_its_host_only(beanstalkd, http, run_http, certificate):
    server = http(lambda handler, _: handler.answer(200), certificate)
    job = beanstalkd.put("mail", "1")
    worker = run_http(server.url, "--retry-delays", "none", "--http-ca", certificate)
    worker.wait_for_line("deleted", job=job)
    assert worker.stop() == 0
    job = beanstalkd.put("mail", "2")
    options = ("--retry-delays", "none", "--http-ca", certificate)
    other = run_http(server.url.replace("127.0.0.1", "localhost"), *options)
    line = other.wait_for_line("buried", job=job)
    assert "its certificate is not trusted: Hostname mismatch" in line["reason"]


@pytest.mark.parametrize("lanes", ["1", "4"])
def test_connections_are_kept_from_job_to_job(beanstalkd, http, run_http, lanes):
    server = http(lambda handler, _: handler.answer(200, b"done"))
    beanstalkd.put_numbers("mail", 40)
    worker = run_http(server.url, "--async-concurrency", lanes)
    server.wait_for_requests(40)
    worker.wait_for(lambda: beanstalkd.count("mail") == NOTHING, "all jobs done")
    assert server.connections <= int(lanes)


def test_kept_connection_that_the_server_has_closed_costs_no_attempt(beanstalkd, http, run_http):
    def respond(handler, request):
        if any(other.connection == request.connection for other in server.requests[:-1]):
            handler.close_connection = True  # only when the next request has come: nobody could know it before
        else:
            handler.answer(200)

    server = http(respond)
    jobs = [beanstalkd.put("mail", str(number)) for number in range(5)]
    worker = run_http(server.url, "--retry-delays", "none")
    for job in jobs:
        worker.wait_for_line("deleted", job=job)
    assert worker.lines("", level="error") == []


def test_kept_connection_that_breaks_while_the_server_does_the_job_costs_an_attempt(beanstalkd, http, run_http):
    def respond(handler, request):
        if request.body == b"1":
            time.sleep(1.5)  # such as a proxy that waits for the server, and gives up
            handler.close_connection = True
        else:
            handler.answer(200)

    server = http(respond)
    beanstalkd.put("mail", "0")
    job = beanstalkd.put("mail", "1")
    worker = run_http(server.url, "--retry-delays", "none")
    worker.wait_for_line("buried", job=job)
    assert [request.body for request in server.requests] == [b"0", b"1"]
    assert server.connections == 1


def test_many_jobs_are_in_flight_in_one_slot(beanstalkd, http, run_http):
    together = threading.Barrier(30, timeout=PATIENCE)

    def respond(handler, _):
        together.wait()
        handler.answer(200)

    server = http(respond)
    beanstalkd.put_numbers("mail", 30)
    worker = run_http(server.url, "--async-concurrency", "30")
    worker.wait_for(lambda: beanstalkd.count("mail") == NOTHING, "all jobs done")
    assert len(worker.slots()) == 1


def test_slot_killed_in_the_middle_of_a_request(beanstalkd, http, run_http):
    def respond(handler, request):
        if request.headers["tubeherd-job-attempt"] == "1":
            time.sleep(1000)
        handler.answer(200)

    server = http(respond)
    job = beanstalkd.put("mail", "1")
    worker = run_http(server.url, "--retry-delays", "0s")
    server.wait_for_requests(1)
    worker.kill_slot()
    line = worker.wait_for_line("failed, retry later", job=job)
    assert line["reason"] == "the slot died: signal 9 (SIGKILL)"
    worker.wait_for_line("deleted", job=job)
    assert [request.headers["tubeherd-job-attempt"] for request in server.requests] == ["1", "2"]


SLOW_NAMES = """
import socket, time
real = socket.getaddrinfo
def getaddrinfo(host, *args, **options):
    if host in ("slow.example", b"slow.example"): time.sleep(1000)
    return real(host, *args, **options)
socket.getaddrinfo = getaddrinfo
"""


def test_name_that_is_looked_up_for_ever_costs_only_its_job(beanstalkd, run_http):
    job = beanstalkd.put("mail", "1")
    options = ("--retry-delays", "none", "--job-timeout", "1s", "--async-concurrency", "2")
    worker = run_http("http://slow.example/", *options, executors=SLOW_NAMES)
    line = worker.wait_for_line("buried", job=job)
    assert line["reason"] == too_long_reason(1)
    assert worker.lines("stopped at its deadline, but") == []  # the slot goes on


@pytest.mark.slow
def test_late_request_ends_and_costs_those_beside_it_nothing(beanstalkd, http, run_http):
    go = threading.Event()
    closed = []

    def respond(handler, request):
        if request.body == b"late":
            closed.append(handler.rfile.read(1))  # returns when the worker closes the connection
        else:
            go.wait(PATIENCE)
            handler.answer(200)

    server = http(respond)
    late = beanstalkd.put("mail", "late", ttr=4)
    others = [beanstalkd.put("mail", "1") for _ in range(3)]
    worker = run_http(server.url, "--async-concurrency", "4", "--retry-delays", "none")
    worker.wait_for_line("buried", job=late)
    wait_for(lambda: closed == [b""], "the connection of the late job is closed")
    go.set()
    for job in others:
        worker.wait_for_line("deleted", job=job)
    assert len(server.requests) == 4
