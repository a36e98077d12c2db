"""What a real worker logs of errors, and of what executors and libraries log themselves."""

import pytest

from tubeherd.exits import Exit
from tubeherd.processing.deadlines import too_long_reason

FAILING = """
import asyncio
from tubeherd import executor

class Unspeakable(Exception):
    def __str__(self):
        raise SystemExit

class Long(Exception):
    def __str__(self):
        return "x" * 5_000_000

def recurse(depth):
    if depth:
        recurse(depth - 1)
    raise LookupError("bottom")

async def fail(error):
    raise error

async def group():
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(fail(ValueError("member one")))
        tasks.create_task(fail(KeyError("member two")))

@executor("mail")
def mail(kind):
    if kind == "cause":
        try:
            raise KeyError("the cause")
        except KeyError as error:
            raise OSError("the effect") from error
    if kind == "group":
        asyncio.run(group())
    if kind == "recursion":
        recurse(900)
    if kind == "unspeakable":
        raise Unspeakable
    if kind == "long":
        raise Long
"""
SEEN = {
    "cause": ("OSError: the effect", ["KeyError: 'the cause'", "direct cause", "OSError: the effect", "in mail"]),
    "group": ("member one", ["ValueError: member one", "KeyError: 'member two'", "in fail"]),
    "recursion": ("LookupError: bottom", ["LookupError: bottom", "in mail", "in recurse", "frames left out"]),
    "unspeakable": ("Unspeakable: (its message cannot be read)", ["raise Unspeakable"]),
    "long": ("Long: xxx", ["raise Long", "Long: xxx"]),
}


def test_log_line_of_a_failure_has_a_bounded_traceback(beanstalkd, run_worker, put_mail):
    jobs = {put_mail(kind): kind for kind in SEEN}
    worker = run_worker(beanstalkd.server, FAILING, "--retry-delays", "10m")
    for line in worker.wait_for_lines("failed, retry later", len(jobs)):
        reason, parts = SEEN[jobs[line["job"]]]
        assert reason in line["reason"]
        assert len(line["reason"]) <= 500
        assert len(line["traceback"].encode()) <= 4096
        assert [part for part in parts if part not in line["traceback"]] == []
        assert line["at"].startswith("executors_under_test.py:")


def test_buried_job_has_its_traceback_too(beanstalkd, run_worker, put_mail):
    put_mail("cause")
    worker = run_worker(beanstalkd.server, FAILING, "--retry-delays", "none")
    assert "KeyError: 'the cause'" in worker.wait_for_line("buried")["traceback"]


def test_detail_of_the_place_alone_leaves_messages_and_tracebacks_out(beanstalkd, run_worker, put_mail):
    put_mail("cause")
    put_mail("group")
    worker = run_worker(beanstalkd.server, FAILING, "--error-detail", "place")
    for line in worker.wait_for_lines("failed, retry later", 2):
        assert line["reason"] in ("OSError", "ExceptionGroup: ValueError; KeyError")
        assert line["at"].startswith("executors_under_test.py:")
        assert "traceback" not in line
    assert [secret for secret in ("the cause", "the effect", "member one") if secret in worker.output()] == []


def test_detail_of_the_place_alone_leaves_out_the_message_of_an_import_that_failed(beanstalkd, run_worker):
    worker = run_worker(beanstalkd.server, "\nraise ValueError('a secret')", "--error-detail", "place")
    event = "executors_under_test cannot be imported: ValueError (executors_under_test.py:2)"
    assert worker.wait_for_line(event, level="error")
    assert worker.exit_code() == Exit.EXECUTORS
    assert "a secret" not in worker.output()


@pytest.mark.parametrize("lanes", ["1", "2"])
def test_detail_of_the_place_alone_leaves_out_the_message_by_which_a_slot_ends(beanstalkd, run_worker, put_mail, lanes):
    executors = """
    import os, stat
    from tubeherd import executor
    @executor("mail")
    def mail(payload):
        for file in map(int, os.listdir("/proc/self/fd")):
            try:
                if stat.S_ISSOCK(os.fstat(file).st_mode): os.close(file)
            except OSError: pass
    """
    put_mail("x")
    options = ("--error-detail", "place", "--async-concurrency", lanes)
    worker = run_worker(beanstalkd.server, executors, *options)
    assert worker.wait_for_line("the slot ends")["event"] == "the slot ends: OSError"


