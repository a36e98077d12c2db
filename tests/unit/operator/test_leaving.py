"""Which pods go first when their number falls."""

import threading

import pytest

from tests.support.waiting import wait_for
from tubeherd_operator.cluster.client import ClusterError
from tubeherd_operator.decisions.leaving import COST, leaving
from tubeherd_operator.objects import Key
from tubeherd_operator.passes.idle_pods import IdlePods

FIRST = "-1000"


def pod(name, cost=None, ready=True):
    conditions = [{"type": "Ready", "status": "True" if ready else "False"}]
    annotations = {} if cost is None else {COST: cost}
    return {
        "metadata": {"name": name, "annotations": annotations},
        "status": {"podIP": f"10.0.0.{name}", "conditions": conditions},
    }


@pytest.mark.parametrize(
    ("pods", "replicas", "running", "costs"),
    [
        ("1 2 3", 1, {"1": 0, "2": 1, "3": 0}, {"1": FIRST, "3": FIRST}),
        ("1 2 3", 2, {"1": 0, "2": 1, "3": 0}, {"1": FIRST}),
        ("1 2 3", 2, {"1": 4, "2": 1, "3": 2}, {}),
        ("1 2 3", 2, {}, {}),
        ("1 2 3", 2, {"3": 0}, {"3": FIRST}),
        ("1 2 3*", 2, {"1": 0, "2": 0, "3": 0}, {}),
        ("1 2* 3*", 2, {"1": 0, "2": 1, "3": 0}, {"2": None}),
        ("1* 2", 1, {"1": 1, "2": 0}, {"1": None, "2": FIRST}),
        ("1* 2", 1, {"2": 0}, {"1": None, "2": FIRST}),
    ],
)
def test_as_many_idle_pods_go_first_as_have_to_go(pods, replicas, running, costs):
    found = [pod(name.rstrip("*"), FIRST if name.endswith("*") else None) for name in pods.split()]
    assert leaving(found, replicas).costs(running) == costs


def test_pods_that_are_not_ready_go_before_all_others_and_are_not_asked():
    found = leaving([pod("1", ready=False), pod("2"), pod("3"), pod("4")], 2)
    assert (found.count, found.addresses) == (1, {"2": "10.0.0.2", "3": "10.0.0.3", "4": "10.0.0.4"})


@pytest.mark.parametrize("replicas", [0, 2, 3])
def test_nobody_is_asked_if_it_does_not_matter_who_goes(replicas):
    assert leaving([pod("1"), pod("2"), {"metadata": {"name": "3"}}], replicas) is None


class Pods:
    """Takes the annotations of pods, or refuses them."""

    def __init__(self, refusal=None):
        self.refusal = refusal
        self.marked = []

    def annotate_pod(self, *annotation):
        self.marked.append(annotation)
        if self.refusal:
            raise self.refusal


def test_idle_pods_are_marked():
    pods = Pods()
    asked = []

    def ask(addresses):
        asked.append(addresses)
        return {"1": 1, "2": 0}

    IdlePods(pods, ask, lambda _: pods.marked.append("seen")).mark(
        Key("shop", "mail"), leaving([pod("1", FIRST), pod("2")], 1)
    )
    assert asked == [{"1": "10.0.0.1", "2": "10.0.0.2"}]
    assert pods.marked == [("shop", "1", COST, None), ("shop", "2", COST, FIRST), "seen"]


def test_mark_that_is_refused_stops_nothing(logged):
    pods = Pods(ClusterError(403, "pods is forbidden"))
    IdlePods(pods, lambda _: {"1": 0, "2": 0, "3": 0}).mark(Key("shop", "mail"), leaving(list(map(pod, "123")), 1))
    assert len(pods.marked) == 1, "the others would be refused too"
    assert [line["event"] for line in logged()] == [
        "pods that are idle could not be marked to go first: pods is forbidden"
    ]


def test_pods_that_do_not_answer_are_logged(logged):
    IdlePods(Pods(), lambda _: {"2": 0}).mark(Key("shop", "mail"), leaving(list(map(pod, "123")), 1))
    (line,) = logged()
    assert line["event"] == "2 of 3 pods, such as 1, did not say how many jobs they execute, and count as busy"


def test_pods_that_hang_hold_up_no_more_than_two_passes():
    pods, hangs, marked = Pods(), threading.Barrier(3), []

    def ask(_):
        hangs.wait(60)
        return {"1": 0}

    idle, two = IdlePods(pods, ask, lambda _: None), leaving([pod("1"), pod("2")], 1)
    passes = [
        threading.Thread(target=lambda name=name: marked.append(idle.mark(Key("shop", name), two)))
        for name in ("mail", "sms")
    ]
    for each in passes:
        each.start()
    wait_for(lambda: hangs.n_waiting == 2, "both ask")
    assert not idle.mark(Key("shop", "push"), two)
    assert pods.marked == []
    hangs.wait(60)
    for each in passes:
        each.join()
    assert (len(pods.marked), marked) == (2, [True, True])
