"""The servers that an installation allows its pools."""

import pytest

from tubeherd.configuration import WrongSettings
from tubeherd_operator.allowed_servers import is_allowed
from tubeherd_operator.decisions.conditions import ready, server
from tubeherd_operator.decisions.observation import Observation, read_pool
from tubeherd_operator.decisions.plan import make_plan
from tubeherd_operator.settings import OperatorSettings

OURS = "queue.ours:11300"


@pytest.mark.parametrize(
    ("name", "allowed", "may"),
    [
        ("queue.ours", None, True),
        ("queue.ours", [], False),
        ("queue.ours", ["queue.ours:11300"], True),
        ("queue.ours:11301", ["queue.ours"], False),
        ("QUEUE.ours.:11300", ["queue.ours"], True),
        ("queue.ours", ["other", "queue.ours"], True),
        ("a.queues.svc:11300", ["*.queues.svc"], True),
        ("a.b.queues.svc", ["*.queues.svc"], True),
        ("queues.svc", ["*.queues.svc"], False),
        ("evilqueues.svc", ["*.queues.svc"], False),
        ("a.queues.svc.evil", ["*.queues.svc"], False),
        ("a.queues.svc:80", ["*.queues.svc:11300"], False),
        ("[::1]:11300", ["[::1]"], True),
        ("[::2]:11300", ["[::1]"], False),
    ],
)
def test_which_servers_are_allowed(name, allowed, may):
    assert is_allowed(name, allowed) is may


@pytest.mark.parametrize(
    ("text", "read"),
    [("none", ()), ("", None), ("a", ("a",)), (" a:1 , *.b:2,", ("a:1", "*.b:2")), ("[::1]:5", ("[::1]:5",))],
)
def test_list_is_read(text, read):
    variables = {"TUBEHERD_OPERATOR_DEFAULT_IMAGE": "a", "TUBEHERD_OPERATOR_ALLOWED_SERVERS": text}
    assert OperatorSettings.load(variables).allowed_servers == read


@pytest.mark.parametrize("text", ["*", "*.", "a.*", "http://a", "a:0", "**.a"])
def test_wrong_entry_is_refused(text):
    with pytest.raises(WrongSettings, match="ALLOWED_SERVERS"):
        OperatorSettings.load({"TUBEHERD_OPERATOR_DEFAULT_IMAGE": "a", "TUBEHERD_OPERATOR_ALLOWED_SERVERS": text})


@pytest.fixture
def observed(pools):
    """What is observed of a pool that names a server, or none."""

    def observe(server, allowed):
        spec = {"tubes": ["mail"], **({"server": server} if server else {})}
        return Observation(read_pool(pools.pool(spec), "worker:1", OURS, allowed))

    return observe


def test_pool_of_a_server_that_is_not_allowed_is_neither_run_nor_asked_for(observed):
    seen = observed("elsewhere:11300", ["*.queues"])
    assert seen.pool.server is None
    plan = make_plan(seen)
    assert (plan.change, plan.request.errand) == (None, None)
    condition = ready.judge(seen)
    assert (condition.status, condition.reason) == ("False", "ServerNotAllowed")
    assert "elsewhere:11300 is none of the servers that this installation allows" in condition.message
    assert "elsewhere:11300" in server.judge(seen).message


def test_servers_of_the_list_and_of_the_installation_are_served(observed):
    assert observed("a.queues", ["*.queues"]).pool.server == "a.queues"
    assert observed(OURS, []).pool.server == OURS
    assert observed(None, []).pool.server == OURS
