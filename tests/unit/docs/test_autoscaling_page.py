"""The page about autoscaling has the table that the simulation gives, and manifests that fit a pool."""

import random
import re

import pytest
import yaml

from tests.bench.autoscaling import PAGE, Job, Keda, Operator, Outcome, Seen, render, simulate
from tubeherd.pool import GROUP, KIND, VERSION
from tubeherd_operator.crd import custom_resource_definition


def test_table_is_what_the_simulation_gives():
    assert render() in PAGE.read_text(), "stale: run `python -m tests.bench.autoscaling`"


def manifests():
    return [yaml.safe_load(block) for block in re.findall(r"^ {4}apiVersion: .*(?:\n {4}.*)*", PAGE.read_text(), re.M)]


@pytest.mark.parametrize("manifest", manifests(), ids=lambda manifest: manifest["kind"])
def test_autoscaler_of_the_page_scales_a_pool_by_what_its_definition_says(manifest):
    target = manifest["spec"]["scaleTargetRef"]
    assert (target["apiVersion"], target["kind"]) == (f"{GROUP}/{VERSION}", KIND)
    (version,) = custom_resource_definition()["spec"]["versions"]
    assert version["subresources"]["scale"]["specReplicasPath"] == ".spec.replicas"


def test_page_has_both_autoscalers():
    assert [manifest["kind"] for manifest in manifests()] == ["ScaledObject", "HorizontalPodAutoscaler"]


class Fixed:
    """Wants these numbers of pods, one after the other, and then the last one."""

    idle_first = True

    def __init__(self, *numbers):
        self.numbers = list(numbers)
        self.seen = []

    def decide(self, seen):
        self.seen.append(seen)
        return self.numbers.pop(0) if len(self.numbers) > 1 else self.numbers[0]


def test_jobs_wait_for_a_pod_that_starts_and_for_each_other():
    policy = Fixed(0, 1)
    outcome = simulate([Job(0.5, 3), Job(0.7, 2)], 20, policy)
    assert outcome.waits == pytest.approx([10.5, 13.3])
    assert outcome.pod_seconds == 19
    assert policy.seen[12] == Seen(second=12, ready=1, reserved=1, deleted=0, replicas=1)
    assert policy.seen[14].deleted == 1


@pytest.mark.parametrize(("idle_first", "seconds"), [(True, 12 + 30), (False, 30 + 30)])
def test_pod_that_goes_counts_until_its_job_is_done(idle_first, seconds):
    policy = Fixed(*[2] * 12, 1)
    policy.idle_first = idle_first
    assert simulate([Job(0, 20)], 30, policy) == Outcome([10], seconds)


def test_every_job_is_done_once_under_each_policy():
    chance = random.Random(7)  # noqa: S311 - no secret depends on it
    jobs = sorted(Job(chance.uniform(0, 600), chance.expovariate(1)) for _ in range(500))
    for policy in (Keda(), Operator(jobs_per_replica=10), Operator(target_wait=5.0)):
        outcome = simulate(jobs, 1200, policy)
        assert isinstance(outcome, Outcome)
        assert len(outcome.waits) == 500
        assert min(outcome.waits) >= 0


def keda(*jobs):
    """Return the numbers of pods under KEDA, from none on, with so many jobs at each multiple of 15 seconds."""
    policy, replicas, after = Keda(), 0, []
    for look, count in enumerate(jobs):
        replicas = policy.decide(Seen(15 * look, count, 0, 0, replicas))
        after.append(replicas)
    return after


def test_keda_begins_with_one_pod_and_adds_at_most_as_many_or_four():
    assert keda(0, 300, 300, 300, 300, 300) == [0, 0, 5, 10, 20, 30]
    assert keda(100, 104, 109, 111) == [5, 10, 10, 12]


def test_keda_falls_after_five_minutes_and_to_none_after_its_cooldown():
    after = keda(100, 100, *[0] * 40)
    assert after[2:21] == [10] * 19
    assert after[21:] == [1, *[0] * 20]
