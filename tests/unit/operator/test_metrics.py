"""What /metrics of the operator shows, and that each of its metrics is one of the declared ones."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.support.metrics import declared, shown
from tubeherd.burials.record import BurialRecord
from tubeherd.policy import BurialKind
from tubeherd.queue.answers import TubeStats
from tubeherd.version import version
from tubeherd_operator.cluster.cache import Cache
from tubeherd_operator.cluster.kinds import DEPLOYMENTS, POOLS
from tubeherd_operator.counted import Counted
from tubeherd_operator.decisions.burials import burials_of, by_tube
from tubeherd_operator.decisions.tubes import PoolTubes
from tubeherd_operator.health import Health
from tubeherd_operator.metric_table import METRICS, SERVER_FIGURES
from tubeherd_operator.metrics import beanstalkds
from tubeherd_operator.metrics.exposition import Exposition
from tubeherd_operator.objects import Key
from tubeherd_operator.passes.work_queue import WorkQueue
from tubeherd_operator.queues.figures import ServerFigures

MAIL, POST, AWAY = Key("shop", "mail"), Key("shop", "post"), Key("shop", "away")
MANY = tuple(f"tube{number}" for number in range(11))
FIRST = datetime(2026, 11, 29, 12, tzinfo=UTC)
ITSELF = """\
tubeherd_operator_info{version="VERSION"} 1.0
tubeherd_operator_leader ACTS
tubeherd_operator_pools 3.0
tubeherd_operator_watches{kind="pods",state="open"} 1.0
tubeherd_operator_watches{kind="pods",state="failing"} 1.0
tubeherd_operator_watches{kind="workerpools",state="open"} 1.0
tubeherd_operator_watches{kind="workerpools",state="failing"} 0.0
"""
QUEUE = """\
tubeherd_operator_queue_pools{state="due"} 1.0
tubeherd_operator_queue_pools{state="later"} 1.0
tubeherd_operator_queue_pools{state="in_pass"} 1.0
"""
COUNTED = """\
tubeherd_operator_pass_seconds_bucket{le="0.001"} 0.0
tubeherd_operator_pass_seconds_bucket{le="0.005"} 0.0
tubeherd_operator_pass_seconds_bucket{le="0.02"} 0.0
tubeherd_operator_pass_seconds_bucket{le="0.1"} 1.0
tubeherd_operator_pass_seconds_bucket{le="0.5"} 1.0
tubeherd_operator_pass_seconds_bucket{le="2.0"} 2.0
tubeherd_operator_pass_seconds_bucket{le="10.0"} 2.0
tubeherd_operator_pass_seconds_bucket{le="60.0"} 2.0
tubeherd_operator_pass_seconds_bucket{le="+Inf"} 2.0
tubeherd_operator_pass_seconds_count 2.0
tubeherd_operator_pass_seconds_sum 1.0625
tubeherd_operator_pass_failures_total{kind="unreachable"} 0.0
tubeherd_operator_pass_failures_total{kind="refused"} 0.0
tubeherd_operator_pass_failures_total{kind="conflict"} 1.0
tubeherd_operator_pass_failures_total{kind="overloaded"} 0.0
tubeherd_operator_pass_failures_total{kind="answer"} 0.0
tubeherd_operator_pass_failures_total{kind="error"} 0.0
tubeherd_operator_api_requests_total{code="200",resource="workerpools/status",verb="patch"} 2.0
tubeherd_operator_api_requests_total{code="0",resource="pods",verb="watch"} 1.0
tubeherd_operator_kicks_total 1.0
tubeherd_operator_kicked_jobs_total 25.0
tubeherd_operator_discards_total 2.0
tubeherd_operator_discarded_jobs_total 3.0
"""
OF_SERVERS = """\
beanstalkd_up{server="down:11300"} 0.0
beanstalkd_up{server="queue:11300"} 1.0
beanstalkd_current_jobs_urgent_count{server="queue:11300"} 0.0
beanstalkd_current_jobs_ready_count{server="queue:11300"} 1.0
"""
OF_TUBES = """\
beanstalkd_tube_current_jobs_urgent_count{server="queue:11300",tube="mail"} 1.0
beanstalkd_tube_current_jobs_ready_count{server="queue:11300",tube="mail"} 2.0
beanstalkd_tube_current_jobs_reserved_count{server="queue:11300",tube="mail"} 3.0
beanstalkd_tube_current_jobs_delayed_count{server="queue:11300",tube="mail"} 4.0
beanstalkd_tube_current_jobs_buried_count{server="queue:11300",tube="mail"} 5.0
beanstalkd_tube_total_jobs_count{server="queue:11300",tube="mail"} 60.0
beanstalkd_tube_current_using_count{server="queue:11300",tube="mail"} 7.0
beanstalkd_tube_current_watching_count{server="queue:11300",tube="mail"} 8.0
beanstalkd_tube_current_waiting_count{server="queue:11300",tube="mail"} 9.0
beanstalkd_tube_cmd_delete_total{server="queue:11300",tube="mail"} 50.0
beanstalkd_tube_cmd_pause_tube_total{server="queue:11300",tube="mail"} 1.0
beanstalkd_tube_pause_seconds_total{server="queue:11300",tube="mail"} 60.0
beanstalkd_tube_pause_time_left_seconds_total{server="queue:11300",tube="mail"} 30.0
tubeherd_tube_oldest_ready_job_age_seconds{server="queue:11300",tube="mail"} 12.5
"""
OF_POOLS = """\
tubeherd_pool_info{namespace="shop",pool="away",server=""} 1.0
tubeherd_pool_info{namespace="shop",pool="mail",server="queue:11300"} 1.0
tubeherd_pool_info{namespace="shop",pool="post",server="queue:11300"} 1.0
tubeherd_pool_tube_info{namespace="shop",pool="mail",server="queue:11300",tube="mail"} 1.0
tubeherd_pool_jobs{namespace="shop",pool="mail",state="ready"} 2.0
tubeherd_pool_jobs{namespace="shop",pool="mail",state="reserved"} 3.0
tubeherd_pool_jobs{namespace="shop",pool="mail",state="delayed"} 4.0
tubeherd_pool_jobs{namespace="shop",pool="mail",state="buried"} 5.0
tubeherd_pool_jobs{namespace="shop",pool="post",state="ready"} 11.0
tubeherd_pool_jobs{namespace="shop",pool="post",state="reserved"} 0.0
tubeherd_pool_jobs{namespace="shop",pool="post",state="delayed"} 0.0
tubeherd_pool_jobs{namespace="shop",pool="post",state="buried"} 0.0
tubeherd_pool_replicas_wanted{namespace="shop",pool="mail"} 3.0
tubeherd_pool_replicas{namespace="shop",pool="away"} 0.0
tubeherd_pool_replicas{namespace="shop",pool="mail"} 3.0
tubeherd_pool_replicas{namespace="shop",pool="post"} 0.0
tubeherd_pool_replicas_ready{namespace="shop",pool="away"} 0.0
tubeherd_pool_replicas_ready{namespace="shop",pool="mail"} 2.0
tubeherd_pool_replicas_ready{namespace="shop",pool="post"} 0.0
tubeherd_pool_suspended{namespace="shop",pool="away"} 1.0
tubeherd_pool_suspended{namespace="shop",pool="mail"} 0.0
tubeherd_pool_suspended{namespace="shop",pool="post"} 0.0
tubeherd_pool_condition{namespace="shop",pool="mail",type="Ready"} 0.0
tubeherd_pool_condition{namespace="shop",pool="mail",type="Available"} 1.0
tubeherd_pool_condition{namespace="shop",pool="mail",type="ServerReachable"} -1.0
tubeherd_pool_buried_jobs{error="ValueError",kind="exception",namespace="shop",pool="mail"} 2.0
tubeherd_pool_buried_jobs{error="deadline",kind="deadline",namespace="shop",pool="mail"} 1.0
tubeherd_pool_oldest_burial_timestamp_seconds{namespace="shop",pool="mail"} 1.7959536e+09
tubeherd_operator_left_out{what="servers"} 0.0
tubeherd_operator_left_out{what="tubes"} 0.0
tubeherd_operator_left_out{what="pool_tubes"} 1.0
"""


def stored(key, version, **parts):
    return {"metadata": {"namespace": key.namespace, "name": key.name, "resourceVersion": str(version)}, **parts}


def record(job, kind, error=None, place="mail.py:1"):
    time = FIRST + timedelta(minutes=job)
    return BurialRecord(job, "mail", time, kind, error, place, "secret message", 1, "mail-7d")


def burials(*records):
    return burials_of(PoolTubes(("mail",)), by_tube(records))


class Servers:
    """Has figures, and why jobs are buried."""

    def __init__(self):
        mail = TubeStats("mail", 2, 3, 4, 5, 60, 50, 1, 7, 8, 9, 1, 60, 30)
        tubes = {"mail": mail} | {tube: TubeStats(tube, ready=1, watching=int(tube != "tube9")) for tube in MANY}
        pools = {MAIL: ("mail",), POST: MANY}
        stats = dict.fromkeys(SERVER_FIGURES, 0) | {"current-jobs-ready": 1, "pid": 4}
        self.queue = ServerFigures("queue:11300", pools, True, stats, tubes, {"mail": 12.5})
        self.known = {
            MAIL: burials(
                record(0, BurialKind.EXCEPTION, "ValueError"),
                record(1, BurialKind.EXCEPTION, "ValueError", "mail.py:2"),
                record(2, BurialKind.DEADLINE),
            )
        }

    def figures(self):
        return [
            self.queue,
            ServerFigures("down:11300", {}, False),
            ServerFigures("new:11300", {}, None),
        ]

    def burials(self, key):
        return self.known.get(key)


@pytest.fixture
def servers():
    return Servers()


@pytest.fixture
def show(servers):
    """Return what an operator shows that acts, or does not."""
    counted = Counted()
    counted.passed(0.0625, None)
    counted.passed(1.0, "conflict")
    counted.asked("patch", "workerpools/status", 200)
    counted.asked("patch", "workerpools/status", 200)
    counted.asked("watch", "pods", 0)
    counted.requested("kick", 25)
    counted.requested("discard", 1)
    counted.requested("discard", 2)
    health = Health(["workerpools", "pods in shop", "pods in post"])
    health.opened("workerpools")
    health.opened("pods in post")
    queue = WorkQueue()
    queue.add(MAIL)
    queue.get()
    queue.add(POST)
    queue.add(AWAY, 3600)
    cache = Cache(lambda _: None, lambda _: None)
    conditions = [
        {"type": "Ready", "status": "False"},
        {"type": "Available", "status": "True"},
        {"type": "ServerReachable", "status": "Unknown"},
    ]
    cache.put(POOLS, stored(MAIL, 1, status={"replicas": 3, "readyReplicas": 2, "conditions": conditions}))
    cache.put(POOLS, stored(POST, 2, spec={"suspend": False}))
    cache.put(POOLS, stored(AWAY, 3, spec={"suspend": True}))
    cache.put(DEPLOYMENTS, stored(MAIL, 4, spec={"replicas": 3}))

    def show(acts=True):
        exposition = Exposition(counted, health, queue, cache, servers, lambda: acts)
        counted.registry.unregister(exposition.process)
        return b"".join(exposition.text()).decode()

    return show


def figures(text):
    return "".join(line for line in text.splitlines(keepends=True) if not line.startswith("#"))


def test_operator_that_does_not_act_shows_itself_alone(show):
    itself = ITSELF.replace("VERSION", version()).replace("ACTS", "0.0")
    assert figures(show(acts=False)) == itself + COUNTED


def test_operator_that_acts_shows_servers_tubes_and_pools(show):
    text = figures(show())
    assert text.startswith(ITSELF.replace("VERSION", version()).replace("ACTS", "1.0") + QUEUE + COUNTED + OF_SERVERS)
    rest = text[text.index("beanstalkd_tube_") :].splitlines(keepends=True)
    assert "".join(line for line in rest if 'tube="tube' not in line) == OF_TUBES + OF_POOLS


def test_every_metric_is_declared_and_every_declared_one_is_shown(show):
    assert shown(text_string_to_metric_families(show())) == declared(METRICS)


def test_no_message_of_a_burial_is_shown(show):
    assert "secret" not in show()


def test_names_of_errors_are_cut_and_the_rarest_are_counted_together(show, servers):
    names = ["\x1b[2J", *(f"Error{number}" for number in range(11)), "x" * 300]
    records = [record(job, BurialKind.EXCEPTION, name) for job, name in enumerate(names)]
    servers.known[MAIL] = burials(*records, *[record(99 + more, BurialKind.EXCEPTION, names[-1]) for more in range(2)])
    lines = [line for line in show().splitlines() if line.startswith("tubeherd_pool_buried_jobs")]
    assert len(lines) == 11
    assert lines[0] == (
        f'tubeherd_pool_buried_jobs{{error="{"x" * 99}…",kind="exception",namespace="shop",pool="mail"}} 3.0'
    )
    assert lines[-1] == 'tubeherd_pool_buried_jobs{error="other",kind="other",namespace="shop",pool="mail"} 3.0'
    assert "\x1b" not in "".join(lines)


def test_burials_of_a_tube_in_which_nothing_is_buried_any_more_are_not_shown(show, servers):
    servers.queue = replace(servers.queue, tubes=servers.queue.tubes | {"mail": TubeStats("mail", ready=1)})
    text = show()
    assert 'tubeherd_pool_jobs{namespace="shop",pool="mail",state="ready"} 1.0' in text
    assert "tubeherd_pool_buried_jobs{" not in text
    assert "tubeherd_pool_oldest_burial_timestamp_seconds{" not in text


def test_pool_whose_server_cannot_be_asked_shows_no_jobs(show, servers):
    servers.queue = ServerFigures("queue:11300", {MAIL: None, POST: None}, False)
    text = show()
    assert 'beanstalkd_up{server="queue:11300"} 0.0' in text
    assert 'tubeherd_pool_info{namespace="shop",pool="mail",server="queue:11300"} 1.0' in text
    assert "tubeherd_pool_jobs{" not in text
    assert "tubeherd_pool_buried_jobs{" not in text


def test_pool_with_many_tubes_is_shown_with_those_that_it_shares_with_a_suspended_one(show, servers):
    begin = 'tubeherd_pool_tube_info{namespace="shop",pool="post"'
    servers.queue.pools[MAIL] = ("mail", "tube3")
    assert begin not in show()
    servers.queue.pools[AWAY] = ("mail", "tube3")
    infos = [line for line in show().splitlines() if line.startswith(begin)]
    assert infos == [begin + ',server="queue:11300",tube="tube3"} 1.0']


def test_tubes_beyond_the_bound_are_counted_and_none_of_those_that_nobody_takes_jobs_from(show, monkeypatch):
    monkeypatch.setattr(beanstalkds, "TUBES_MOST", 2)
    text = show()
    tubes = [line for line in text.splitlines() if line.startswith("beanstalkd_tube_current_jobs_ready_count{")]
    assert [line.split('tube="')[1] for line in tubes] == ['mail"} 2.0', 'tube9"} 1.0']
    assert 'tubeherd_operator_left_out{what="tubes"} 10.0' in text


def test_servers_beyond_the_bound_are_counted_and_their_pools_are_shown(show, monkeypatch):
    monkeypatch.setattr(beanstalkds, "SERVERS_MOST", 1)
    text = show()
    assert [line for line in text.splitlines() if line.startswith("beanstalkd_up{")] == [
        'beanstalkd_up{server="down:11300"} 0.0'
    ]
    assert 'tubeherd_operator_left_out{what="servers"} 2.0' in text
    assert 'tubeherd_pool_jobs{namespace="shop",pool="mail",state="ready"} 2.0' in text