def test_log_line_of_a_coroutine_at_its_deadline_shows_where_it_waited(beanstalkd, run_worker, put_mail):
    executors = """
    import asyncio
    from tubeherd import executor
    @executor("mail")
    async def mail(payload):
        await asyncio.sleep(60)
    """
    put_mail("x")
    worker = run_worker(beanstalkd.server, executors, "--job-timeout", "1s")
    traceback = worker.wait_for_line("failed, retry later")["traceback"]
    assert "await asyncio.sleep(60)" in traceback
    assert traceback.endswith(f"CancelledLate: {too_long_reason(1)}")


def test_jobs_that_a_raising_flush_fails_have_the_traceback_of_the_listener(beanstalkd, run_worker, put_mail):
    executors = """
    from tubeherd import events, executor
    @executor("mail")
    def mail(payload): pass
    @events.flush.connect
    def flush(reason, count):
        raise ValueError("of the listener")
    """
    put_mail("x")
    worker = run_worker(beanstalkd.server, executors, "--ack-after-flush")
    assert "in flush\n" in worker.wait_for_line("failed, retry later")["traceback"]
    assert "in flush\n" in worker.wait_for_line("a listener of worker.flush raised")["traceback"]


LOGGING = """
import asyncio, logging, logging.config, os, threading
from tubeherd import executor
{configure}
log = logging.getLogger("app")

class Loud:
    def __str__(self):
        log.warning("loud %s", self)
        return "loud"

@executor("mail")
def mail(what):
    if what == "force":
        logging.basicConfig(force=True, level=logging.INFO)
    if what == "dict":
        logging.config.dictConfig({{"version": 1, "root": {{"handlers": []}}, "disable_existing_loggers": False}})
    if what == "error":
        try:
            raise ValueError("logged")
        except ValueError:
            log.exception("caught")
        return
    if what == "bad":
        log.warning("%d", "no number")
        return
    if what == "bad error":
        try:
            raise ValueError("logged")
        except ValueError:
            log.exception("%s and %s", "one")
        return
    if what == "quiet":
        quiet = logging.getLogger("quiet")
        quiet.propagate = False
        quiet.warning("a warning without a handler")
        quiet.info("information without a handler")
        return
    if what == "received":
        log.handle(logging.makeLogRecord({{"msg": "from elsewhere", "levelno": 30, "exc_info": True, "exc_text": 5}}))
        return
    if what == "recursion":
        log.warning("%s", Loud())
        return
    if what == "fork":
        if os.fork() == 0:
            log.info("from the child")
            os._exit(0)
        os.wait()
        return
    log.info("%s is logged", what)

@executor("coroutine")
async def coroutine(what):
    await asyncio.sleep(0.01)
    log.info("%s is logged", what)
    await asyncio.to_thread(log.info, "%s is logged in a thread", what)
    await asyncio.create_task(inner(what))

async def inner(what):
    log.info("%s is logged in a task", what)
"""
BASIC = "logging.basicConfig(level=logging.DEBUG, format='of the user %(message)s')"
TO_STDOUT = "import sys; logging.basicConfig(stream=sys.stdout, level=logging.DEBUG)"


def the_only_line(worker, text):
    """Return the log line of this event, after the check that nothing else was written about it."""
    line = worker.wait_for_line(text)
    assert worker.output().count(text) == 1
    return line


@pytest.mark.parametrize("configure", ["", BASIC, TO_STDOUT])
def test_what_executors_log_comes_in_the_workers_format(beanstalkd, run_worker, put_mail, configure):
    worker = run_worker(beanstalkd.server, LOGGING.format(configure=configure))
    for what in ("plain", "force", "dict", "plain again"):
        job = put_mail(what)
        worker.wait_for_line("deleted", job=job)
        line = the_only_line(worker, f"{what} is logged")
        del line["timestamp"]
        assert line == {
            "level": "info", "event": f"{what} is logged", "logger": "app", "job": job, "tube": "mail", "attempt": 1
        }  # fmt: skip


@pytest.mark.parametrize("detail", ["full", "place"])
def test_exception_that_an_executor_logs_has_its_place_and_traceback(beanstalkd, run_worker, put_mail, detail):
    put_mail("error")
    worker = run_worker(beanstalkd.server, LOGGING.format(configure=BASIC), "--error-detail", detail)
    line = worker.wait_for_line("caught")
    assert line["level"] == "error"
    assert line["at"].startswith("executors_under_test.py:")
    assert ("ValueError: logged" in line.get("traceback", "")) is (detail == "full")
    assert ("logged" in worker.output()) is (detail == "full")


