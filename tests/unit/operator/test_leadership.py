"""The election of the leader: what is decided by a Lease, and that two operators never lead at once."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tubeherd_operator.cluster import election
from tubeherd_operator.cluster.client import ClusterError
from tubeherd_operator.cluster.election import Election
from tubeherd_operator.decisions.leadership import (
    AGAIN_SECONDS,
    LEASE_SECONDS,
    RENEWAL_SECONDS,
    RETRY_SECONDS,
    Sight,
    claimed,
    look,
    may_claim,
    pause,
    released,
)
from tubeherd_operator.objects import Key

NAME = Key("tubeherd", "operator")
TIME = "2026-11-29T12:00:00.000000Z"
LATER = "2026-11-29T12:00:02.000000Z"


def held(by, time=TIME):
    return {**claimed(NAME, None, by, time), "metadata": {"name": "operator", "namespace": "tubeherd"}}


@pytest.mark.parametrize(
    ("lease", "now", "may"),
    [
        (None, 0, True),
        (held(""), 0, True),
        (held("me"), 0, True),
        (held("me"), 1000, True),
        (held("other"), 0, False),
        (held("other"), LEASE_SECONDS - 0.1, False),
        (held("other"), LEASE_SECONDS, True),
        ({"metadata": {}}, 0, True),
        ({"metadata": {}, "spec": {"holderIdentity": None}}, 0, True),
    ],
)
def test_who_may_claim_the_lease(lease, now, may):
    assert may_claim(look(None, lease, 0), "me", now) is may


def test_a_renewal_puts_the_takeover_off_and_a_new_look_at_the_same_does_not():
    first = look(None, held("other"), 5)
    assert look(first, held("other"), 9) == Sight(held("other"), 5)
    annotated = held("other") | {"metadata": {"resourceVersion": "7"}}
    assert look(first, annotated, 9).since == 5, "it was written and not renewed"
    assert look(first, held("other", LATER), 9).since == 9


@pytest.mark.parametrize(
    ("holder", "now", "seconds"),
    [
        ("me", 3, RETRY_SECONDS),
        ("other", 3, RETRY_SECONDS),
        ("other", 9.5, 0.5),
        ("other", 99, 0),
        ("", 3, RETRY_SECONDS),
    ],
)
def test_the_next_look_comes_when_the_lease_ends(holder, now, seconds):
    assert pause(Sight(held(holder), 0), "me", now) == seconds


def test_what_a_claim_writes():
    before = held("other") | {"metadata": {"namespace": "tubeherd", "name": "operator", "resourceVersion": "7"}}
    assert claimed(NAME, before, "me", LATER) == {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"namespace": "tubeherd", "name": "operator", "resourceVersion": "7"},
        "spec": {
            "holderIdentity": "me", "leaseDurationSeconds": 10, "acquireTime": LATER, "renewTime": LATER,
            "leaseTransitions": 1,
        },
    }  # fmt: skip
    renewed = claimed(NAME, held("me"), "me", LATER)["spec"]
    assert (renewed["acquireTime"], renewed["renewTime"], renewed["leaseTransitions"]) == (TIME, LATER, 0)
    assert released(held("me"))["spec"]["holderIdentity"] == ""


class Ended(BaseException):
    """The process of an operator has ended."""


@pytest.fixture(autouse=True)
def _processes_end(monkeypatch):
    def end(why):
        raise Ended(why)

    monkeypatch.setattr(election, "end", end)


class ApiServer:
    """Keeps a Lease as an API server does: a write of an old version is refused."""

    def __init__(self):
        self.stored = None
        self.trouble = None
        """What happens to the next request: it is lost before it arrives, or its answer is."""
        self.versions = itertools.count(1)

    def lease(self, *_):
        self._fail("lost")
        self._fail("unanswered")
        return self.stored

    def write_lease(self, lease):
        self._fail("lost")
        stored = self.stored["metadata"]["resourceVersion"] if self.stored else None
        if lease["metadata"].get("resourceVersion") != stored:
            raise ClusterError(409, "it has been modified")
        metadata = lease["metadata"] | {"resourceVersion": str(next(self.versions))}
        self.stored = lease | {"metadata": metadata}
        self._fail("unanswered")
        return self.stored

    def _fail(self, how):
        if self.trouble == how:
            self.trouble = None
            raise ClusterError(0, "the API server cannot be reached")


class Operators(RuleBasedStateMachine):
    """Three operators that take steps at any time; each has a clock of its own, which began at another time."""

    def __init__(self):
        super().__init__()
        self.server = ApiServer()
        self.now = 0.0
        self.alive = {name: self._operator(name, began) for name, began in (("a", 0.0), ("b", 500.0), ("c", -70.0))}

    def _operator(self, name, began):
        return Election(self.server, NAME, name, clock=lambda: self.now + began)

    @rule(seconds=st.sampled_from([1, RETRY_SECONDS, RENEWAL_SECONDS, LEASE_SECONDS]))
    def time_passes(self, seconds):
        self.now += seconds

    @rule(how=st.sampled_from(["lost", "unanswered"]))
    def the_next_request_fails(self, how):
        self.server.trouble = how

    @precondition(lambda self: self.alive)
    @rule(data=st.data())
    def one_takes_a_step(self, data):
        name = data.draw(st.sampled_from(sorted(self.alive)))
        try:
            self.alive[name].step()
        except Ended:
            del self.alive[name]

    @precondition(lambda self: self.alive)
    @rule(data=st.data())
    def one_leaves(self, data):
        name = data.draw(st.sampled_from(sorted(self.alive)))
        self.alive.pop(name).leave()

    @invariant()
    def at_most_one_leads(self):
        assert sum(one.leads for one in self.alive.values()) <= 1


TestOperators = Operators.TestCase
TestOperators.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)


@given(st.floats(0, RETRY_SECONDS))
def test_another_leads_within_twelve_seconds_of_the_death_of_the_leader(offset):
    now = 0.0
    server = ApiServer()
    dead, other = (Election(server, NAME, name, clock=lambda: now) for name in ("dead", "other"))
    dead.step()
    now = offset
    next_step = now + other.step()
    while not other.leads:
        now = next_step
        next_step += other.step()
    assert now <= LEASE_SECONDS + RETRY_SECONDS
    assert not dead.leads


def test_another_leads_at_its_next_step_after_the_leader_has_left():
    server = ApiServer()
    first, second = (Election(server, NAME, name, clock=lambda: 0.0) for name in ("first", "second"))
    first.step()
    second.step()
    assert (first.leads, second.leads) == (True, False)
    first.leave()
    first.step()
    second.step()
    assert second.leads


def test_leader_that_could_not_renew_tries_again_before_its_time_is_over():
    now = 0.0
    server = ApiServer()
    one, other = (Election(server, NAME, name, clock=lambda: now) for name in ("one", "other"))
    one.step()
    now, server.trouble = 4.0, "unanswered"  # the requests have taken two seconds each
    assert one.step() == AGAIN_SECONDS
    now, server.trouble = 4.2, "lost"
    assert one.step() == AGAIN_SECONDS
    server.trouble = "lost"
    assert other.step() == RETRY_SECONDS, "who does not lead has time"
    assert one.step() == RETRY_SECONDS
    assert one.leads


def test_leader_that_cannot_renew_ends_even_while_its_request_hangs():
    now = 0.0
    one = Election(ApiServer(), NAME, "one", clock=lambda: now)
    one.step()
    now = RENEWAL_SECONDS
    with pytest.raises(Ended, match="the Lease tubeherd/operator could not be renewed for 6 s"):
        one.guard()


def test_leader_ends_when_another_leads(monkeypatch):
    server = ApiServer()
    one = Election(server, NAME, "one", clock=lambda: 0.0)
    one.step()
    server.stored = held("other") | {"metadata": {"resourceVersion": "9"}}
    one.step()  # its version is refused
    with pytest.raises(Ended, match="other leads now"):
        one.step()
