"""`QueueManager` looks at tubes and jobs as the commands do."""

import inspect

import pytest

from tubeherd import QueueManager
from tubeherd.by_hand.looking.finding import WALK_MOST
from tubeherd.queue.looking import LookingConnection


@pytest.fixture
def queue(beanstalkd):
    with QueueManager(beanstalkd.server) as queue:
        yield queue


def test_stats(beanstalkd, queue):
    beanstalkd.put("mail")
    beanstalkd.put("news")
    stats = queue.stats()
    assert [(tube.name, tube.ready, stats.lacks_worker(tube)) for tube in stats.tubes] == [
        ("mail", 1, True), ("news", 1, True),
    ]  # fmt: skip
    assert [tube.name for tube in queue.stats("n*").tubes] == ["news"]
    with pytest.raises(ValueError, match="matches no tube"):
        queue.stats("two words")


def test_peek(beanstalkd, queue):
    beanstalkd.put("mail", b"1")
    assert queue.peek("mail").ready.body == b"1"
    assert queue.peek("nothing") == (None, None, None)
    with pytest.raises(ValueError, match="is reserved"):
        queue.peek("tubeherd.burials")


def test_peek_shows_the_next_job_if_the_first_is_done_meanwhile(beanstalkd, queue, monkeypatch):
    beanstalkd.put("mail", b"1")
    beanstalkd.put("mail", b"2")
    look = LookingConnection.jobs

    def done_before(connection, ids):
        if beanstalkd.exists(1):
            beanstalkd.delete(1)
        return look(connection, ids)

    monkeypatch.setattr(LookingConnection, "jobs", done_before)
    assert queue.peek("mail").ready.body == b"2"


@pytest.mark.parametrize("job", [0, -1, 2**64, "1", 1.5, True, None])
def test_what_is_no_id_is_refused(queue, job):
    with pytest.raises(ValueError, match="the id of a job is a whole number from 1"):
        queue.inspect_job(job)


@pytest.mark.parametrize("number", [-1, 10**30, 1.5, "1", True])
@pytest.mark.parametrize("name", ["count", "skip", "walk"])
def test_what_is_no_number_of_jobs_is_refused(queue, name, number):
    with pytest.raises(ValueError, match=f"{name} is a whole number from 0"):
        queue.inspect("mail", **{name: number})


def test_what_is_no_pattern_is_refused(queue):
    with pytest.raises(ValueError, match="matches no tube"):
        queue.stats(7)


def test_inspect(beanstalkd, queue):
    beanstalkd.bury("mail", 3)
    found = queue.inspect("mail", count=2)
    assert [(job.counters.state, job.body, job.record) for job in found.jobs] == [("buried", b"{}", None)] * 2
    assert found.counted == 3
    assert len(queue.inspect("mail", skip=2).jobs) == 1
    assert queue.inspect_job(1).counters.buries == 1
    assert queue.inspect_job(99) is None


def test_bound_of_the_walk_is_the_same_everywhere():
    assert inspect.signature(QueueManager.inspect).parameters["walk"].default == WALK_MOST


def test_bound_of_the_command_is_the_same():
    from tubeherd.commands.inspect import inspect as command

    assert inspect.signature(command).parameters["walk"].default == WALK_MOST