def test_message_that_cannot_be_made_into_text_is_a_line_with_its_place(beanstalkd, run_worker, put_mail):
    put_mail("bad")
    worker = run_worker(beanstalkd.server, LOGGING.format(configure=""))
    line = worker.wait_for_line("a log message cannot be made into text: TypeError")
    assert line["at"].startswith("executors_under_test.py:")
    worker.wait_for_line("deleted")


def test_message_that_cannot_be_made_into_text_may_come_with_an_exception(beanstalkd, run_worker, put_mail):
    put_mail("bad error")
    worker = run_worker(beanstalkd.server, LOGGING.format(configure=""))
    line = worker.wait_for_line("a log message cannot be made into text: TypeError")
    assert "ValueError: logged" in line["traceback"]
    worker.wait_for_line("deleted")


def test_warning_of_a_logger_without_handlers_that_does_not_propagate_appears(beanstalkd, run_worker, put_mail):
    """Python itself prints such a warning to standard error."""
    put_mail("quiet")
    worker = run_worker(beanstalkd.server, LOGGING.format(configure=""))
    worker.wait_for_line("deleted")
    assert the_only_line(worker, "a warning without a handler")["logger"] == "quiet"
    assert "information without a handler" not in worker.output()


def test_record_that_came_from_another_process_harms_no_job(beanstalkd, run_worker, put_mail):
    put_mail("received")
    worker = run_worker(beanstalkd.server, LOGGING.format(configure=""))
    worker.wait_for_line("deleted")
    assert the_only_line(worker, "from elsewhere")["level"] == "warning"


def test_detail_of_the_place_alone_leaves_out_what_asyncio_quotes_of_an_exception(beanstalkd, run_worker, put_mail):
    executors = """
    import asyncio
    from tubeherd import executor
    async def fail():
        raise ValueError("a secret")
    @executor("mail")
    async def mail(payload):
        task = asyncio.create_task(fail())
        del task
        await asyncio.sleep(0.1)
    """
    put_mail("x")
    worker = run_worker(beanstalkd.server, executors, "--error-detail", "place")
    line = worker.wait_for_line("Task exception was never retrieved")
    assert line["error"] == "ValueError"
    assert "a secret" not in worker.output()


def test_message_that_logs_itself_ends(beanstalkd, run_worker, put_mail):
    put_mail("recursion")
    worker = run_worker(beanstalkd.server, LOGGING.format(configure=""))
    worker.wait_for_line("deleted")
    assert 1 <= len(worker.lines("loud")) <= 3


def test_what_a_forked_process_logs_has_the_job(beanstalkd, run_worker, put_mail):
    job = put_mail("fork")
    worker = run_worker(beanstalkd.server, LOGGING.format(configure=BASIC))
    worker.wait_for_line("deleted")
    assert the_only_line(worker, "from the child")["job"] == job


def test_what_coroutines_on_several_lanes_log_has_their_own_job(beanstalkd, run_worker):
    jobs = {number: beanstalkd.put_json("coroutine", f"<{number}>") for number in range(8)}
    worker = run_worker(beanstalkd.server, LOGGING.format(configure=""), "--async-concurrency", "4")
    worker.wait_for_lines("deleted", 8)
    for number, job in jobs.items():
        lines = worker.lines(f"<{number}> is logged")
        assert [line["job"] for line in lines] == [job] * 3


def test_log_level_of_the_worker_holds_for_executors_too(beanstalkd, run_worker, put_mail):
    put_mail("plain")
    worker = run_worker(beanstalkd.server, LOGGING.format(configure=BASIC), "--log-level", "warning")
    put_mail("bad")
    worker.wait_for_line("a log message cannot")
    assert "is logged" not in worker.output()


def test_log_of_a_job_that_ended_is_not_that_of_the_next_listener(beanstalkd, run_worker, put_mail):
    executors = """
    import logging
    from tubeherd import events, executor
    @executor("mail")
    def mail(payload): raise ValueError
    @events.flush.connect
    def flush(reason, count): logging.info("flushing")
    @events.job_buried.connect
    def buried(job, **_): logging.info("listening")
    """
    job = put_mail("x")
    worker = run_worker(beanstalkd.server, executors, "--retry-delays", "none")
    assert worker.wait_for_line("listening")["job"] == job
    assert "job" not in worker.wait_for_line("flushing")
