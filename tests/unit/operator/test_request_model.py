"""Two operators kick and discard jobs, while all fails that can fail: never are more jobs changed than asked for."""

from collections import Counter
from contextlib import suppress
from datetime import UTC, datetime

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from tests.support.api_server import DOWN, Errands, StoredPool, Tubes
from tubeherd_operator.cluster.client import ClusterError
from tubeherd_operator.decisions.request import STEP_MOST
from tubeherd_operator.decisions.request_value import DEEDS
from tubeherd_operator.objects import Key
from tubeherd_operator.passes.reconcile import Reconciler
from tubeherd_operator.settings import OperatorSettings

KEY = Key("shop", "mail")
SETTINGS = OperatorSettings(default_image="tubeherd-worker:1", default_server="beanstalkd.queue.svc:11300")
BOUNDS = {"3": 3, "4": 4, "mail:3": 3, "1500": 1500}
OPERATORS = st.sampled_from(["A", "B"])
FAILURES = st.sampled_from([{}, {}, {"fail": "status"}, {"lose": "status"}, {"fail": "remove"}, {"lose": "remove"}])
REFUSED = ClusterError(403, "admission webhook denied the request")


class Requests(RuleBasedStateMachine):
    """A pool, a user who annotates it, two operators, and a beanstalkd that has many buried jobs."""

    pools = None

    def __init__(self):
        super().__init__()
        pool = self.pools.pool()
        self.cluster = StoredPool(pool, self.pools.live(pool))
        self.tubes = Tubes(mail=5, sms=4000)
        self.set = Counter()
        """How often the user has set each value of each annotation."""
        self.real = Counter()
        """How many jobs each request has really kicked or deleted, by its id."""
        self.start("A")
        self.start("B")
        self.user_sets("kick", "4")

    def start(self, name):
        errands = Errands(self.tubes, self.pools.counts())
        reconciler = Reconciler(
            self.cluster,
            self.cluster,
            errands,
            SETTINGS,
            self.cluster.note_event,
            lambda: datetime(2026, 11, 29, tzinfo=UTC),
        )
        self.operators = {**getattr(self, "operators", {}), name: (reconciler, errands)}

    @rule(deed=st.sampled_from(DEEDS), value=st.sampled_from([None, *BOUNDS]))
    def user_sets_a_value(self, deed, value):
        self.user_sets(deed, value)

    def user_sets(self, deed, value):
        if self.cluster.annotations.get(deed) != value:
            self.set[deed, value] += value is not None
            self.cluster.annotate(value, deed)

    @rule(tube=st.sampled_from(["mail", "sms"]))
    def jobs_fail(self, tube):
        self.tubes.buried[tube] += 2

    @rule(name=OPERATORS, times=st.integers(1, 4))
    def all_goes_well(self, name, times):
        self.cluster.fail, self.cluster.lose, self.cluster.behind = {}, {}, 0
        for _ in range(times):
            self.look(name)
            self.run(name)

    @rule(name=OPERATORS)
    def one_looks(self, name):
        self.cluster.fail, self.cluster.lose, self.cluster.behind = {}, {}, 0
        self.look(name)

    @rule(name=OPERATORS, other=OPERATORS, times=st.integers(1, 4))
    def two_look_at_once(self, name, other, times):
        self.cluster.fail, self.cluster.lose, self.cluster.behind = {}, {}, 0
        if name != other:
            self.cluster.meanwhile = lambda: self.all_goes_well(other, times)
            self.look(name)
            self.cluster.meanwhile = None

    @rule(name=OPERATORS, deed=st.sampled_from(DEEDS), value=st.sampled_from([None, *BOUNDS]))
    def user_sets_a_value_while_one_looks(self, name, deed, value):
        self.cluster.fail, self.cluster.lose, self.cluster.behind = {}, {}, 0
        self.cluster.meanwhile = lambda: self.user_sets(deed, value)
        self.look(name)
        self.cluster.meanwhile = None

    @rule(name=OPERATORS, failure=FAILURES, behind=st.sampled_from([0, 0, 0, 1, 2]))
    def one_looks_and_a_request_fails(self, name, failure, behind):
        self.cluster.fail = {failure["fail"]: DOWN} if "fail" in failure else {}
        self.cluster.lose = {failure["lose"]: DOWN} if "lose" in failure else {}
        self.cluster.behind = behind
        self.look(name)

    @rule(name=OPERATORS)
    def looks_while_a_webhook_refuses_the_removal(self, name):
        self.cluster.fail, self.cluster.lose, self.cluster.behind = {"remove": REFUSED}, {}, 0
        self.look(name)

    def look(self, name):
        with suppress(ClusterError):
            self.operators[name][0].reconcile(KEY)

    @rule(name=OPERATORS, lost=st.sampled_from(["unsent", "before", "after", "after"]))
    def answer_of_beanstalkd_is_lost(self, name, lost):
        self.cluster.fail, self.cluster.lose, self.cluster.behind = {}, {}, 0
        for _ in range(3):
            self.look(name)
            if self.operators[name][1].asks_for_a_step:
                break
            self.run(name)
        self.run(name, lost)

    @rule(name=OPERATORS, sent=st.booleans())
    def operator_is_killed(self, name, sent):
        if sent:
            self.run(name, "after")
        self.start(name)

    def run(self, name, lost=""):
        errands = self.operators[name][1]
        if errands.waits:
            before = Counter(self.tubes.done)
            errand = errands.run(lost)
            if changed := self.tubes.done - before:
                ((deed, jobs),) = changed.items()
                (request,) = {
                    (stored["id"], stored["deed"]) for stored in self.intents() if stored["step"] == errand.id
                }
                assert request[1] == deed
                self.real[request[0]] += jobs

    def intents(self):
        """Yield each state of each intent that was stored."""
        for version in self.cluster.versions:
            if intent := version.get("status", {}).get("request"):
                yield intent

    @invariant()
    def no_request_exceeds_its_value_and_the_status_is_right(self):
        for intent in {stored["id"]: stored for stored in self.intents()}.values():
            real = self.real[intent["id"]]
            counted, most = (
                sum(tube["done"] for tube in intent["tubes"]),
                sum(tube["done"] + tube["unsure"] + tube["asked"] for tube in intent["tubes"]),
            )
            assert counted <= real <= most <= BOUNDS[intent["value"]], (intent, real)
            assert sum(tube["asked"] for tube in intent["tubes"]) <= STEP_MOST

    @invariant()
    def each_value_that_was_set_is_done_once_at_most(self):
        values = {stored["id"]: (stored["deed"], stored["value"]) for stored in self.intents()}
        done = Counter(values[request] for request in self.real)
        assert done <= self.set, (done, self.set)

    def teardown(self):
        """When all is well again, one operator comes to an end."""
        self.cluster.fail = self.cluster.lose = {}
        self.cluster.behind = 0
        self.start("A")
        for _ in range(30):
            self.look("A")
            self.run("A")
        stored = self.cluster.held
        assert (self.cluster.annotations, stored["status"].get("request")) == ({}, None)
        self.no_request_exceeds_its_value_and_the_status_is_right()
        self.each_value_that_was_set_is_done_once_at_most()


def test_never_more_is_kicked_or_deleted_than_was_asked_for(pools):
    Requests.pools = pools
    run_state_machine_as_test(
        Requests,
        settings=settings(
            max_examples=120, stateful_step_count=25, deadline=None, suppress_health_check=[*HealthCheck]
        ),
    )
