"""What tests with pollers need, to see their own alone and to leave none behind; and a client of a given API server."""

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.beanstalkd import Beanstalkd
from tests.support.burials import put_record
from tests.support.proxies import Interceptor
from tests.support.servers import MAIL, SMS, Changed
from tests.support.waiting import wait_for
from tubeherd_operator.cluster.client import Cluster
from tubeherd_operator.queues.servers import Servers


@pytest.fixture
def pollers() -> Iterator[Callable[[], list[str]]]:
    """Return the names of the pollers that the test has started; when the test is over, wait until they have ended."""
    before = {*threading.enumerate()}

    def started(kinds: str | tuple[str, ...] = "poller ") -> list[str]:
        threads = {*threading.enumerate()} - before
        return [thread.name for thread in threads if thread.name.startswith(kinds)]

    yield started
    both = ("poller ", "burials ")
    wait_for(lambda: not started(both), lambda: f"the end of {started(both)}")


@pytest.fixture
def changed() -> Changed:
    """Return what remembers which pools are to be looked at."""
    return Changed()


@pytest.fixture
def servers(changed: Changed, pollers: Callable[[], list[str]]) -> Iterator[Servers]:
    """Yield the servers of two pools, which are counted every 50 ms once a test has them watched."""
    made = Servers(0.05, changed)
    yield made
    for key in (MAIL, SMS):
        made.forget(key)


@pytest.fixture
def losing(beanstalkd: Beanstalkd) -> Iterator[Interceptor]:
    """Yield a proxy that loses the answer to each kick."""
    proxy = Interceptor(beanstalkd.port)
    proxy.loses_answer_to = "kick"
    yield proxy
    proxy.close()


@pytest.fixture
def failed(beanstalkd: Beanstalkd) -> list[int]:
    """Bury six jobs because of a KeyError, five of the tube mail and one of sms, and one because of a ValueError."""
    jobs = beanstalkd.bury_many("mail", 5)
    (sms,) = beanstalkd.bury_many("sms", 1)
    (value,) = beanstalkd.bury_many("mail", 1)
    for job in jobs:
        put_record(beanstalkd, job)
    put_record(beanstalkd, sms, tube="sms")
    put_record(beanstalkd, value, error="ValueError")
    return jobs


@pytest.fixture
def client_of(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], Cluster]:
    """Return a function that connects to the API server at a URL."""

    def connect(url: str) -> Cluster:
        own = {"clusters": [{"name": "here", "cluster": {"server": url}}], "current-context": "it"}
        own |= {"users": [{"name": "me", "user": {"token": "secret"}}]}
        own |= {"contexts": [{"name": "it", "context": {"cluster": "here", "user": "me"}}]}
        (tmp_path / "kubeconfig").write_text(json.dumps(own))
        monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "kubeconfig"))
        return Cluster(lambda *_: None)

    return connect
